import { BackupService, type BackupServer } from '@atoll/contracts/atoll/v1/backup';
import { CopyService } from '@atoll/contracts/atoll/v1/copy';
import { isAtollError } from '@atoll/core-errors';
import { StartupError, formatAddress, type Address } from '@atoll/platform-config';
import type { MetadataStore } from '@atoll/platform-etcd';
import { addStandardServices, createGrpcServer } from '@atoll/platform-grpc';
import { connectMetadata, guardMetadata } from '@atoll/platform-lifecycle';
import { formatRepositoryLocation, loadArchiveKeys } from '@atoll/platform-repository';
import { startHttpEndpoint, type HttpEndpoint, type Logger, type Readiness, type Telemetry } from '@atoll/platform-telemetry';
import type { Config } from './config.ts';
import { watchEtcd } from './etcd-watchdog.ts';
import { collectGarbage, deleteArchive, getArchive, listArchives } from './handlers/archives.ts';
import { createBackup } from './handlers/create-backup.ts';
import { drillBackup } from './handlers/drill-backup.ts';
import { toLogArchiving } from './handlers/log-archiving.ts';
import { acceptRepository, getRepository } from './handlers/repository.ts';
import { cancelBackupJob, getBackupJob, listBackupJobs, watchBackupJob } from './handlers/jobs.ts';
import { deleteBackupSchedule, listBackupSchedules, putBackupSchedule } from './handlers/schedules.ts';
import { verifyBackup } from './handlers/verify-backup.ts';
import { ArchiveList } from './jobs/archive-list.ts';
import { restoreBackup } from './handlers/restore-backup.ts';
import { JobDesk } from './jobs/job-desk.ts';
import { jobKinds } from './jobs/job-kinds.ts';
import { startJobs } from './jobs/job-service.ts';
import { addLogArchiveMetrics } from './log-archive/log-archive-metrics.ts';
import { LogArchiver } from './log-archive/log-archiver.ts';
import { KnownRepository } from './repository/known-repository.ts';
import { RepositoryAccess } from './repository/repository-access.ts';
import { RepositoryWatch } from './repository/repository-watch.ts';
import { ArchiveSources, copyDefinition, copyHandlers } from './restore/archive-sources.ts';
import { SharedProbe } from './repository/shared-probe.ts';
import { addScheduleMetrics } from './schedules/schedule-metrics.ts';
import { ScheduleStore } from './schedules/schedule-store.ts';
import { Scheduler } from './schedules/scheduler.ts';

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
  const keys = await loadArchiveKeys(config.keys).catch((error: unknown) => {
    throw isAtollError(error) ? new StartupError(`BACKUP_ARCHIVE_KEYS, BACKUP_ARCHIVE_KEYS_FILE: ${error.message}`) : error;
  });
  const store = guardMetadata({ store: options.store ?? connectMetadata(common.etcdEndpoints, telemetry.metrics), logger, metrics: telemetry.metrics });
  const access = new RepositoryAccess({ location: config.repository, s3: config.s3, keys, known: new KnownRepository(store), onUnreadable: (found) => logger.warn({ ...found }, 'the manifest of an archive cannot be read: other archives are of use as ever') });
  const archives = new ArchiveList(access);
  const desk = new JobDesk({ store, tracing: telemetry.tracing });
  const schedules = new ScheduleStore(store);
  const scheduler = new Scheduler({ schedules, desk, archives, logger, nowMs: () => Date.now() });
  addScheduleMetrics(telemetry.metrics, scheduler);
  const archiver = new LogArchiver({ access, defaults: config.jobs, logs: config.logs, logger });
  addLogArchiveMetrics(telemetry.metrics, archiver);
  telemetry.metrics.gauge('atoll_backup_unreadable_archives', { description: 'Archives whose manifests could not be read when this service last looked at all of them.' }, () => access.unreadable.count);
  const probe = new SharedProbe({ location: config.repository, s3: config.s3, timeoutMs: config.probeMs });
  const watch = new RepositoryWatch({ access, logger });
  telemetry.metrics.gauge('atoll_backup_repository_refused', { description: '1 while this service finds another repository, or none, where the cluster has used one: storage that is not mounted.' }, () => (watch.refusal === '' ? 0 : 1));
  const repository = { location: config.repository, probe, access };
  const grpc = createGrpcServer({ telemetry, logger });
  const service: BackupServer = {
    getRepository: grpc.handlers.unary(BackupService.getRepository, () => getRepository(repository)),
    acceptRepository: grpc.handlers.unary(BackupService.acceptRepository, (request) => acceptRepository(repository, request)),
    createBackup: grpc.handlers.unary(BackupService.createBackup, (request) => createBackup(desk, request)),
    listBackupJobs: grpc.handlers.unary(BackupService.listBackupJobs, (request) => listBackupJobs(desk, request)),
    getBackupJob: grpc.handlers.unary(BackupService.getBackupJob, (request) => getBackupJob(desk, request)),
    watchBackupJob: grpc.handlers.serverStream(BackupService.watchBackupJob, watchBackupJob(desk)),
    cancelBackupJob: grpc.handlers.unary(BackupService.cancelBackupJob, (request) => cancelBackupJob(desk, request)),
    listArchives: grpc.handlers.unary(BackupService.listArchives, () => listArchives(archives)),
    getArchive: grpc.handlers.unary(BackupService.getArchive, (request) => getArchive(archives, request)),
    restoreBackup: grpc.handlers.unary(BackupService.restoreBackup, (request) => restoreBackup(desk, request)),
    verifyBackup: grpc.handlers.unary(BackupService.verifyBackup, (request) => verifyBackup(desk, request)),
    drillBackup: grpc.handlers.unary(BackupService.drillBackup, (request) => drillBackup(desk, request)),
    deleteArchive: grpc.handlers.unary(BackupService.deleteArchive, (request) => deleteArchive(desk, request)),
    collectGarbage: grpc.handlers.unary(BackupService.collectGarbage, (request) => collectGarbage(desk, request)),
    putBackupSchedule: grpc.handlers.unary(BackupService.putBackupSchedule, (request) => putBackupSchedule({ schedules, archives }, request)),
    listBackupSchedules: grpc.handlers.unary(BackupService.listBackupSchedules, () => listBackupSchedules({ schedules, archives })),
    getLogArchiving: grpc.handlers.unary(BackupService.getLogArchiving, async () => toLogArchiving(archiver.state, desk.runner !== undefined)),
    deleteBackupSchedule: grpc.handlers.unary(BackupService.deleteBackupSchedule, (request) => deleteBackupSchedule({ schedules, archives }, request)),
  };
  grpc.server.addService(BackupService, service);
  const sources = new ArchiveSources();
  grpc.server.addService(copyDefinition, copyHandlers(sources, grpc));
  const health = addStandardServices(grpc.server, { services: [BackupService, CopyService] });
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
    await watch.stop();
    await access.close();
    await store.close();
    throw error;
  }
  const advertised = formatAddress(common.advertise.port === 0 ? address : common.advertise);
  const jobs = startJobs({
    store,
    clusterId: common.clusterId,
    desk,
    kinds: jobKinds({ access, defaults: config.jobs, restore: { sources, address: () => advertised, cacheBytes: config.cacheBytes } }),
    access,
    owner: `${common.id} (${formatAddress(address)})`,
    lockTtlMs: config.lockTtlMs,
    logger,
    telemetry,
    scheduler,
    archiver,
  });
  logger.info({ address: formatAddress(address), http: http && formatAddress(http.address), repository: formatRepositoryLocation(config.repository) }, 'listening');
  return {
    address,
    httpAddress: http?.address,
    readiness: watchdog.readiness,
    failed: watchdog.failed,
    stop: async (signal) => {
      health.setServing(false);
      await jobs.stop();
      await watch.stop();
      await watchdog.stop();
      await grpc.close(signal);
      await http?.close();
      await access.close();
      await store.close();
    },
  };
}
