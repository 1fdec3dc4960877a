import { isAtollError } from '@atoll/core-errors';
import { StartupError } from '@atoll/platform-config';
import { VERSION, runService } from '@atoll/platform-lifecycle';
import { readConfig } from './config.ts';
import { startStorageNode } from './storage-node.ts';
import { WalError } from './wal/index.ts';

await runService({
  name: 'storage-node',
  version: VERSION,
  config: () => {
    const config = readConfig(process.env);
    return { ...config, common: config };
  },
  start: async (config, context) => {
    const node = await startStorageNode({ config, logger: context.logger, telemetry: context.telemetry });
    context.onStop('storage-node', (signal) => node.stop(signal));
    node.failed.catch((error: unknown) => context.fail((error as Error).message, exitCodeOf(error), error));
  },
});

/** A taken id, a data directory in use and another cluster's data are mistakes of whoever started the process (R5). */
function exitCodeOf(error: unknown): 1 | 2 {
  if (error instanceof StartupError || (error instanceof WalError && error.kind !== 'DAMAGED')) return 2;
  return isAtollError(error) && (error.reason === 'NODE_ID_TAKEN' || error.reason === 'WRONG_CLUSTER') ? 2 : 1;
}
