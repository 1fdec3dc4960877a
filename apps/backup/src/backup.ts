import { BackupService, type BackupServer } from '@atoll/contracts/atoll/v1/backup';
import { formatAddress, type Address } from '@atoll/platform-config';
import type { MetadataStore } from '@atoll/platform-etcd';
import { addStandardServices, createGrpcServer } from '@atoll/platform-grpc';
import { connectMetadata } from '@atoll/platform-lifecycle';
import { formatRepositoryLocation } from '@atoll/platform-repository';
import { startHttpEndpoint, type HttpEndpoint, type Logger, type Readiness, type Telemetry } from '@atoll/platform-telemetry';
import type { Config } from './config.ts';
import { watchEtcd } from './etcd-watchdog.ts';
import { getRepository } from './handlers/get-repository.ts';
import { SharedProbe } from './repository/shared-probe.ts';

export interface BackupOptions {
  readonly config: Config;
  readonly logger: Logger;
  readonly telemetry: Telemetry;
  /** Default: etcd as configured; closed by `stop`. */
  readonly store?: MetadataStore;
}

export interface Backup {
  /** Bound address of the gRPC server. */
  readonly address: Address;
  /** Bound address of the HTTP endpoint; undefined when it is off. */
  readonly httpAddress: Address | undefined;
  readonly readiness: () => Readiness;
  /** Rejects when this process cannot do its work: another cluster's etcd. Otherwise pending. */
  readonly failed: Promise<never>;
  /** Finishes what is under way; what still runs when the signal aborts is cut off. */
  stop(signal: AbortSignal): Promise<void>;
}

/** Resolves when the servers listen; etcd may still be away. Throws StartupError for a busy port. */
export async function startBackup({ config, logger, telemetry, ...options }: BackupOptions): Promise<Backup> {
  const { common } = config;
  const store = options.store ?? connectMetadata(common.etcdEndpoints, telemetry.metrics);
  const probe = new SharedProbe({ location: config.repository, s3: config.s3, timeoutMs: config.probeMs });
  const grpc = createGrpcServer({ telemetry, logger });
  const service: BackupServer = {
    getRepository: grpc.handlers.unary(BackupService.getRepository, () => getRepository(config.repository, probe)),
  };
  grpc.server.addService(BackupService, service);
  const health = addStandardServices(grpc.server, { services: [BackupService] });
  const watchdog = watchEtcd({
    store,
    logger,
    clusterId: common.clusterId,
    intervalMs: config.etcdCheckMs,
    onChange: (isReady) => health.setServing(isReady),
  });
  telemetry.metrics.gauge('atoll_etcd_connected', { description: '1 while etcd answers this process.' }, () => (watchdog.readiness().ready ? 1 : 0));
  let http: HttpEndpoint | undefined;
  let address: Address;
  try {
    if (common.httpListen !== undefined) {
      http = await startHttpEndpoint({ listen: common.httpListen, metrics: telemetry.handleMetricsRequest, settings: common.shownSettings, readiness: watchdog.readiness });
    }
    address = await grpc.listen(common.listen);
  } catch (error) {
    await http?.close();
    await watchdog.stop();
    await store.close();
    throw error;
  }
  logger.info({ address: formatAddress(address), http: http && formatAddress(http.address), repository: formatRepositoryLocation(config.repository) }, 'listening');
  return {
    address,
    httpAddress: http?.address,
    readiness: watchdog.readiness,
    failed: watchdog.failed,
    stop: async (signal) => {
      health.setServing(false);
      await watchdog.stop();
      await grpc.close(signal);
      await http?.close();
      await store.close();
    },
  };
}
