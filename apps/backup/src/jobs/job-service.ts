// Jobs from the start of a process to its stop: waits for the cluster to be there, then for the lock, then does what is to be done.
import { AtollError } from '@atoll/core-errors';
import { openClusterView, type ClusterView, type MetadataStore } from '@atoll/platform-etcd';
import { waitFor } from '@atoll/platform-lifecycle';
import type { Logger, Telemetry } from '@atoll/platform-telemetry';
import type { RepositoryAccess } from '../repository/repository-access.ts';
import type { LogArchiver } from '../log-archive/log-archiver.ts';
import type { Scheduler } from '../schedules/scheduler.ts';
import { serveDuty } from './duty.ts';
import type { JobDesk } from './job-desk.ts';
import type { JobKind } from './job-kind.ts';
import { JobMetrics } from './job-metrics.ts';
import type { JobRecord } from './job-record.ts';
import { JobRunner } from './job-runner.ts';

export interface JobServiceOptions {
  readonly store: MetadataStore;
  /** Undefined: any. Jobs of another cluster are left alone. */
  readonly clusterId: string | undefined;
  readonly desk: JobDesk;
  readonly kinds: readonly JobKind[];
  readonly access: RepositoryAccess;
  /** For whoever finds the lock held. */
  readonly owner: string;
  readonly lockTtlMs: number;
  readonly logger: Logger;
  readonly telemetry: Pick<Telemetry, 'tracing' | 'metrics'>;
  /** Begins backups that are due. */
  readonly scheduler?: Pick<Scheduler, 'work' | 'forgetArchives'>;
  readonly archiver?: Pick<LogArchiver, 'work' | 'forgetCuts'>;
}

export interface JobService {
  /** Undefined before etcd was read. */
  readonly view: () => ClusterView | undefined;
  /** Jobs that run are left to whoever is on duty next. Resolves when they have let go. */
  stop(): Promise<void>;
}

export function startJobs({ store, clusterId, desk, kinds, access, owner, lockTtlMs, logger, telemetry, scheduler, archiver }: JobServiceOptions): JobService {
  const stopping = new AbortController();
  const { signal } = stopping;
  const metrics = new JobMetrics(telemetry.metrics, () => desk.runner?.figures());
  let view: ClusterView | undefined;
  const run = async (): Promise<void> => {
    const open = (): Promise<ClusterView> => openClusterView(store, { onProblem: (problem) => logger.warn({ problem }, 'a value in etcd cannot be used') });
    view = await waitFor('etcd', open, { signal, onWaiting: (message, err) => logger.warn({ err }, message) });
    if (clusterId !== undefined && clusterId !== view.clusterId) return;
    desk.view = view;
    await serveDuty({
      store,
      view,
      access,
      owner,
      lockTtlMs,
      logger,
      signal,
      work: async (duty) => {
        const onEnded = (job: JobRecord): void => {
          metrics.ended(job);
          scheduler?.forgetArchives();
          archiver?.forgetCuts();
        };
        const runner = new JobRunner({ jobs: desk.jobs, kinds, duty, logger, tracing: telemetry.tracing, onEnded });
        desk.runner = runner;
        try {
          await Promise.all([runner.work(), scheduler?.work(duty), archiver?.work(duty)]);
        } finally {
          desk.runner = undefined;
        }
      },
    });
  };
  const running = run().catch((err: unknown) => {
    if (!signal.aborted) logger.error({ err }, 'jobs cannot be done');
  });
  return {
    view: () => view,
    stop: async () => {
      stopping.abort(new AtollError('SHUTTING_DOWN', 'this process is shutting down'));
      await running;
      await view?.close();
    },
  };
}
