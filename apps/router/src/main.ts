import { VERSION, classifyStartFailure, runService } from '@atoll/platform-lifecycle';
import { parseConfig } from './config.ts';
import { startRouter } from './router.ts';

await runService({
  name: 'router',
  version: VERSION,
  config: () => parseConfig(process.env),
  start: async (config, context) => {
    const router = await startRouter({ config, logger: context.logger, telemetry: context.telemetry });
    context.onStop('router', (signal) => router.stop(signal));
    router.failed.catch((error: unknown) => {
      const { code } = classifyStartFailure(error);
      context.fail(error instanceof Error ? error.message : String(error), code, error);
    });
  },
});
