// The migrations of one term: takes jobs over, brings operators from step to step, and ends jobs. What an operator wants
// of its partition's replicas is carried out by the ordinary decisions on records (`placements`); leaders move by planned
// transfers. Everything that must survive is in etcd (migration-store.ts).
import { destinationOf, hasEnded, isEnded, isFilling, sourcesOf, targetsOf, admit, advance, placementOf, type MigrationJob, type MigrationOperator, type OperatorFacts } from '@atoll/core-migration';
import { isUsable, nameOf, partitionName, type ClusterState, type MigratingPlacement, type PartitionRecord } from '@atoll/core-membership';
import type { NodeId } from '@atoll/core-runtime';
import type { MigrationMetrics } from './migration-metrics.ts';
import type { MigrationSpans } from './migration-spans.ts';
import type { MigrationStore, OperatorChange } from './migration-store.ts';
import type { Proofs } from './proofs.ts';
import type { TransferWatch } from './transfer-watch.ts';

/** A target's memory may be filled so far before its operators go back. */
const MEMORY_SHARE_MAX = 0.98;

export interface MigrationsOptions {
  readonly store: MigrationStore;
  readonly proofs: Proofs;
  readonly transfers: TransferWatch;
  readonly spans: MigrationSpans;
  readonly metrics: MigrationMetrics;
  readonly config: { readonly learnersPerNodeMax: number; readonly migrationsMax: number };
  readonly wallMs: () => number;
  /** Hands the office over to one of the nodes (R29), unless that is under way. */
  readonly handOver: (record: PartitionRecord, node: NodeId) => void;
  /** For how long the last transfer in this epoch's predecessor made writes wait, in ms. */
  readonly pauseMsOf: (record: PartitionRecord) => number | undefined;
  /** Why the node refuses replicas of the keyspace. */
  readonly refusalOf: (keyspaceId: string, node: NodeId) => string | undefined;
  /** It is asked again from now on. */
  readonly forgetRefusal: (keyspaceId: string, node: NodeId) => void;
  /** A job ended. */
  readonly onEnded: (job: MigrationJob) => void;
}

interface Progress {
  readonly mark: string;
  readonly sinceMs: number;
}

export class Migrations {
  readonly #options: MigrationsOptions;
  /** When each running operator was seen to get on last. */
  readonly #progress = new Map<string, Progress>();

  constructor(options: MigrationsOptions) {
    this.#options = options;
  }

  get store(): MigrationStore {
    return this.#options.store;
  }

  get transfers(): TransferWatch {
    return this.#options.transfers;
  }

  /** Reads what stands in etcd. A job that was being written when its coordinator stopped is taken back: nothing of it had begun. */
  async takeOver(): Promise<void> {
    const { store } = this.#options;
    await store.refresh();
    for (const { id, state } of store.jobs()) {
      if (state === 'PREPARING') await store.update(id, (job) => ({ ...job, state: 'CANCELLING', problem: 'its coordinator stopped before it began' }));
    }
  }

  /** By `partitionName`: the nodes that should hold the partition now and in the end, for `decide`. */
  placements(): ReadonlyMap<string, MigratingPlacement> {
    const operators = this.#options.store.operators();
    return new Map(operators.map((operator) => [partitionName(operator.keyspace, operator.partition), { now: placementOf(operator), end: destinationOf(operator) }]));
  }

  /** To be called after every round of decisions, with the records as they are then. */
  async step(state: ClusterState, nowMs: number): Promise<void> {
    const { store, proofs, transfers, config } = this.#options;
    await store.refresh();
    const operators = store.operators();
    const jobs = store.jobsById();
    const recordOf = recordsOf(state);
    const limits = { perTarget: config.learnersPerNodeMax, perCluster: config.migrationsMax };
    const otherFills = countOtherFills(state, operators);
    const admitted = admit(operators, jobs, limits, (node) => isUsable(state, node), (node) => otherFills.get(node) ?? 0);
    const changes: OperatorChange[] = [];
    for (const from of operators) {
      const job = jobs.get(from.job);
      if (job === undefined) continue;
      const facts = this.#facts(from, job, { state, record: recordOf(from), mayBegin: admitted.has(from), nowMs });
      const to = advance(from, job, facts, this.#options.wallMs());
      if (to !== undefined) changes.push({ from, to });
    }
    await transfers.refresh(changes.filter(({ from }) => from.step === 'CATCH_UP').flatMap(({ from }) => targetsOf(from)), state.nodes);
    this.#note(await store.write(changes.map(({ from, to }) => ({ from, to: this.#prepare(jobs.get(from.job)!, from, to) }))));
    const current = store.operators();
    const verifying = current.flatMap((operator) => {
      const record = recordOf(operator);
      return operator.step === 'VERIFY' && record !== undefined && store.job(operator.job)?.state === 'RUNNING' ? [{ operator, record }] : [];
    });
    proofs.tick(verifying);
    transfers.tick(current, store.jobsById(), { nodes: state.nodes, recordOf }, nowMs);
    for (const operator of current) this.#moveOffice(operator, recordOf(operator));
    for (const job of await store.settle()) {
      this.#options.spans.ended(job);
      this.#options.metrics.ended(job);
      this.#options.onEnded(job);
    }
    this.#forgetProgress(current);
  }

  end(): void {
    this.#options.proofs.end();
  }

  #facts(operator: MigrationOperator, job: MigrationJob, seen: { readonly state: ClusterState; readonly record: PartitionRecord | undefined; readonly mayBegin: boolean; readonly nowMs: number }): OperatorFacts {
    const { record, mayBegin, nowMs, state } = seen;
    return {
      record,
      mayBegin,
      verdict: this.#options.proofs.verdictOf(operator),
      obstacle: this.#obstacleTo(operator, state),
      pauseMs: record && this.#options.pauseMsOf(record),
      stuckMs: this.#stuckMs(operator, job, record, nowMs),
    };
  }

  #obstacleTo(operator: MigrationOperator, state: ClusterState): string | undefined {
    const { transfers, refusalOf } = this.#options;
    for (const node of targetsOf(operator)) {
      const spec = state.specs.get(node);
      if (spec?.state !== 'UP') return `${node} is ${spec?.state ?? 'unknown'}: it gets nothing`;
      if (state.writtenOff.has(node)) return `${node} is gone: it gets nothing`;
      const refusal = isFilling(operator) ? refusalOf(operator.keyspaceId, node) : undefined;
      if (refusal !== undefined) return `${node} refuses it: ${refusal}`;
      const memory = transfers.memoryOf(node);
      if (memory !== undefined && memory.limitBytes > 0 && memory.usedBytes > MEMORY_SHARE_MAX * memory.limitBytes && operator.step !== 'VERIFY' && operator.step !== 'TRANSFER') {
        return `${node} is short of memory: ${memory.usedBytes} of ${memory.limitBytes} bytes are used`;
      }
    }
    return undefined;
  }

  #stuckMs(operator: MigrationOperator, job: MigrationJob, record: PartitionRecord | undefined, nowMs: number): number {
    const name = partitionName(operator.keyspace, operator.partition);
    const isWaitedFor = (job.state === 'RUNNING' || job.state === 'CANCELLING') && !this.#options.proofs.isInQueue(operator);
    const mark = isWaitedFor ? `${operator.job} ${operator.step} ${record?.changeId} ${this.#options.transfers.of(operator).bytes}` : `at rest ${nowMs}`;
    const known = this.#progress.get(name);
    if (known?.mark === mark) return nowMs - known.sinceMs;
    this.#progress.set(name, { mark, sinceMs: nowMs });
    return 0;
  }

  /** What is written with the step beside what `advance` decided. */
  #prepare(job: MigrationJob, from: MigrationOperator, to: MigrationOperator): MigrationOperator {
    if (to.step === 'ADD') for (const node of targetsOf(to)) this.#options.forgetRefusal(to.keyspaceId, node);
    const copied = this.#options.transfers.of(from);
    // Nodes tell of a copy for a minute; what was written down before stays.
    const [bytes, entries] = [Math.max(from.bytes, copied.bytes), Math.max(from.entries, copied.entries)];
    const traceparent = from.step === 'WAITING' && !hasEnded(to) ? this.#options.spans.began(job, to) : to.traceparent;
    return { ...to, bytes, entries, traceparent };
  }

  #note(written: readonly OperatorChange[]): void {
    const { spans, metrics } = this.#options;
    for (const { from, to } of written) {
      spans.stepped(from, to);
      metrics.stepped(from, to);
    }
  }

  /** The office goes to a replica that stays, as long as one that goes has it. */
  #moveOffice(operator: MigrationOperator, record: PartitionRecord | undefined): void {
    if (record?.leader === undefined) return;
    const { leader } = record;
    const isBack = operator.step === 'ROLL_BACK';
    if (operator.step !== 'TRANSFER' && operator.step !== 'REMOVE' && !isBack) return;
    if (operator.step === 'TRANSFER' && this.store.job(operator.job)?.state !== 'RUNNING') return;
    const going = isBack ? targetsOf(operator) : sourcesOf(operator);
    if (!going.includes(leader.node)) return;
    const staying = isBack ? operator.before : [...targetsOf(operator), ...operator.after];
    const next = staying.find((node) => node !== leader.node && record.inSync.some((member) => member.node === node));
    if (next !== undefined) this.#options.handOver(record, next);
  }

  #forgetProgress(operators: readonly MigrationOperator[]): void {
    const names = new Set(operators.map(({ keyspace, partition }) => partitionName(keyspace, partition)));
    for (const name of this.#progress.keys()) if (!names.has(name)) this.#progress.delete(name);
  }
}

/** Whether some job has not ended. */
export const hasActive = (store: MigrationStore): boolean => store.jobs().some((job) => !isEnded(job));

/** Learners by node that no migration fills: of processes that came back without their data, for example. */
function countOtherFills(state: ClusterState, operators: readonly MigrationOperator[]): ReadonlyMap<NodeId, number> {
  const own = new Set(operators.filter(isFilling).flatMap((operator) => targetsOf(operator).map((node) => `${node} ${partitionName(operator.keyspace, operator.partition)}`)));
  const counts = new Map<NodeId, number>();
  for (const records of state.partitions.values()) {
    for (const { record } of records) {
      for (const { node } of record.learners) if (!own.has(`${node} ${nameOf(record)}`)) counts.set(node, (counts.get(node) ?? 0) + 1);
    }
  }
  return counts;
}

function recordsOf(state: ClusterState): (operator: MigrationOperator) => PartitionRecord | undefined {
  const byName = new Map<string, PartitionRecord>();
  for (const [keyspace, records] of state.partitions) {
    const id = state.keyspaces.get(keyspace)?.id;
    for (const { record } of records) if (record.keyspaceId === id) byName.set(nameOf(record), record);
  }
  return ({ keyspace, partition }) => byName.get(partitionName(keyspace, partition));
}
