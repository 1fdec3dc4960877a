// A cut-over as the coordinator carries it out that was asked for it (R37), in small: production's steps and records, among calls that
// are lost. Nothing of it outlives the term.
import type { VersionedRecord } from '@atoll/core-membership';
import { completeCutOver, copiedPairs, cutOverCopy, hasCopyEnded, nextCutOverStep, switchedSpecs, withFrozen, type BarrierPlace, type CopyExtent, type CopyJob, type CutOverFacts, type FrozenSource } from '@atoll/core-migration';
import { slotOf } from '../names.ts';
import type { World } from '../world.ts';
import type { Term } from '../control/term.ts';
import type { CopyRecords } from './copy-records.ts';
import { wait, waitAll, type Later } from './later.ts';
import type { FrozenSlot } from './node-copies.ts';
import type { CopyWatch } from './copy-watch.ts';

const CALL_MS = 250;
const VIEW_LAG_MS = 1000;
const LOOK_MS = 5;

export class CutOverRun {
  readonly id: string;
  readonly #world: World;
  readonly #term: Term;
  readonly #records: CopyRecords;
  readonly #watch: CopyWatch;
  readonly #extent: CopyExtent;
  readonly #barriers = new Map<number, BarrierPlace>();
  readonly #heldSince = new Map<number, number>();
  readonly #asking = new Set<string>();
  #timeMs = 0;

  constructor(options: { world: World; term: Term; records: CopyRecords; watch: CopyWatch; id: string; extent: CopyExtent }) {
    this.id = options.id;
    this.#world = options.world;
    this.#term = options.term;
    this.#records = options.records;
    this.#watch = options.watch;
    this.#extent = options.extent;
  }

  /** Does what is next. Answers why it is to be given up; undefined while it goes on, or is done. */
  *step(job: CopyJob): Later<string | undefined> {
    const source = this.#term.coordinator.view.keyspaces.get(job.source);
    if (source?.id !== job.sourceId || this.#sources(job).length !== source.partitionCount) return `keyspace ${job.source} is not whole`;
    const step = nextCutOverStep(this.#facts(job));
    this.#world.faults.onCutOver(step.kind, job);
    if (step.kind === 'abort') return step.reason;
    if (step.kind === 'commit') return yield* this.#commit(job);
    if (step.kind === 'freeze') yield* this.#freeze(job, step.partitions);
    else for (const [node, slots] of this.#leaders(job, new Set(step.unconfirmed))) if (!this.#asking.has(node)) this.#askSoon(node, slots);
    this.#term.wake();
    return undefined;
  }

  #sources({ source, sourceId }: CopyJob): readonly VersionedRecord[] {
    return this.#term.coordinator.view.records().filter(({ record }) => record.keyspace === source && record.keyspaceId === sourceId);
  }

  #facts(job: CopyJob): CutOverFacts {
    const { nowMs, coordinator } = this.#term;
    const records = this.#sources(job);
    const sources = records.map((versioned): FrozenSource => {
      const { partition, frozen, generation } = versioned.record;
      return { partition, isFrozen: frozen === this.id, isSettled: this.#term.isSettled(versioned), generation: generation.counter, barrier: this.#barriers.get(partition) };
    });
    const pairs = copiedPairs({ sourceCount: records.length, targetCount: job.partitionCount }, (target, partition) => {
      const slot = slotOf({ keyspace: job.target, partition: target });
      const status = this.#watch.of(coordinator.view, slot).find(({ sourcePartition }) => sourcePartition === partition);
      return status?.isFollowing === true ? status.origin : undefined;
    });
    const { mutant } = this.#world;
    const heldMs = nowMs - Math.min(nowMs, ...this.#heldSince.values());
    return { sources, pairs: pairs.map((pair) => mutant?.copiedPair?.(pair, this.#barriers.get(pair.source)) ?? pair), heldMs, maxPauseMs: job.cutOver!.maxPauseMs };
  }

  *#freeze(job: CopyJob, partitions: readonly number[]): Later<void> {
    const { nowMs, coordinator } = this.#term;
    for (const partition of partitions) if (!this.#heldSince.has(partition)) this.#heldSince.set(partition, nowMs);
    const { random } = this.#world.dice;
    const wanted = this.#sources(job).filter(({ record }) => partitions.includes(record.partition));
    const written = yield* waitAll(
      wanted.map((versioned) => (resume: (written: { readonly slot: number; readonly revision: number } | undefined) => void) => {
        const slot = slotOf(versioned.record);
        this.#term.write(slot, withFrozen(versioned, this.id, random), (_isDone, revision) => resume(revision === undefined ? undefined : { slot, revision }));
      }),
    );
    const isShown = (): boolean => written.every((each) => each === undefined || coordinator.view.records().some(({ record, modRevision }) => slotOf(record) === each.slot && modRevision >= each.revision));
    for (let waitedMs = 0; waitedMs < VIEW_LAG_MS && !isShown(); waitedMs += LOOK_MS) yield* wait<void>((resume) => coordinator.after(LOOK_MS, () => resume()));
  }

  #leaders(job: CopyJob, partitions: ReadonlySet<number>): ReadonlyMap<string, readonly number[]> {
    const led = this.#sources(job).filter(({ record }) => partitions.has(record.partition) && record.leader !== undefined);
    return new Map([...Map.groupBy(led, ({ record }) => record.leader!.node as string)].map(([node, records]) => [node, records.map(({ record }) => slotOf(record))]));
  }

  /** Does not wait: a node that is silent must not keep its office from being given to another one. */
  #askSoon(node: string, slots: readonly number[]): void {
    this.#asking.add(node);
    let isOver = false;
    this.#ask(node, slots, false, (confirmed) => {
      if (isOver) return;
      isOver = true;
      this.#asking.delete(node);
      this.#note(confirmed);
      if (confirmed.length > 0) this.#term.wake();
    });
  }

  #ask(id: string, slots: readonly number[], seal: boolean, answer: (confirmed: readonly FrozenSlot[]) => void): void {
    const { coordinator } = this.#term;
    const { network } = this.#world;
    const node = this.#world.nodeOf(id);
    coordinator.after(CALL_MS, () => answer([]));
    if (node === undefined) return;
    network.send(coordinator, node, () => {
      const confirmed = node.copies.confirmFreeze(this.id, slots, seal);
      network.send(node, coordinator, () => answer(confirmed));
    });
  }

  /** The first barrier will do: nothing of clients is behind it, whoever leads. */
  #note(confirmed: readonly FrozenSlot[]): void {
    for (const { slot, barrier, timeMs } of confirmed) {
      this.#timeMs = Math.max(this.#timeMs, timeMs);
      const { partition } = this.#term.coordinator.view.records().find(({ record }) => slotOf(record) === slot)!.record;
      if (!this.#barriers.has(partition)) this.#barriers.set(partition, barrier);
    }
  }

  /** Seals, looks once more, and writes. What lacks now is tried again with the next step, while there is time. */
  *#commit(job: CopyJob): Later<string | undefined> {
    const { coordinator } = this.#term;
    const all = this.#sources(job).map(({ record }) => record.partition);
    const sealed = yield* waitAll<readonly FrozenSlot[]>([
      ...[...this.#leaders(job, new Set(all))].map(([node, slots]) => (resume: (confirmed: readonly FrozenSlot[]) => void) => this.#ask(node, slots, true, resume)),
      (resume) => this.#watch.ask(coordinator.view, job, CALL_MS, () => resume([])),
    ]);
    for (const confirmed of sealed) this.#note(confirmed);
    const isSealed = sealed.reduce((sum, confirmed) => sum + confirmed.length, 0) === all.length;
    if (!isSealed || nextCutOverStep({ ...this.#facts(job), heldMs: 0 }).kind !== 'commit') return this.#later(job);
    this.#world.faults.onCutOver('switch', job);
    const complete = (stored: CopyJob): CopyJob => completeCutOver(stored, { pausesMs: all.map((partition) => this.#term.nowMs - this.#heldSince.get(partition)!), endedMs: coordinator.clock.moment.wallMs, extent: this.#extent });
    const written = yield* this.#records.run(() =>
      cutOverCopy(this.#records.table, job.id, complete, (specs, revision) => switchedSpecs(specs, { job: job.id, id: this.id, fencesBelow: revision + 1, timeMs: this.#timeMs })),
    );
    if (written === undefined) return undefined;
    return hasCopyEnded(written.value) ? undefined : 'the transaction was refused';
  }

  #later(job: CopyJob): string | undefined {
    const { heldMs, maxPauseMs } = this.#facts(job);
    if (heldMs >= maxPauseMs) return `writes were held for ${Math.round(heldMs)} ms, of at most ${maxPauseMs}`;
    this.#term.coordinator.after(10, () => this.#term.wake());
    return undefined;
  }
}
