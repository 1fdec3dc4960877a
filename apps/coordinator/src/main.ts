import { VERSION, classifyStartFailure, runService } from '@atoll/platform-lifecycle';
import { startCoordinator } from './coordinator.ts';
import { parseConfig } from './config.ts';

await runService({
  name: 'coordinator',
  version: VERSION,
  config: () => parseConfig(process.env),
  start: async (config, context) => {
    const coordinator = await startCoordinator({ config, logger: context.logger, telemetry: context.telemetry });
    context.onStop('coordinator', (signal) => coordinator.stop(signal));
    coordinator.failed.catch((error: unknown) => {
      const { code } = classifyStartFailure(error);
      context.fail(error instanceof Error ? error.message : String(error), code, error);
    });
  },
});
