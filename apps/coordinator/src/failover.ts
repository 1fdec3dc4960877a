// Leaders that change, in one term: what decisions on them rest on, planned transfers, what operators asked for.
import {
  CALM,
  LeaderCounts,
  RedundancyClock,
  nameOf,
  partitionName,
  planHandOvers,
  type ActiveFailover,
  type ClusterState,
  type NodeVerdict,
  type PartitionRecord,
  type Recovery,
} from '@atoll/core-membership';
import type { Random } from '@atoll/core-runtime';
import type { HandOverCalls } from './adapters/hand-over-calls.ts';
import { FailoverNotes } from './domain/failover-notes.ts';
import { HandOverDriver, type HandOverDriverOptions } from './hand-over-driver.ts';
import type { NodeWatch } from './node-watch.ts';

/** What an operator asked for is forgotten after so long. */
const REQUEST_MS = 60_000;

export interface FailoverOptions extends Pick<HandOverDriverOptions, 'read' | 'write' | 'onWritten' | 'onProblem' | 'spans'> {
  readonly random: Random;
  readonly config: {
    readonly failoverActive: ActiveFailover;
    readonly handOversMax: number;
    readonly handOverHoldMs: number;
    readonly fenceAfterMs: number;
    readonly reReplicateAfterMs: number;
  };
  readonly nowMs: () => number;
  readonly watch: Pick<NodeWatch, 'reports' | 'answer'>;
  readonly calls: HandOverCalls;
  readonly state: () => Omit<ClusterState, 'failover'>;
  /** There may be something new to decide. */
  readonly onNews: () => void;
}

/** Leaders are spread when nothing was amiss for so long: a guess, so that they do not go back and forth with a node that is ill now and then. */
const BALANCE_AFTER_MS = 5000;

const isCalmVerdict = ({ sinceMs, degraded, isEtcdLost }: NodeVerdict, nowMs: number): boolean => nowMs - sinceMs >= BALANCE_AFTER_MS && degraded.length === 0 && !isEtcdLost;

interface Request {
  readonly epoch: number;
  readonly untilMs: number;
}

export class Failover {
  readonly #options: FailoverOptions;
  readonly #notes: FailoverNotes;
  readonly #redundancy: RedundancyClock;
  readonly #driver: HandOverDriver;
  /** When something was amiss last. */
  #disturbedMs = -Infinity;
  /** By `partitionName`: the node that is to lead, empty: any other. */
  readonly #requested = new Map<string, Request & { readonly node: string }>();
  readonly #recoveries = new Map<string, Request & Recovery>();

  constructor(options: FailoverOptions) {
    this.#options = options;
    this.#notes = new FailoverNotes(options.config);
    this.#redundancy = new RedundancyClock(options.config);
    this.#driver = new HandOverDriver({
      ...options,
      state: () => ({ ...options.state(), failover: CALM }),
      ask: (address, items, holdMs) => options.calls.ask(address, items, holdMs),
      onEnd: options.onNews,
    });
  }

  /** Whether offices are being handed over, some at a time. */
  get isSpreading(): boolean {
    return this.#driver.isSpreading;
  }

  /** The state to decide on. Answers the nodes that ask. */
  complete(base: Omit<ClusterState, 'failover'>): ClusterState {
    const { config, watch, nowMs: clock } = this.#options;
    const nowMs = clock();
    this.#forget(base, nowMs);
    const { failover, answers } = this.#notes.take({
      state: base,
      reports: watch.reports(),
      active: config.failoverActive,
      handingOver: this.#driver.handingOver,
      problemOf: (name, epoch) => this.#driver.problemOf(name, epoch),
      recoveries: this.#recoveries,
      overdue: this.#redundancy.take(base.keyspaces, base.partitions, nowMs),
      nowMs,
    });
    for (const { asking, question, mayRemove } of answers) watch.answer(asking, question, mayRemove);
    return { ...base, failover };
  }

  /** Begins planned transfers. To be called with the records as they are after a round of decisions. `migrating`: partitions that a migration has. */
  begin(state: ClusterState, migrating: ReadonlySet<string>): void {
    const { config, calls } = this.#options;
    this.#driver.retain(state);
    calls.retain(new Set([...state.nodes.values()].map(({ address }) => address)));
    const requested = new Map([...this.#requested].map(([name, { node }]) => [name, node]));
    const leaders = LeaderCounts.count(state.partitions.values());
    const planned = planHandOvers({ ...state, failover: { ...state.failover, handingOver: this.#driver.handingOver } }, { active: config.failoverActive, requested, leaders, migrating });
    const nowMs = this.#options.nowMs();
    const isCalm = [...state.verdicts.values()].every((verdict) => isCalmVerdict(verdict, nowMs)) && planned.every(({ reason }) => reason === 'BALANCE');
    if (!isCalm) this.#disturbedMs = nowMs;
    this.#driver.begin(nowMs - this.#disturbedMs < BALANCE_AFTER_MS ? planned.filter(({ reason }) => reason !== 'BALANCE') : planned);
  }

  /** Transfers the partition's office, to `node` or, when that is empty, to any member that is well. */
  request(record: PartitionRecord, node: string): void {
    this.#requested.set(nameOf(record), { epoch: record.epoch, node, untilMs: this.#options.nowMs() + REQUEST_MS });
    this.#options.onNews();
  }

  /** Why the transfer of the partition's office did not come about so far; undefined while nothing is wrong. */
  problemOf(keyspace: string, partition: number, epoch: number): string | undefined {
    return this.#driver.problemOf(partitionName(keyspace, partition), epoch);
  }

  /** For how long the transfer that led to this epoch made writes wait, in ms; undefined when this term made none. */
  pauseMsOf({ keyspace, partition, epoch }: PartitionRecord): number | undefined {
    return this.#driver.pauseMsOf(partitionName(keyspace, partition), epoch);
  }

  /** By the word of an operator, who states that the former members are stopped (R15). */
  recover(record: PartitionRecord, source: Recovery['source']): void {
    this.#recoveries.set(nameOf(record), { source, epoch: record.epoch, untilMs: this.#options.nowMs() + REQUEST_MS });
    this.#options.onNews();
  }

  close(): void {
    this.#driver.close();
    this.#options.calls.close();
  }

  #forget(state: Omit<ClusterState, 'failover'>, nowMs: number): void {
    const epochs = new Map<string, number>();
    for (const records of state.partitions.values()) for (const { record } of records) epochs.set(nameOf(record), record.epoch);
    for (const [name, { epoch, untilMs }] of this.#requested) if (epochs.get(name) !== epoch || nowMs > untilMs) this.#requested.delete(name);
    for (const [name, { untilMs }] of this.#recoveries) if (!epochs.has(name) || nowMs > untilMs) this.#recoveries.delete(name);
  }
}
