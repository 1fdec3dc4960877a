// The copies of keyspaces of one term (R37). The nodes do the work by the record of the keyspace that is filled; here jobs are
// kept, asked after, and brought to their end.
import type { Migration, PartitionMigration } from '@atoll/contracts/atoll/v1/migration';
import { AtollError } from '@atoll/core-errors';
import type { KeyspaceSpec } from '@atoll/core-membership';
import { commandCopy, hasCopyEnded, type CopyJob, type JobCommand } from '@atoll/core-migration';
import { sourcePartitionsOf } from '@atoll/core-placement';
import type { ClusterView, Comparison, GuardedMetadataStore } from '@atoll/platform-etcd';
import type { Logger, Telemetry } from '@atoll/platform-telemetry';
import type { KeyspaceStore } from '../adapters/keyspace-store.ts';
import type { Events } from '../events.ts';
import { toCopiedPartition, toCopyMigration } from './copy-messages.ts';
import { CopySpans } from './copy-spans.ts';
import { CopyStore } from './copy-store.ts';
import { CopyWatch } from './copy-watch.ts';

export interface TermCopiesOptions {
  readonly store: GuardedMetadataStore;
  readonly election: Comparison;
  readonly view: ClusterView;
  readonly keyspaces: KeyspaceStore;
  /** Longest call to a node, in ms. */
  readonly nodeCallMs: number;
  readonly wallMs: () => number;
  readonly telemetry: Pick<Telemetry, 'tracing'>;
  readonly events: Events;
  readonly logger: Logger;
  /** There may be something new to decide. */
  readonly onNews: () => void;
}

export class TermCopies {
  readonly store: CopyStore;
  readonly #options: TermCopiesOptions;
  readonly #watch: CopyWatch;
  readonly #spans: CopySpans;

  constructor(options: TermCopiesOptions) {
    const { store, election, nodeCallMs, logger } = options;
    this.#options = options;
    this.#spans = new CopySpans(options.telemetry.tracing);
    this.store = new CopyStore({ store, election });
    this.#watch = new CopyWatch({ deadlineMs: nodeCallMs, onProblem: (node, err) => logger.debug({ node, err }, 'a node does not say how far its copies are') });
  }

  /** Throws as CopyStore.create. The nodes begin as soon as the keyspace is placed. */
  async begin(job: CopyJob, target: KeyspaceSpec): Promise<void> {
    const traceparent = this.#spans.asked(job);
    const begun = { ...job, traceparent };
    await this.store.create(begun, traceparent === '' || target.copyOf === undefined ? target : { ...target, copyOf: { ...target.copyOf, traceparent } });
    this.#options.events.copyBegan(begun);
    this.#options.onNews();
  }

  /** Throws MIGRATION_CONFLICT where the state of the job does not allow it, and as CopyStore.update. */
  async command(id: string, asked: JobCommand): Promise<void> {
    await this.store.update(id, (job) => {
      const next = commandCopy(job, asked);
      if ('refusal' in next) throw new AtollError('MIGRATION_CONFLICT', `id: ${next.refusal}`, { metadata: { field: 'id', migration: id } });
      return next;
    });
    this.#options.onNews();
  }

  /** The copy that a keyspace is part of, as source or target. */
  copyWith(keyspace: KeyspaceSpec): CopyJob | undefined {
    return this.store.active().find(({ cluster, sourceId, targetId }) => (cluster === undefined && keyspace.id === sourceId) || keyspace.id === targetId);
  }

  /** Asks how far copies are, and ends those that are to end. To be called after a round of decisions. Throws METADATA_UNAVAILABLE, METADATA_CONFLICT. */
  async step(nowMs: number): Promise<void> {
    const { view } = this.#options;
    await this.store.refresh();
    const active = this.store.active();
    const leaders = active.flatMap(({ target }) => view.partitions(target).flatMap(({ record }) => record.leader?.node ?? []));
    this.#watch.tick(new Set(leaders), view.nodes(), nowMs);
    for (const job of active) if (job.state === 'CANCELLING') await this.#cancel(job);
  }

  /** The job with its partitions as they stand; undefined when there is none. */
  describe(id: string): { readonly migration: Migration; readonly partitions: PartitionMigration[] } | undefined {
    const job = this.store.job(id);
    if (job === undefined) return undefined;
    const partitions = hasCopyEnded(job) ? [] : this.#partitionsOf(job);
    const described = partitions.map((partition) => toCopiedPartition(job, partition));
    const restarts = partitions.flatMap(({ statuses }) => statuses).reduce((total, status) => total + status.restarts, 0);
    return { migration: toCopyMigration(job, described, restarts, this.#problemOf(job)), partitions: described };
  }

  end(): void {
    this.#watch.close();
  }

  #partitionsOf(job: CopyJob) {
    const { view } = this.#options;
    const sourceCount = job.cluster?.partitionCount ?? view.partitions(job.source).length;
    const leaderOf = (keyspace: string, partition: number): string | undefined => view.partition(keyspace, partition)?.record.leader?.node;
    return Array.from({ length: job.partitionCount }, (_, partition) => {
      const from = sourceCount === 0 ? undefined : sourcePartitionsOf(partition, { sourceCount, targetCount: job.partitionCount, tokens: job.tokens });
      const leader = leaderOf(job.target, partition);
      const sourceLeaders = job.cluster === undefined ? (from ?? []).flatMap((source) => leaderOf(job.source, source) ?? []) : [];
      return { partition, leader, sourceLeaders, sources: from?.length, statuses: this.#watch.of(leader, job.targetId, partition) };
    });
  }

  #problemOf(job: CopyJob): string {
    if (hasCopyEnded(job) || job.cluster !== undefined) return '';
    const source = this.#options.view.keyspace(job.source);
    return source?.id === job.sourceId ? '' : `keyspace ${job.source} is gone: nothing more can be copied from it`;
  }

  /** Removes what the job made: marks it first, and waits, round by round, until it is gone. */
  async #cancel(job: CopyJob): Promise<void> {
    const { keyspaces, wallMs, events } = this.#options;
    if (keyspaces.deletions().includes(job.target)) return;
    const present = await keyspaces.idOf(job.target);
    if (present === job.targetId) {
      await keyspaces.markDeleted(job.target);
      return this.#options.onNews();
    }
    const ended = await this.store.update(job.id, (stored) => (stored.state === 'CANCELLING' ? { ...stored, state: 'CANCELLED', endedMs: wallMs() } : stored));
    events.copyEnded(ended);
    this.#spans.ended(ended);
    await this.store.prune();
  }
}
