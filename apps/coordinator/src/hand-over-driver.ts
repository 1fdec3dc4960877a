// Carries planned transfers out (R29), a few partitions at a time: the leader gives the office up and names the
// record's revision; the promotion compares it. Whatever goes wrong, the leader takes its office back after a while,
// or finds that it is succeeded.
import type { HandOverItem, HandOverResult } from '@atoll/contracts/atoll/v1/heartbeat';
import { LeaderCounts, hasReplica, isReachable, nameOf, promote, type ClusterState, type HandOver, type VersionedRecord } from '@atoll/core-membership';
import type { Random } from '@atoll/core-runtime';
import type { RecordAction, Written } from './adapters/record-writer.ts';
import { HandOverPace } from './domain/hand-over-pace.ts';
import type { HandOverSpans } from './hand-over-spans.ts';

export interface HandOverDriverOptions {
  readonly random: Random;
  readonly config: {
    /** Partitions in transfer at a time, 1 or more: writes to each wait for some milliseconds. */
    readonly handOversMax: number;
    /** The leader takes an office back after so long. */
    readonly handOverHoldMs: number;
  };
  readonly nowMs: () => number;
  /** As known at this moment. */
  readonly state: () => ClusterState;
  readonly ask: (address: string, items: readonly HandOverItem[], holdMs: number) => Promise<readonly HandOverResult[]>;
  readonly spans: Pick<HandOverSpans, 'begin' | 'end'>;
  /** The record as etcd has it. */
  readonly read: (keyspace: string, partition: number) => Promise<VersionedRecord | undefined>;
  readonly write: (actions: readonly RecordAction[]) => Promise<readonly Written<RecordAction>[]>;
  /** Tells of what was certainly written, and resolves when the view shows it. */
  readonly onWritten: (written: readonly Written<RecordAction>[], handOvers: readonly HandOver[]) => Promise<void>;
  /** Something ended, or a rest behind it: more may begin. */
  readonly onEnd: () => void;
  readonly onProblem: (handOver: HandOver, problem: string) => void;
}

interface Failure {
  readonly epoch: number;
  readonly problem: string;
  readonly count: number;
  readonly atMs: number;
}

/** After a failure a transfer is tried again after so long, doubled each time. */
const RETRY_MS_MIN = 500;
const RETRY_MS_MAX = 30_000;

export class HandOverDriver {
  readonly #options: HandOverDriverOptions;
  readonly #busy = new Map<string, HandOver>();
  /** By partition; those of other epochs are forgotten. */
  readonly #failures = new Map<string, Failure>();
  /** By partition: the transfer that led to the present epoch. */
  readonly #pauses = new Map<string, { readonly epoch: number; readonly ms: number }>();
  readonly #pace: HandOverPace;
  #restTimer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(options: HandOverDriverOptions) {
    this.#options = options;
    this.#pace = new HandOverPace(options.config);
  }

  /** Partitions in transfer, by `partitionName`. */
  get handingOver(): ReadonlySet<string> {
    return new Set(this.#busy.keys());
  }

  /** Why the last attempt in this epoch failed; undefined when none did. */
  problemOf(name: string, epoch: number): string | undefined {
    const failure = this.#failures.get(name);
    return failure?.epoch === epoch ? failure.problem : undefined;
  }

  /** For how long the transfer that led to this epoch made writes wait, in ms: from the question to the leader until its successor was told. */
  pauseMsOf(name: string, epoch: number): number | undefined {
    const pause = this.#pauses.get(name);
    return pause?.epoch === epoch ? pause.ms : undefined;
  }

  /** Begins as many as may run, in the order given. Does not wait for them. */
  begin(planned: readonly HandOver[]): void {
    if (this.#isClosed) return;
    const nowMs = this.#options.nowMs();
    const ready = planned.filter(({ record }) => !this.#busy.has(nameOf(record)) && !this.#isBackingOff(nameOf(record), record.epoch, nowMs));
    this.#pace.plan(ready, nowMs);
    const due: HandOver[] = [];
    for (const handOver of ready) {
      if (this.#busy.size >= this.#options.config.handOversMax) break;
      if (!this.#pace.mayBegin(handOver, nowMs)) continue;
      this.#busy.set(nameOf(handOver.record), handOver);
      due.push(handOver);
    }
    for (const batch of Map.groupBy(due, ({ record }) => record.leader!.node).values()) void this.#run(batch);
  }

  /** Failures of partitions that go on in another epoch are of no interest any more. */
  retain(state: ClusterState): void {
    const epochs = new Map<string, number>();
    for (const records of state.partitions.values()) for (const { record } of records) epochs.set(nameOf(record), record.epoch);
    for (const [name, { epoch }] of this.#failures) if (epochs.get(name) !== epoch) this.#failures.delete(name);
    for (const [name, { epoch }] of this.#pauses) if (epochs.get(name) !== epoch) this.#pauses.delete(name);
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#restTimer);
  }

  /** Whether transfers go on that are spread over time: one is under way, or the rest before the next. */
  get isSpreading(): boolean {
    return this.#pace.isSpreading;
  }

  #isBackingOff(name: string, epoch: number, nowMs: number): boolean {
    const failure = this.#failures.get(name);
    if (failure?.epoch !== epoch) return false;
    return nowMs - failure.atMs < Math.min(RETRY_MS_MIN * 2 ** (failure.count - 1), RETRY_MS_MAX);
  }

  async #run(batch: readonly HandOver[]): Promise<void> {
    const askedMs = this.#options.nowMs();
    try {
      const results = await this.#ask(batch);
      const actions = await Promise.all(batch.map((handOver, index) => this.#promotion(handOver, results[index])));
      const written = await this.#options.write(actions.filter((action) => action !== undefined));
      const isWritten = ({ record }: HandOver): boolean => written.some(({ action }) => nameOf(action.record) === nameOf(record));
      for (const [index, handOver] of batch.entries()) {
        if (actions[index] !== undefined && !isWritten(handOver)) this.#fail(handOver, 'the record was changed meanwhile');
      }
      for (const { action } of written) if (action.kind === 'writeRecord') this.#pauses.set(nameOf(action.record), { epoch: action.record.epoch, ms: this.#options.nowMs() - askedMs });
      await this.#options.onWritten(written, batch.filter(isWritten));
    } catch (error) {
      for (const handOver of batch) this.#fail(handOver, error instanceof Error ? error.message : String(error));
    } finally {
      for (const handOver of batch) this.#end(handOver, askedMs);
      if (!this.#isClosed) this.#rest(batch);
    }
  }

  #end(handOver: HandOver, askedMs: number): void {
    const name = nameOf(handOver.record);
    const { epoch } = handOver.record;
    const failure = this.#failures.get(name);
    const problem = failure?.epoch === epoch && failure.atMs >= askedMs ? failure.problem : undefined;
    this.#options.spans.end(handOver, { problem, pauseMs: this.pauseMsOf(name, epoch + 1) });
    this.#busy.delete(name);
  }

  #rest(batch: readonly HandOver[]): void {
    const nowMs = this.#options.nowMs();
    const restMs = this.#pace.end(batch, nowMs);
    // What one transfer has left to do for every process comes to its end before the next one begins.
    clearTimeout(this.#restTimer);
    this.#restTimer = setTimeout(() => this.#options.onEnd(), Math.ceil(restMs) + 1);
  }

  #ask(batch: readonly HandOver[]): Promise<readonly HandOverResult[]> {
    const { state, ask, config, spans } = this.#options;
    const address = state().nodes.get(batch[0]!.record.leader!.node)?.address;
    if (address === undefined) throw new Error('the leader is not registered any more');
    const items = batch.map((handOver): HandOverItem => {
      const { record: { keyspace, partition, epoch }, target } = handOver;
      return { keyspace, partition, epoch, targetReplicaId: target.replica, traceparent: spans.begin(handOver) };
    });
    return ask(address, items, config.handOverHoldMs);
  }

  /** Undefined, and noted as a failure, when the office was not given up, or the target cannot have it any more. */
  async #promotion(handOver: HandOver, result: HandOverResult | undefined): Promise<RecordAction | undefined> {
    const { read, state: readState, random } = this.#options;
    if (result?.givenUp !== true) return this.#fail(handOver, result?.problem ?? 'no result came');
    const { keyspace, partition, epoch } = handOver.record;
    const versioned = handOver.modRevision === result.modRevision ? handOver : await read(keyspace, partition);
    if (versioned === undefined || versioned.modRevision !== result.modRevision || versioned.record.epoch !== epoch) {
      return this.#fail(handOver, `the record stands at another revision than ${result.modRevision}`);
    }
    const state = readState();
    const { target } = handOver;
    const spec = state.keyspaces.get(keyspace);
    const isFit = hasReplica(versioned.record.inSync, target.replica) && isReachable(state, target.node);
    if (!isFit || spec === undefined) return this.#fail(handOver, `${target.node} cannot lead any more`);
    const record = promote(versioned.record, target, { state, random, leaders: new LeaderCounts(), minInSync: spec.minInSync, isRelinquished: true });
    return { kind: 'writeRecord', decision: 'TRANSFER', record, modRevision: versioned.modRevision };
  }

  #fail(handOver: HandOver, problem: string): undefined {
    const name = nameOf(handOver.record);
    const { epoch } = handOver.record;
    const former = this.#failures.get(name);
    const count = former?.epoch === epoch ? former.count + 1 : 1;
    this.#failures.set(name, { epoch, problem, count, atMs: this.#options.nowMs() });
    if (count === 1) this.#options.onProblem(handOver, problem);
  }
}
