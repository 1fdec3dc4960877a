import { hasReplica, type PartitionRecord } from '@atoll/core-membership';
import type { ReplicaId } from '@atoll/core-runtime';
import { KEYSPACE, slotOf } from '../names.ts';
import { hasEnded, isEnded, sourcesOf, targetsOf, type MigrationJob, type MigrationOperator, type OperatorStep } from '@atoll/core-migration';

/** Steps that may follow each other. */
const NEXT: Readonly<Record<OperatorStep, readonly OperatorStep[]>> = {
  WAITING: ['ADD', 'ROLLED_BACK'],
  ADD: ['CATCH_UP', 'ROLL_BACK'],
  CATCH_UP: ['VERIFY', 'ROLL_BACK'],
  VERIFY: ['TRANSFER', 'CATCH_UP', 'ROLL_BACK'],
  TRANSFER: ['REMOVE', 'CATCH_UP', 'ROLL_BACK'],
  REMOVE: ['DONE', 'CATCH_UP', 'ROLLED_BACK'],
  DONE: [],
  ROLL_BACK: ['ROLLED_BACK', 'REMOVE'],
  ROLLED_BACK: [],
};

/** Holds what migrations must keep while a world runs (I8): every method throws when something is broken. */
export class MigrationChecker {
  /** As etcd has them. */
  readonly #read: () => { readonly operators: readonly MigrationOperator[]; readonly jobs: readonly MigrationJob[] };
  readonly #operators = new Map<number, MigrationOperator>();
  readonly #jobs = new Map<string, MigrationJob>();
  /** By partition: the last one that ended. */
  readonly #ended = new Map<number, MigrationOperator>();
  readonly #ends = new Set<string>();
  /** Comparisons that were made and came out well: the replicas that were compared, by partition and place of the log. */
  readonly #proofs = new Map<string, readonly ReplicaId[]>();
  /** Partitions that were placed anew, without data, since their last operator began: what was compared and where they were is of the past. */
  readonly #resets = new Set<number>();
  #wasSetBack = false;
  done = 0;
  rolledBack = 0;

  readonly #isThere: (slot: number) => boolean;
  readonly #replicationFactor: number;

  /** `isThere`: whether the partition has a record at this moment. `replicationFactor`: of the keyspace that is no copy. */
  constructor(options: { isThere: (slot: number) => boolean; replicationFactor: number; read: () => { readonly operators: readonly MigrationOperator[]; readonly jobs: readonly MigrationJob[] } }) {
    this.#read = options.read;
    this.#isThere = options.isThere;
    this.#replicationFactor = options.replicationFactor;
  }

  /** etcd went back: so did what stands there, and some of it comes again. */
  setBack(): void {
    this.#wasSetBack = true;
    const { operators, jobs } = this.#read();
    this.#operators.clear();
    for (const operator of operators) this.#operators.set(slotOf(operator), operator);
    this.#jobs.clear();
    for (const job of jobs) this.#jobs.set(job.id, job);
    this.#ends.clear();
    this.#ended.clear();
  }

  /** An operator was written; undefined: it is gone, and how it ended was written before. */
  onOperator(partition: number, after: MigrationOperator | undefined): void {
    const before = this.#operators.get(partition);
    if (after === undefined) {
      this.#operators.delete(partition);
      return;
    }
    this.#operators.set(partition, after);
    if (before === undefined) {
      this.#resets.delete(partition);
      if (after.step !== 'WAITING') throw new Error(`partition ${partition}: ${after.job} begins in ${after.step} (I8)`);
      return;
    }
    this.#checkStep(before, after);
  }

  onResult(operator: MigrationOperator): void {
    const { partition, job, step } = operator;
    const slot = slotOf(operator);
    const before = this.#operators.get(slot);
    if (before === undefined) throw new Error(`partition ${partition}: ${job} ended, which was not there (I8)`);
    this.#checkStep(before, operator);
    const name = `${job}/${slot}`;
    if (this.#ends.has(name)) throw new Error(`partition ${partition}: ${job} ended twice (I8)`);
    this.#ends.add(name);
    if (!this.#resets.has(slot)) this.#ended.set(slot, operator);
    if (step === 'DONE') this.done += 1;
    else this.rolledBack += 1;
  }

  #checkStep(before: MigrationOperator, after: MigrationOperator): void {
    const name = `partition ${before.partition}`;
    if (before.job !== after.job) throw new Error(`${name}: ${after.job} has it, and so has ${before.job} (I8, R38)`);
    if (before.before.join() !== after.before.join() || before.after.join() !== after.after.join()) throw new Error(`${name}: ${after.job} goes elsewhere than it should (I8)`);
    // Of a keyspace that is gone there is nothing to go on with.
    if (after.step === 'ROLLED_BACK' && !this.#isThere(slotOf(after))) return;
    if (before.step !== after.step && !NEXT[before.step].includes(after.step)) throw new Error(`${name}: ${after.job} went from ${before.step} to ${after.step} (I8)`);
  }

  onJob(after: MigrationJob): void {
    const before = this.#jobs.get(after.id);
    this.#jobs.set(after.id, after);
    if (after.done + after.rolledBack > after.total) throw new Error(`${after.id} ended ${after.done + after.rolledBack} times of ${after.total} (I8)`);
    if (before === undefined) return;
    if (isEnded(before)) throw new Error(`${after.id} was ${before.state} and is ${after.state} (I8)`);
    if (!isEnded(after) || this.#wasSetBack) return;
    if (after.state !== 'CANCELLED' && after.done + after.rolledBack < after.total && before.state !== 'CANCELLING') throw new Error(`${after.id} is ${after.state}, with ${after.done} and ${after.rolledBack} of ${after.total} ended (I8)`);
  }

  /** Every target was found equal to its leader at this place of the log. */
  proved({ keyspace, partition, generation, inSync }: PartitionRecord, { epoch, seq }: { readonly epoch: number; readonly seq: number }): void {
    this.#proofs.set(`${slotOf({ keyspace, partition })}/${generation.counter}/${epoch}/${seq}`, inSync.map(({ replica }) => replica));
  }

  /** Members that are to leave from this write on: a source once its target is in sync, compared, and leads; a target on its way back. */
  onRecord(before: PartitionRecord | undefined, after: PartitionRecord): void {
    const slot = slotOf(after);
    const operator = this.#operators.get(slot);
    if (before === undefined) return;
    if (before.generation.id !== after.generation.id) {
      this.#resets.add(slot);
      this.#ended.delete(slot);
    }
    if (before.generation.id !== after.generation.id || operator === undefined) return;
    const leaving = after.leaving.filter(({ replica }) => !hasReplica(before.leaving, replica)).map(({ node }) => node);
    const name = `partition ${after.partition}, ${operator.job} in ${operator.step}`;
    const source = leaving.find((node) => sourcesOf(operator).includes(node));
    if (source !== undefined) {
      if (operator.step !== 'REMOVE') throw new Error(`${name}: the source ${source} is let go (I8)`);
      const missing = targetsOf(operator).filter((node) => !after.inSync.some((member) => member.node === node && !hasReplica(after.leaving, member.replica)));
      if (missing.length > 0) throw new Error(`${name}: the source ${source} is let go while ${missing.join()} is not in sync (I8)`);
      const proof = `${slot}/${after.generation.counter}/${operator.proof?.epoch}/${operator.proof?.seq}`;
      const compared = this.#proofs.get(proof) ?? [];
      const isCompared = after.inSync.every(({ node, replica }) => !targetsOf(operator).includes(node) || compared.includes(replica));
      if (!isCompared && !this.#resets.has(slot)) throw new Error(`${name}: the source ${source} is let go before ${targetsOf(operator).join()} was compared (I8, R34)`);
    }
    const target = leaving.find((node) => targetsOf(operator).includes(node));
    // One that was set back says less than was done.
    if (target !== undefined && operator.step !== 'ROLL_BACK' && !this.#wasSetBack) throw new Error(`${name}: the target ${target} is let go (I8)`);
  }

  get isOver(): boolean {
    const { operators, jobs } = this.#read();
    return operators.length === 0 && jobs.every(isEnded);
  }

  /** Nothing goes on any more: every partition is where its last operator left it. */
  checkEnd(records: readonly PartitionRecord[]): void {
    if (this.#wasSetBack) return;
    for (const [slot, operator] of this.#ended) {
      const { partition } = operator;
      const record = records.find((each) => slotOf(each) === slot);
      // Of a keyspace that is gone.
      if (record === undefined) continue;
      const wanted = operator.step === 'DONE' ? operator.after : operator.before;
      const nodes = record.inSync.map(({ node }) => node);
      // What it lacked of replicas when the operator was made is made good afterwards.
      const nodesMax = operator.keyspace === KEYSPACE ? Math.max(wanted.length, this.#replicationFactor) : wanted.length;
      if (!hasEnded(operator) || nodes.length > nodesMax || !wanted.every((node) => nodes.includes(node))) {
        throw new Error(`partition ${partition} is on ${nodes.sort().join()}, and ${operator.job} left it ${operator.step} on ${[...wanted].sort().join()} (I8)`);
      }
    }
  }

  describe(): string {
    const { operators, jobs } = this.#read();
    return [...jobs.filter((job) => !isEnded(job)).map(({ id, state }) => `${id} ${state}`), ...operators.map(({ partition, step, job, before, after }) => `p${partition} ${step} of ${job}: ${before.join()} > ${after.join()}`)].join('; ');
  }
}
