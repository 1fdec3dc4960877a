// One cut-over as the coordinator that was asked for it carries it out (R37). It is a part of its rounds of decisions: while a
// source is sealed, and until it is known what became of the transaction, no leader of it is replaced.
//
// Nothing of it outlives the term: who is elected next finds a job that is CUTTING_OVER, and gives the cut-over up.
import { completeCutOver, copiedPairs, hasCopyEnded, nextCutOverStep, switchedSpecs, withFrozen, type BarrierPlace, type CopiedPair, type CopyExtent, type CopyJob, type CutOverFacts, type FrozenSource } from '@atoll/core-migration';
import { CopyPhase, type CopyStatus } from '@atoll/contracts/atoll/v1/copy';
import type { VersionedRecord, WriteRecord } from '@atoll/core-membership';
import type { Random } from '@atoll/core-runtime';
import type { ClusterView } from '@atoll/platform-etcd';
import type { CopyStore } from './copy-store.ts';
import { freezeForStandby } from './standby-fence.ts';
import type { CutOverSpan } from './cut-over-spans.ts';
import { leadersOf, type FreezeCalls } from './freeze-calls.ts';

export interface CutOverPorts {
  readonly view: ClusterView;
  readonly store: CopyStore;
  readonly freezes: FreezeCalls;
  readonly random: Random;
  readonly nowMs: () => number;
  readonly wallMs: () => number;
  /** What the node last said of a partition of the copy. */
  readonly statuses: (node: string | undefined, keyspaceId: string, partition: number) => readonly CopyStatus[];
  /** Asks the leaders of the copy anew; resolves when they have answered, or do not. */
  readonly refreshStatuses: (job: CopyJob) => Promise<void>;
  readonly write: (records: readonly WriteRecord[]) => Promise<void>;
  /** Whether no write of this record whose answer was lost can be carried out any more (R7). */
  readonly isSettled: (versioned: VersionedRecord) => boolean;
  /** Whether the source stands still for another cluster. */
  readonly isTaken: (job: CopyJob) => boolean;
  /** For tests: whether the transaction is to wait. */
  readonly isHeld: (job: CopyJob) => boolean;
  /** To be stepped again at once, or within so many ms. */
  readonly wake: (inMs: number) => void;
}

/** How often leaders are asked that have not confirmed yet, in ms. */
const ASK_MS = 10;

export class CutOverRun {
  readonly id: string;
  readonly extent: CopyExtent;
  readonly span: CutOverSpan;
  readonly #ports: CutOverPorts;
  readonly #barriers = new Map<number, BarrierPlace>();
  /** Since when writes to a partition of the source are held, monotonic: from before its record was written. */
  readonly #heldSince = new Map<number, number>();
  /** The latest time that a leader of the source told: nobody was shown a later one there once all are sealed. */
  #timeMs = 0;
  /** Addresses that are being asked. */
  readonly #asking = new Set<string>();

  constructor(ports: CutOverPorts, options: { readonly id: string; readonly extent: CopyExtent; readonly span: CutOverSpan }) {
    this.#ports = ports;
    this.id = options.id;
    this.extent = options.extent;
    this.span = options.span;
  }

  /** Has connections to all leaders of the source stand before writes wait for them, and the leaders know the trace of what they will wait for. */
  async connect(job: CopyJob): Promise<void> {
    const all = new Set(this.#records(job).map(({ record }) => record.partition));
    await Promise.all([...this.#leadersOf(job, all)].map(([address, led]) => this.#ask(job, address, led, false)));
  }

  /** Nothing is under way that would not end with its step. Answers the reason. */
  giveUp(_job: CopyJob, reason: string): string {
    return reason;
  }

  /** Does what is next. Answers why it is to be given up; undefined while it goes on, or is done. */
  async step(job: CopyJob): Promise<string | undefined> {
    const source = this.#ports.view.keyspace(job.source);
    if (this.#ports.isTaken(job)) return `keyspace ${job.source} is about to be moved to another cluster`;
    if (source?.freeze !== undefined) return `keyspace ${job.source} is frozen`;
    if (source?.id !== job.sourceId || this.#records(job).length !== source.partitionCount) return `keyspace ${job.source} is not whole`;
    const step = nextCutOverStep(this.#facts(job));
    switch (step.kind) {
      case 'abort':
        return step.reason;
      case 'freeze':
        await this.#freeze(job, step.partitions);
        this.#ports.wake(0);
        return undefined;
      case 'drain':
        this.span.entered('drain');
        this.#askLeaders(job, step.unconfirmed);
        this.#ports.wake(ASK_MS);
        return undefined;
      default:
        step satisfies { kind: 'commit' };
        return this.#commit(job);
    }
  }

  #records({ source, sourceId }: CopyJob): readonly VersionedRecord[] {
    return this.#ports.view.partitions(source).filter(({ record }) => record.keyspaceId === sourceId);
  }

  #facts(job: CopyJob): CutOverFacts {
    const nowMs = this.#ports.nowMs();
    const records = this.#records(job);
    const sources = records.map((versioned): FrozenSource => {
      const { partition, frozen, generation } = versioned.record;
      return { partition, isFrozen: frozen === this.id, isSettled: this.#ports.isSettled(versioned), generation: generation.counter, barrier: this.#barriers.get(partition) };
    });
    const heldMs = nowMs - Math.min(nowMs, ...this.#heldSince.values());
    return { sources, pairs: pairsOf(job, records.length, this.#ports), heldMs, maxPauseMs: job.cutOver!.maxPauseMs };
  }

  async #freeze(job: CopyJob, partitions: readonly number[]): Promise<void> {
    const { nowMs, write, random } = this.#ports;
    this.span.entered('freeze');
    const wanted = new Set(partitions);
    const startMs = nowMs();
    for (const partition of partitions) if (!this.#heldSince.has(partition)) this.#heldSince.set(partition, startMs);
    await write(this.#records(job).filter(({ record }) => wanted.has(record.partition)).map((versioned) => withFrozen(versioned, this.id, random)));
  }

  /** Does not wait: a node that is silent must not keep its office from being given to another one. */
  #askLeaders(job: CopyJob, partitions: readonly number[]): void {
    for (const [address, led] of this.#leadersOf(job, new Set(partitions))) {
      if (!this.#asking.has(address)) void this.#askLeader(job, address, led);
    }
  }

  async #askLeader(job: CopyJob, address: string, partitions: readonly number[]): Promise<void> {
    this.#asking.add(address);
    const confirmed = await this.#ask(job, address, partitions, false);
    this.#asking.delete(address);
    if (confirmed > 0) this.#ports.wake(0);
  }

  /** Answers how many confirmed. */
  async #ask(job: CopyJob, address: string, partitions: readonly number[], seal: boolean): Promise<number> {
    const { source, sourceId } = job;
    const confirmed = await this.#ports.freezes.ask(address, { keyspace: source, keyspaceId: sourceId, cutOver: this.id, partitions: [...partitions], seal, traceparent: this.span.traceparent });
    // The first barrier will do: nothing of clients is behind it, whoever leads.
    for (const { partition, barrier, timeMs } of confirmed) {
      this.#timeMs = Math.max(this.#timeMs, timeMs);
      if (barrier !== undefined && !this.#barriers.has(partition)) this.#barriers.set(partition, barrier);
    }
    return confirmed.length;
  }

  #leadersOf(job: CopyJob, partitions: ReadonlySet<number>): ReadonlyMap<string, number[]> {
    return leadersOf(this.#ports.view, this.#records(job).flatMap(({ record }) => (partitions.has(record.partition) ? [record] : [])));
  }

  /** Seals, looks once more, and writes. What lacks now is tried again with the next step, while there is time. */
  async #commit(job: CopyJob): Promise<string | undefined> {
    const { store, view, random, nowMs, wallMs, refreshStatuses, isHeld } = this.#ports;
    const from = job.isStandby === true ? { from: { cluster: view.clusterId, keyspaceId: job.sourceId } } : {};
    // What a standby takes the place of is kept: its records are to seal whoever leads by them from then on.
    const kept = job.isStandby === true ? { freeze: freezeForStandby(job.target, random, wallMs()) } : {};
    this.span.entered('switch');
    if (isHeld(job)) return this.#later(job, 'a failpoint holds it');
    const all = this.#records(job).map(({ record }) => record.partition);
    const leaders = [...this.#leadersOf(job, new Set(all))];
    const [, ...sealed] = await Promise.all([refreshStatuses(job), ...leaders.map(([address, led]) => this.#ask(job, address, led, true))]);
    const isSealed = sealed.reduce((sum, count) => sum + count, 0) === all.length;
    if (!isSealed || nextCutOverStep({ ...this.#facts(job), heldMs: 0 }).kind !== 'commit') return this.#later(job, 'not every leader of the source could be sealed');
    const complete = (stored: CopyJob): CopyJob => {
      const endMs = nowMs();
      return completeCutOver(stored, { pausesMs: all.map((partition) => endMs - this.#heldSince.get(partition)!), endedMs: wallMs(), extent: this.extent });
    };
    // Whatever token the source saw was given out before that revision: it is frozen since.
    const written = await store.cutOver(job.id, complete, (specs, revision) => {
      const { source, target } = switchedSpecs(specs, { job: job.id, id: this.id, fencesBelow: revision + 1, timeMs: this.#timeMs, ...from });
      return { source: { ...source, ...kept }, target };
    });
    return hasCopyEnded(written) ? undefined : 'the transaction was refused';
  }

  /** Again with the next step, if there is time. */
  #later(job: CopyJob, problem: string): string | undefined {
    const { heldMs, maxPauseMs } = this.#facts(job);
    if (heldMs >= maxPauseMs) return `writes were held for ${Math.round(heldMs)} ms, of at most ${maxPauseMs}: ${problem}`;
    this.#ports.wake(ASK_MS);
    return undefined;
  }
}

/** Each partition of the copy with those of the source that have keys of it, and how far it is with them, as its leader's node last said. */
export function pairsOf(job: CopyJob, sourceCount: number, { view, statuses }: Pick<CutOverPorts, 'view' | 'statuses'>): readonly CopiedPair[] {
  return copiedPairs({ sourceCount, targetCount: job.partitionCount }, (target, source) => {
    const told = statuses(view.partition(job.target, target)?.record.leader?.node, job.targetId, target);
    const status = told.find(({ sourcePartition }) => sourcePartition === source);
    return status?.phase === CopyPhase.COPY_PHASE_FOLLOWING ? status.origin : undefined;
  });
}
