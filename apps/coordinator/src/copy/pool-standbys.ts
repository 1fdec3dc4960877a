// Standbys whose primary is in this cluster, on another pool: what they do otherwise than those of another cluster. Both keyspaces
// are in one etcd, so whoever leads the primary is fenced there, and no operator has to state that it is stopped.
import { AtollError, isAtollError } from '@atoll/core-errors';
import { poolOf, type KeyspaceFreeze, type KeyspaceSpec, type VersionedRecord, type WriteRecord } from '@atoll/core-membership';
import type { CopyJob, StandbyPair } from '@atoll/core-migration';
import { randomHex, type Random } from '@atoll/core-runtime';
import type { ClusterView } from '@atoll/platform-etcd';
import type { KeyspaceStore } from '../adapters/keyspace-store.ts';
import type { FreezeCalls } from './freeze-calls.ts';
import { StandbyFence, freezeForStandby, isDrained } from './standby-fence.ts';

/** How often a fence is looked at, in ms. */
const LOOK_MS = 200;

export interface PoolStandbysOptions {
  readonly view: ClusterView;
  readonly keyspaces: Pick<KeyspaceStore, 'update'>;
  readonly freezes: Pick<FreezeCalls, 'ask'>;
  readonly random: Random;
  readonly wallMs: () => number;
  /** Monotonic. */
  readonly nowMs: () => number;
  /** See COORDINATOR_FENCE_AFTER_MS. */
  readonly fenceAfterMs: number;
  /** Those of the nodes that answer by now; within `deadlineMs`. */
  readonly answering: (nodes: ReadonlySet<string>, deadlineMs: number) => Promise<ReadonlySet<string>>;
  /** What the leaders of the standby say, asked anew. */
  readonly pairsNow: (job: CopyJob) => Promise<readonly StandbyPair[]>;
  /** To be stepped again at once, or within so many ms. */
  readonly onNews: (inMs?: number) => void;
  readonly writeRecords: (records: readonly WriteRecord[]) => Promise<void>;
}

export class PoolStandbys {
  readonly #options: PoolStandbysOptions;
  /** By id of the job. */
  readonly #fences = new Map<string, { readonly fence: StandbyFence; readonly sinceMs: number; problem: string }>();

  constructor(options: PoolStandbysOptions) {
    this.#options = options;
  }

  /** Undefined when it is gone. */
  primaryOf({ source, sourceId }: CopyJob): KeyspaceSpec | undefined {
    const spec = this.#options.view.keyspace(source);
    return spec?.id === sourceId ? spec : undefined;
  }

  /** The pool of the primary, by which an operator states that it is stopped. */
  primaryPool(job: CopyJob): string {
    return poolOf(this.primaryOf(job) ?? {});
  }

  /** Whether each partition of the primary has a leader that answers; within `deadlineMs`. */
  async isWhole(job: CopyJob, deadlineMs: number): Promise<boolean> {
    const primary = this.primaryOf(job);
    if (primary === undefined) return false;
    const records = this.#options.view.partitions(primary.name).filter(({ record }) => record.keyspaceId === primary.id);
    const leaders = records.flatMap(({ record }) => record.leader?.node ?? []);
    if (leaders.length < primary.partitionCount) return false;
    const answering = await this.#options.answering(new Set(leaders), deadlineMs);
    return leaders.every((node) => answering.has(node));
  }

  /** What its primary says while this standby takes its place without it, and behind that. */
  fenceOf(job: CopyJob): KeyspaceFreeze {
    const { random, wallMs } = this.#options;
    return this.#freezeFor(job) ?? freezeForStandby(job.target, random, wallMs());
  }

  isFencing(job: CopyJob): boolean {
    return this.#freezeFor(job) !== undefined;
  }

  /** What a promotion waits for, for people; empty for nothing. */
  problemOf({ id }: CopyJob): string {
    return this.#fences.get(id)?.problem ?? '';
  }

  /** Has the primary stop. `step` goes on from there, in this term or in another one. Throws METADATA_CONFLICT, METADATA_UNAVAILABLE. */
  async begin(job: CopyJob): Promise<void> {
    const freeze = this.fenceOf(job);
    await this.#options.keyspaces.update(job.source, (spec) => {
      if (spec.id !== job.sourceId || spec.movedTo !== undefined) throw new AtollError('MIGRATION_CONFLICT', `keyspace: ${job.source} is not the primary of ${job.target} any more`, { metadata: { field: 'keyspace', keyspace: job.target } });
      return spec.freeze?.forStandby === job.target ? spec : { ...spec, freeze };
    });
    this.#options.onNews();
  }

  /** Goes on with what was begun; `promote` is called when it is certain that nobody leads the primary any more (R15). */
  async step(jobs: readonly CopyJob[], promote: (job: CopyJob, fence: string) => Promise<unknown>): Promise<void> {
    await this.#mark();
    for (const id of this.#fences.keys()) if (!jobs.some((job) => job.id === id && this.isFencing(job))) this.#fences.delete(id);
    for (const job of jobs) if (this.isFencing(job)) await this.#step(job, promote);
  }

  /** Has records say whether their keyspaces have a standby here. */
  async #mark(): Promise<void> {
    const { view, random, writeRecords } = this.#options;
    for (const { id, name, standby } of view.keyspaces().values()) {
      const hasStandby = standby !== undefined;
      const others = view.partitions(name).filter(({ record }) => record.keyspaceId === id && (record.hasStandby === true) !== hasStandby);
      if (others.length > 0) await writeRecords(others.map((versioned) => withMark(versioned, hasStandby, random)));
    }
  }

  async #step(job: CopyJob, promote: (job: CopyJob, fence: string) => Promise<unknown>): Promise<void> {
    const { nowMs, fenceAfterMs, pairsNow, onNews } = this.#options;
    const { id } = this.#freezeFor(job)!;
    let known = this.#fences.get(job.id);
    if (known?.fence.id !== id) this.#fences.set(job.id, (known = { fence: new StandbyFence(id, this.#options), sinceMs: nowMs(), problem: '' }));
    const { waiting, partitions, leftMs, barriers } = known.fence.look(this.primaryOf(job)!);
    if (waiting > 0) {
      known.problem = `it is not certain yet that nobody leads ${waiting} of ${partitions} partitions of ${job.source}${leftMs === undefined ? '' : `; it is in ${Math.ceil(leftMs / 1000)} s at the latest (R15)`}`;
      return onNews(LOOK_MS);
    }
    // What leaders had who answered comes in some moments; one whose office ended since does not answer for that.
    if (!isDrained(barriers, await pairsNow(job)) && nowMs() - known.sinceMs < fenceAfterMs) {
      known.problem = `it takes what the leaders of ${job.source} had that answer`;
      return onNews(LOOK_MS);
    }
    try {
      await promote(job, id);
    } catch (error) {
      if (!isAtollError(error) || error.reason !== 'CUT_OVER_REFUSED') throw error;
      known.problem = error.message;
      onNews(LOOK_MS);
    }
  }

  #freezeFor(job: CopyJob): KeyspaceFreeze | undefined {
    const freeze = this.primaryOf(job)?.freeze;
    return freeze?.forStandby === job.target ? freeze : undefined;
  }
}

function withMark({ record, modRevision }: VersionedRecord, hasStandby: boolean, random: Random): WriteRecord {
  const { hasStandby: _hasStandby, ...rest } = record;
  return { kind: 'writeRecord', decision: 'MARK_STANDBY', record: { ...rest, ...(hasStandby && { hasStandby }), changeId: randomHex(random, 8) }, modRevision };
}
