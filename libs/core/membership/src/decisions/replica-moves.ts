// Brings the replicas of a partition to its target, one safe step per write:
//
//   not there -> learner          coordinator, once the node has made the replica
//   learner   -> in sync          leader alone (R6, R8)
//   in sync   -> + leaving        coordinator, when every target node has a replica that is in sync
//   leaving   -> out of in sync   leader alone (R6)
//   leaving   -> gone             coordinator; then the node drops the data
//
// The leader itself is never marked. What a leader does meanwhile makes the write fail and decides anew.
import { randomHex, type NodeId, type Random } from '@atoll/core-runtime';
import { assertRecord, hasReplica, type Member, type PartitionRecord, type VersionedRecord } from '../partition-record.ts';
import type { Action, DecisionKind } from './action.ts';
import { nameOf, type ClusterState } from './cluster-state.ts';
import { inventoryOf, isUsable, statusOf } from './member-status.ts';

/** Replicas made ahead of being named, in multiples of the learners that a node may have: they save a round trip each. */
const PREPARED_FACTOR = 4;

/** Learners per node, counted while a round of decisions adds some. */
export class FillCounts {
  readonly #counts = new Map<NodeId, number>();
  readonly #prepared = new Map<NodeId, number>();
  readonly #max: number;

  constructor(learnersPerNodeMax: number) {
    this.#max = learnersPerNodeMax;
  }

  add(node: NodeId): void {
    this.#counts.set(node, (this.#counts.get(node) ?? 0) + 1);
  }

  hasRoom(node: NodeId): boolean {
    return (this.#counts.get(node) ?? 0) < this.#max;
  }

  /** Whether one more partition without room may have its replica made; counts it. */
  prepare(node: NodeId): boolean {
    const count = (this.#prepared.get(node) ?? 0) + 1;
    this.#prepared.set(node, count);
    return count <= PREPARED_FACTOR * this.#max;
  }
}

export interface MoveOptions {
  readonly state: ClusterState;
  readonly target: readonly NodeId[];
  readonly fills: FillCounts;
  readonly random: Random;
}

/** For a record whose leader is in office. */
export function decideMoves({ record, modRevision }: VersionedRecord, options: MoveOptions): readonly Action[] {
  const { state, target, fills, random } = options;
  if (record.leader === undefined || statusOf(state, record, record.leader) !== 'PRESENT' || target.length === 0) return [];
  const cleaned = dropLeaving(dropLearners(record, options), target);
  const actions: Action[] = [];
  const added: Member[] = [];
  for (const node of missingNodes(cleaned, options)) {
    const hasRoom = fills.hasRoom(node);
    if (hasRoom) fills.add(node);
    else if (!fills.prepare(node)) continue;
    const replica = inventoryOf(state, state.nodes.get(node)!)?.replicas.get(nameOf(record))?.replica;
    const { keyspace, keyspaceId, partition } = record;
    if (replica === undefined) actions.push({ kind: 'ensure', node, keyspace, keyspaceId, partitions: [partition] });
    else if (hasRoom) added.push({ node, replica });
  }
  const surplus = added.length === 0 ? surplusOf(cleaned, options) : [];
  const next: PartitionRecord = {
    ...cleaned,
    learners: [...cleaned.learners, ...added],
    leaving: [...cleaned.leaving, ...surplus],
  };
  const decision = nameDecision(record, next);
  if (decision === undefined) return actions;
  const written = { ...next, changeId: randomHex(random, 8) };
  assertRecord(written);
  return [...actions, { kind: 'writeRecord', decision, record: written, modRevision }];
}

/** Learners that are lost, or that stand where none is wanted any more. */
function dropLearners(record: PartitionRecord, { state, target }: MoveOptions): PartitionRecord {
  const learners = record.learners.filter(
    (member) => target.includes(member.node) && statusOf(state, record, member) !== 'LOST',
  );
  return { ...record, learners };
}

/** Replicas that the leader has let go, or that are wanted again. */
function dropLeaving(record: PartitionRecord, target: readonly NodeId[]): PartitionRecord {
  const leaving = record.leaving.filter(
    (member) =>
      (hasReplica(record.inSync, member.replica) || hasReplica(record.eligible, member.replica)) &&
      !target.includes(member.node) &&
      member.replica !== record.leader?.replica,
  );
  return { ...record, leaving };
}

/** Target nodes that hold, or may hold, nothing of this partition and can be given a replica. */
function missingNodes(record: PartitionRecord, { state, target }: MoveOptions): NodeId[] {
  const members = [...record.inSync, ...record.learners, ...record.eligible];
  return target.filter(
    (node) =>
      isUsable(state, node) && !members.some((member) => member.node === node && statusOf(state, record, member) !== 'LOST'),
  );
}

/** In-sync replicas that the target does without, once every node of the target has one that is really there. */
function surplusOf(record: PartitionRecord, { state, target }: MoveOptions): Member[] {
  const isServed = (node: NodeId): boolean =>
    record.inSync.some((member) => member.node === node && statusOf(state, record, member) === 'PRESENT');
  if (!target.every(isServed)) return [];
  return record.inSync.filter(
    (member) => !target.includes(member.node) && member.replica !== record.leader?.replica && !hasReplica(record.leaving, member.replica),
  );
}

function nameDecision(before: PartitionRecord, after: PartitionRecord): DecisionKind | undefined {
  const isLonger = (field: 'learners' | 'leaving') => after[field].some((member) => !hasReplica(before[field], member.replica));
  const isShorter = (field: 'learners' | 'leaving') => before[field].some((member) => !hasReplica(after[field], member.replica));
  if (isLonger('learners')) return 'ADD_LEARNER';
  if (isLonger('leaving')) return 'MARK_LEAVING';
  if (isShorter('leaving')) return 'DROP_LEAVING';
  return isShorter('learners') ? 'DROP_LEARNER' : undefined;
}
