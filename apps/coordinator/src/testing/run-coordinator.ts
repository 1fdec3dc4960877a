// A coordinator in the process of a spec, over etcd in memory.
import { credentials } from '@grpc/grpc-js';
import { AdminClient } from '@atoll/contracts/atoll/v1/admin';
import { SeededRandom } from '@atoll/core-runtime';
import { formatAddress } from '@atoll/platform-config';
import type { InMemoryMetadataStore } from '@atoll/platform-etcd/testing';
import { createLogger, startTelemetry, type Telemetry, type TelemetryOptions } from '@atoll/platform-telemetry';
import { parseConfig } from '../config.ts';
import { startCoordinator, type Coordinator } from '../coordinator.ts';

export interface RunCoordinatorOptions {
  readonly id: string;
  readonly store: InMemoryMetadataStore;
  readonly seed: number;
  /** Beside settings that have it decide at once. */
  readonly env?: Readonly<Record<string, string>>;
  readonly telemetry?: Partial<TelemetryOptions>;
}

export interface RunningCoordinator {
  readonly coordinator: Coordinator;
  /** host:port of its gRPC server. */
  readonly address: string;
  readonly admin: AdminClient;
  readonly store: InMemoryMetadataStore;
  readonly telemetry: Telemetry;
  /** Stops it once, however often it is called. */
  stop(): Promise<void>;
}

export async function runCoordinator({ id, store, seed, env = {}, telemetry: telemetryOptions = {} }: RunCoordinatorOptions): Promise<RunningCoordinator> {
  const config = parseConfig({
    ATOLL_ID: id,
    ATOLL_LISTEN: '127.0.0.1:0',
    COORDINATOR_TICK_MS: '20',
    COORDINATOR_GRACE_MS: '0',
    COORDINATOR_SETTLE_MS: '50',
    COORDINATOR_INVENTORY_MS: '200',
    COORDINATOR_ELECTION_TTL_MS: '1000',
    ...env,
  });
  const telemetry = await startTelemetry({ service: 'coordinator', instanceId: id, version: '0', traceRatio: 0, ...telemetryOptions });
  const logger = createLogger({ service: 'coordinator', instanceId: id, level: 'silent', format: 'json' });
  const coordinator = await startCoordinator({ config, logger, telemetry, store, random: new SeededRandom(seed) });
  const address = formatAddress(coordinator.address);
  const admin = new AdminClient(address, credentials.createInsecure());
  let stopped: Promise<void> | undefined;
  const stop = (): Promise<void> =>
    (stopped ??= (async () => {
      admin.close();
      await coordinator.stop(AbortSignal.timeout(2000));
      await telemetry.shutdown();
    })());
  return { coordinator, address, admin, store, telemetry, stop };
}
