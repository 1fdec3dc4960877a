// A toy cluster whose coordinator also migrates: operators and jobs survive it, everything else it knows does not. It
// complains (throws) when a migration takes from a partition what failures left of it.
import { PlacementPlans, hasReplica, isUsable, membersOf, nameOf, partitionName, planHandOvers, LeaderCounts, type Action, type PartitionRecord } from '@atoll/core-membership';
import { ToyCluster, nodeId } from '@atoll/core-membership/testing';
import type { NodeId } from '@atoll/core-runtime';
import { advance, noteEnd, settleJob } from '../advance.ts';
import { admit } from '../limits.ts';
import { command, isEnded, type JobCommand, type MigrationJob, type MigrationReason } from '../migration-job.ts';
import { destinationOf, hasEnded, placementOf, sourcesOf, targetsOf, type MigrationOperator, type MigrationProof } from '../operator.ts';
import { planMove, type PlannedOperator } from '../plan-move.ts';
import { job as jobOf, operator as operatorOf } from './samples.ts';

export const REPLICATION_FACTOR = 2;

export class MigrationWorld {
  readonly cluster: ToyCluster;
  readonly jobs = new Map<string, MigrationJob>();
  readonly operators = new Map<string, MigrationOperator>();
  /** With the record as it was at that moment. */
  readonly ended: { readonly operator: MigrationOperator; readonly record: PartitionRecord }[] = [];
  /** What a comparison will find instead of equality. */
  difference = '';
  #nowMs = 0;
  #jobCount = 0;
  readonly #progress = new Map<string, { mark: string; sinceMs: number }>();
  readonly #verdicts = new Map<string, { key: string; verdict: MigrationProof | string }>();

  constructor(seed: number, nodes: readonly string[], partitionCount: number) {
    this.cluster = new ToyCluster(seed);
    for (const node of nodes) this.cluster.start(node);
    this.cluster.keyspace({ name: 'default', partitionCount, replicationFactor: REPLICATION_FACTOR });
    this.restartCoordinator();
    this.cluster.active = 'drain-only';
    this.cluster.settle();
    this.cluster.write();
  }

  /** Only what is in etcd survives. */
  restartCoordinator(): void {
    this.cluster.plans = new PlacementPlans({ movesByMigration: true });
    this.#progress.clear();
    this.#verdicts.clear();
    this.cluster.requested.clear();
  }

  pass(ms: number): void {
    this.#nowMs += ms;
  }

  /** A requested move of every partition that can be moved; undefined when there is none. */
  move(from: NodeId, to: NodeId): string | undefined {
    const records = [...this.cluster.records.values()].map(({ record }) => record).filter((record) => !this.operators.has(nameOf(record)));
    const { operators } = planMove(records, { from, to, isNamed: false });
    return operators.length === 0 ? undefined : this.#begin('REQUESTED', operators.slice(0, 3));
  }

  ask(id: string, asked: JobCommand): void {
    const next = command(this.jobs.get(id)!, asked);
    if (!('refusal' in next)) this.jobs.set(id, next);
  }

  activeJobs(): string[] {
    return [...this.jobs.values()].filter((job) => !isEnded(job)).map(({ id }) => id);
  }

  /** A round of decisions, of which only the first are carried out when the coordinator dies in the middle. */
  decide(share = 1): number {
    const { cluster } = this;
    cluster.migrating = new Map([...this.operators].map(([name, operator]) => [name, { now: placementOf(operator, this.#recordOf(operator)), end: destinationOf(operator) }]));
    const actions = cluster.decide();
    const due = actions.slice(0, Math.ceil(actions.length * share));
    for (const action of due) if (action.kind !== 'migrate') this.#execute(action);
    const moves = due.filter((action) => action.kind === 'migrate').filter(({ record }) => !this.operators.has(nameOf(record)));
    for (const [reason, group] of Map.groupBy(moves, ({ move }) => move.reason)) this.#begin(reason, group.map(({ record, move: { before, after } }) => ({ record, before, after })));
    return actions.length;
  }

  /** One step of every operator, of which only the first are written when the coordinator dies in the middle. */
  step(share = 1): number {
    const state = this.cluster.state();
    const operators = [...this.operators.values()];
    const admitted = admit(operators, this.jobs, { perTarget: 2, perCluster: 4 }, (node) => isUsable(state, node));
    const steps = operators.flatMap((from) => {
      const to = advance(from, this.jobs.get(from.job)!, this.#facts(from, admitted.has(from)), this.#nowMs);
      return to === undefined ? [] : [to];
    });
    for (const to of steps.slice(0, Math.ceil(steps.length * share))) this.#write(to);
    for (const operator of this.operators.values()) this.#moveOffice(operator);
    for (const job of this.jobs.values()) this.jobs.set(job.id, settleJob(job, [...this.operators.values()].filter((operator) => operator.job === job.id).length, this.#nowMs));
    return steps.length;
  }

  /** Compares targets with their leaders. */
  verify(): void {
    for (const operator of this.operators.values()) {
      const record = this.#recordOf(operator);
      if (operator.step !== 'VERIFY' || record === undefined || !this.cluster.isLed(record)) continue;
      const writes = this.cluster.held(record.leader!.node, record)!.writes;
      const isEqual = targetsOf(operator).every((node) => this.cluster.held(node, record)?.writes === writes);
      const verdict = this.difference === '' && isEqual ? { epoch: record.epoch, seq: writes, entries: writes, equal: 64, repaired: 0, comparedEntries: 0 } : this.difference || 'different';
      this.#verdicts.set(nameOf(record), { key: keyOf(operator), verdict });
    }
  }

  /** What leaders and nodes do of their own accord. */
  work(): void {
    this.#guarded('a leader', () => this.cluster.leadersStep());
    this.cluster.nodesStep();
  }

  handOver(): void {
    const leaders = LeaderCounts.count(this.cluster.state().partitions.values());
    for (const transfer of planHandOvers(this.cluster.state(), { active: 'drain-only', requested: this.cluster.requested, leaders })) this.#guarded('a transfer', () => this.cluster.handOver(transfer));
  }

  /** Goes on until nothing is left to do, time passing when nothing moves. Throws when it does not come to rest. */
  settle(): void {
    let quiet = 0;
    for (let round = 0; round < 600; round += 1) {
      const before = JSON.stringify([[...this.cluster.records.values()], [...this.operators.values()]]);
      const actions = this.decide();
      this.work();
      this.verify();
      this.handOver();
      this.step();
      this.work();
      const isSame = before === JSON.stringify([[...this.cluster.records.values()], [...this.operators.values()]]);
      if (isSame && actions === 0 && this.operators.size === 0) return;
      quiet = isSame ? quiet + 1 : 0;
      this.pass(quiet > 3 ? 60_000 : 10);
    }
    throw new Error(`no rest: ${JSON.stringify([...this.operators.values()])} ${JSON.stringify(this.cluster.decide().slice(0, 2))}`);
  }

  #begin(reason: MigrationReason, planned: readonly PlannedOperator[]): string {
    const id = `job-${(this.#jobCount += 1)}`;
    this.jobs.set(id, jobOf({ id, reason, total: planned.length, createdMs: this.#nowMs }));
    for (const { record, before, after } of planned) {
      if (this.operators.has(nameOf(record))) throw new Error(`two operators on ${nameOf(record)}`);
      const { keyspace, keyspaceId, partition } = record;
      this.operators.set(nameOf(record), operatorOf({ job: id, keyspace, keyspaceId, partition, reason, before, after, stepSinceMs: this.#nowMs }));
    }
    return id;
  }

  #facts(operator: MigrationOperator, mayBegin: boolean) {
    const record = this.#recordOf(operator);
    const known = this.#verdicts.get(nameOfOperator(operator));
    const refused = targetsOf(operator).find((node) => this.cluster.specs.get(node)?.state !== 'UP' || this.cluster.writtenOff.has(node));
    const verdict = known?.key === keyOf(operator) ? known.verdict : undefined;
    return { record, mayBegin, verdict, obstacle: refused && `${refused} gets nothing`, pauseMs: undefined, isHandingOver: false, stuckMs: this.#stuckMs(operator, record) };
  }

  #stuckMs(operator: MigrationOperator, record: PartitionRecord | undefined): number {
    const state = this.jobs.get(operator.job)!.state;
    const mark = state === 'PAUSED' ? `at rest ${this.#nowMs}` : `${keyOf(operator)} ${record?.changeId}`;
    const known = this.#progress.get(nameOfOperator(operator));
    if (known?.mark === mark) return this.#nowMs - known.sinceMs;
    this.#progress.set(nameOfOperator(operator), { mark, sinceMs: this.#nowMs });
    return 0;
  }

  #write(to: MigrationOperator): void {
    const name = nameOfOperator(to);
    if (!hasEnded(to)) return void this.operators.set(name, to);
    this.operators.delete(name);
    this.jobs.set(to.job, noteEnd(this.jobs.get(to.job)!, to));
    this.ended.push({ operator: to, record: this.#recordOf(to)! });
  }

  /** As the coordinator's shell does: the office goes to a replica that stays. */
  #moveOffice(operator: MigrationOperator): void {
    const record = this.#recordOf(operator);
    const isBack = operator.step === 'ROLL_BACK';
    if (record?.leader === undefined || !(isBack || operator.step === 'TRANSFER' || operator.step === 'REMOVE')) return;
    if (!(isBack ? targetsOf(operator) : sourcesOf(operator)).includes(record.leader.node)) return;
    const staying = isBack ? operator.before : [...targetsOf(operator), ...operator.after];
    const next = staying.find((node) => node !== record.leader!.node && record.inSync.some((member) => member.node === node));
    if (next !== undefined) this.cluster.requested.set(nameOf(record), next);
  }

  #execute(action: Action): void {
    if (action.kind === 'writeRecord' && action.decision === 'MARK_LEAVING') this.#checkLeaving(action.record);
    if (action.kind === 'writeRecord') this.#guarded(action.decision, () => this.cluster.execute(action));
    else this.cluster.execute(action);
  }

  /** A source goes after its targets are in sync and were found equal, or after it was lost; a target goes back only. */
  #checkLeaving(record: PartitionRecord): void {
    const operator = this.operators.get(nameOf(record));
    const going = record.leaving.map(({ node }) => node);
    if (operator === undefined) throw new Error(`${nameOf(record)}: ${going.join()} goes without a migration`);
    const sources = going.filter((node) => sourcesOf(operator).includes(node));
    if (sources.length === 0) return;
    const isServed = targetsOf(operator).every((node) => record.inSync.some((member) => member.node === node && !hasReplica(record.leaving, member.replica)));
    const isVerified = targetsOf(operator).length === 0 || operator.proof !== undefined;
    if (operator.step !== 'REMOVE' || !isServed || !isVerified) throw new Error(`${nameOf(record)}: source ${sources.join()} goes in ${operator.step}: ${JSON.stringify({ isServed, isVerified })}`);
  }

  /** Nothing but a failure leaves a partition with fewer complete replicas that run, and stay, than it should have. */
  #guarded(what: string, act: () => unknown): void {
    const former = new Map([...this.cluster.records].map(([name, { record }]) => [name, { record, count: this.#running(record) }]));
    act();
    for (const [name, { record }] of this.cluster.records) {
      const before = former.get(name);
      if (before === undefined || before.record.generation.id !== record.generation.id) continue;
      const count = this.#running(record);
      if (count < Math.min(this.#wantedOf(name), before.count)) throw new Error(`${name}: ${what} left ${count} of ${before.count} complete replicas: ${JSON.stringify([before.record.inSync, record, this.operators.get(name)])}`);
    }
  }

  /** A move that began with fewer replicas ends with as many: what is missing is placed afterwards. */
  #wantedOf(name: string): number {
    return Math.min(REPLICATION_FACTOR, this.operators.get(name)?.after.length ?? REPLICATION_FACTOR);
  }

  #running(record: PartitionRecord): number {
    return record.inSync.filter((member) => !hasReplica(record.leaving, member.replica) && this.cluster.nodes.get(member.node)?.phase === 'SERVING' && this.cluster.verdicts.get(member.node)?.state === 'UP' && this.cluster.held(member.node, record)?.replica === member.replica).length;
  }

  #recordOf({ keyspace, partition }: MigrationOperator): PartitionRecord | undefined {
    return this.cluster.records.get(partitionName(keyspace, partition))?.record;
  }
}

const nameOfOperator = ({ keyspace, partition }: MigrationOperator): string => partitionName(keyspace, partition);
const keyOf = ({ job, step, stepSinceMs }: MigrationOperator): string => `${job} ${step} ${stepSinceMs}`;

/** Nodes that hold a partition in any way. */
export const nodesOf = (record: PartitionRecord): string[] => membersOf(record).map(({ node }) => node).sort();
export { nodeId };
