import { VERSION, classifyStartFailure, runService } from '@atoll/platform-lifecycle';
import { startBackup } from './backup.ts';
import { parseConfig } from './config.ts';
import { stepBack } from './priority.ts';

await runService({
  name: 'backup',
  version: VERSION,
  config: () => parseConfig(process.env),
  start: async (config, context) => {
    if (config.nice > 0) stepBack(config.nice);
    const backup = await startBackup({ config, logger: context.logger, telemetry: context.telemetry });
    context.onStop('backup', (signal) => backup.stop(signal));
    backup.failed.catch((error: unknown) => {
      const { code } = classifyStartFailure(error);
      context.fail(error instanceof Error ? error.message : String(error), code, error);
    });
  },
});
