// What is next for every operator, asked after each round of decisions: `advance` with what is known of the cluster and
// what the shell found out. It remembers since when each operator has been where it is, and nothing else.
import { isUsable, nameOf, partitionName, type ClusterState, type MigratingPlacement, type PartitionRecord } from '@atoll/core-membership';
import type { NodeId } from '@atoll/core-runtime';
import { advance, type OperatorFacts } from './advance.ts';
import type { NodeMemory } from './capacity.ts';
import { admit, type MigrationLimits } from './limits.ts';
import type { MigrationJob, MigrationReason } from './migration-job.ts';
import type { OperatorChange } from './migration-table.ts';
import { destinationOf, isFilling, placementOf, sourcesOf, targetsOf, type MigrationOperator } from './operator.ts';

/** A target's memory may be filled so far before its operators go back. */
export const MEMORY_SHARE_MAX = 0.98;

/** What the shell knows beside the records. */
export interface RoundPorts {
  /** Of the step VERIFY: as `OperatorFacts.verdict`. */
  verdictOf(operator: MigrationOperator): OperatorFacts['verdict'];
  /** Others are compared before it. */
  isInQueue(operator: MigrationOperator): boolean;
  /** Bytes that reached its targets so far, and where each entry is compared, what of them was; another number whenever it gets on. */
  copiedBytes(operator: MigrationOperator): number;
  /** As the node said last; undefined before. */
  memoryOf(node: NodeId): NodeMemory | undefined;
  /** Why the node refuses replicas of the keyspace. */
  refusalOf(keyspaceId: string, node: NodeId): string | undefined;
  /** For how long the last transfer in this epoch's predecessor made writes wait, in ms. */
  pauseMsOf(record: PartitionRecord): number | undefined;
}

interface Progress {
  readonly mark: string;
  readonly sinceMs: number;
}

export class MigrationRounds {
  readonly #ports: RoundPorts;
  readonly #limits: MigrationLimits;
  /** When each running operator was seen to get on last. */
  readonly #progress = new Map<string, Progress>();

  constructor(options: { readonly ports: RoundPorts; readonly limits: MigrationLimits }) {
    this.#ports = options.ports;
    this.#limits = options.limits;
  }

  /** Operators that come to another step. `nowMs`: monotonic. */
  changes(operators: readonly MigrationOperator[], jobs: ReadonlyMap<string, MigrationJob>, state: ClusterState, { nowMs, wallMs }: { readonly nowMs: number; readonly wallMs: number }): readonly OperatorChange[] {
    this.#forgetProgress(operators);
    if (operators.length === 0) return [];
    const recordOf = recordsOf(state);
    const otherFills = countOtherFills(state, operators);
    const admitted = admit(operators, jobs, this.#limits, (node) => isUsable(state, node), (node) => otherFills.get(node) ?? 0);
    const changes: OperatorChange[] = [];
    for (const from of operators) {
      const job = jobs.get(from.job);
      if (job === undefined) continue;
      const record = recordOf(from);
      const facts: OperatorFacts = {
        record,
        mayBegin: admitted.has(from),
        verdict: this.#ports.verdictOf(from),
        obstacle: this.#obstacleTo(from, state),
        pauseMs: record && this.#ports.pauseMsOf(record),
        isHandingOver: record !== undefined && state.failover.handingOver.has(nameOf(record)),
        stuckMs: this.#stuckMs(from, job, record, nowMs),
      };
      const to = advance(from, job, facts, wallMs);
      if (to !== undefined) changes.push({ from, to });
    }
    return changes;
  }

  #obstacleTo(operator: MigrationOperator, state: ClusterState): string | undefined {
    if (operator.step === 'WAITING' && !REPAIRS.has(operator.reason) && this.#hasLostOthers(operator, state)) {
      return 'it has lost a replica, which is made good first';
    }
    for (const node of targetsOf(operator)) {
      const spec = state.specs.get(node);
      if (spec?.state !== 'UP') return `${node} is ${spec?.state ?? 'unknown'}: it gets nothing`;
      if (state.writtenOff.has(node)) return `${node} is gone: it gets nothing`;
      const refusal = isFilling(operator) ? this.#ports.refusalOf(operator.keyspaceId, node) : undefined;
      if (refusal !== undefined) return `${node} refuses it: ${refusal}`;
      // What nobody asked for goes on in a full cluster: entries make room, as the keyspace says.
      if (operator.reason !== 'REQUESTED' && state.keyspaces.get(operator.keyspace)?.eviction === 'LRU') continue;
      const memory = this.#ports.memoryOf(node);
      if (memory !== undefined && memory.limitBytes > 0 && memory.usedBytes > MEMORY_SHARE_MAX * memory.limitBytes && operator.step !== 'VERIFY' && operator.step !== 'TRANSFER') {
        return `${node} is short of memory: ${memory.usedBytes} of ${memory.limitBytes} bytes are used`;
      }
    }
    return undefined;
  }

  /** A replica is overdue; the one that a replacement takes the place of anyway counts for nothing. */
  #hasLostOthers(operator: MigrationOperator, state: ClusterState): boolean {
    const overdue = [...(state.failover.overdue.get(partitionName(operator.keyspace, operator.partition)) ?? [])];
    const going: readonly string[] = operator.reason === 'REPLACE' ? sourcesOf(operator) : [];
    return overdue.some((node) => !going.includes(node));
  }

  #stuckMs(operator: MigrationOperator, job: MigrationJob, record: PartitionRecord | undefined, nowMs: number): number {
    const name = partitionName(operator.keyspace, operator.partition);
    const isWaitedFor = (job.state === 'RUNNING' || job.state === 'CANCELLING') && !this.#ports.isInQueue(operator);
    const mark = isWaitedFor ? `${operator.job} ${operator.step} ${record?.changeId} ${this.#ports.copiedBytes(operator)}` : `at rest ${nowMs}`;
    const known = this.#progress.get(name);
    if (known?.mark === mark) return nowMs - known.sinceMs;
    this.#progress.set(name, { mark, sinceMs: nowMs });
    return 0;
  }

  #forgetProgress(operators: readonly MigrationOperator[]): void {
    const names = new Set(operators.map(({ keyspace, partition }) => partitionName(keyspace, partition)));
    for (const name of this.#progress.keys()) if (!names.has(name)) this.#progress.delete(name);
  }
}

/** What restores redundancy comes before everything else. */
const REPAIRS: ReadonlySet<MigrationReason> = new Set<MigrationReason>(['MISSING', 'LOST']);

/** By `partitionName`: the nodes that should hold partitions now and in the end, for `decide`. */
export function placementsOf(operators: readonly MigrationOperator[], state: ClusterState): ReadonlyMap<string, MigratingPlacement> {
  const recordOf = recordsOf(state);
  return new Map(operators.map((operator) => [partitionName(operator.keyspace, operator.partition), { now: placementOf(operator, recordOf(operator)), end: destinationOf(operator) }]));
}

/** The node that the office is to go to at this step: a replica that stays, as long as one that goes has it (R29). */
export function officeWanted(operator: MigrationOperator, job: MigrationJob | undefined, record: PartitionRecord | undefined): NodeId | undefined {
  if (record?.leader === undefined) return undefined;
  const { leader } = record;
  const isBack = operator.step === 'ROLL_BACK';
  if (operator.step !== 'TRANSFER' && operator.step !== 'REMOVE' && !isBack) return undefined;
  if (operator.step === 'TRANSFER' && job?.state !== 'RUNNING') return undefined;
  const going = isBack ? targetsOf(operator) : sourcesOf(operator);
  if (!going.includes(leader.node)) return undefined;
  const staying = isBack ? operator.before : [...targetsOf(operator), ...operator.after];
  return staying.find((node) => node !== leader.node && record.inSync.some((member) => member.node === node));
}

/** The partition's record, unless its keyspace is gone. */
export function recordsOf(state: ClusterState): (operator: MigrationOperator) => PartitionRecord | undefined {
  // A keyspace is gone through when somebody asks for one of its partitions: in most rounds nobody does.
  const byKeyspace = new Map<string, ReadonlyMap<number, PartitionRecord>>();
  return ({ keyspace, partition }) => {
    let records = byKeyspace.get(keyspace);
    if (records === undefined) {
      const id = state.keyspaces.get(keyspace)?.id;
      const own = (state.partitions.get(keyspace) ?? []).filter(({ record }) => record.keyspaceId === id);
      records = new Map(own.map(({ record }) => [record.partition, record]));
      byKeyspace.set(keyspace, records);
    }
    return records.get(partition);
  };
}

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
