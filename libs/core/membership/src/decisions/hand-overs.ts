// Leaders that are to give their office to an in-sync member although they work (R29): what is to be transferred, in
// order of urgency. The shell asks the leader, and writes the promotion at the revision that the leader named.
import type { NodeId } from '@atoll/core-runtime';
import { hasReplica, isSameMember, type Member, type PartitionRecord, type VersionedRecord } from '../partition-record.ts';
import type { NodeSpec } from '../node-record.ts';
import { poolOf } from '../pool.ts';
import { nameOf, type ClusterState } from './cluster-state.ts';
import type { LeaderCounts } from './leader-counts.ts';
import { isSuccessorDue } from './leadership.ts';
import { isReachable, statusOf } from './member-status.ts';

/** In order of urgency. */
export const HAND_OVER_REASONS = ['STOPPING', 'REQUESTED', 'ETCD_LOST', 'DEGRADED', 'DRAINING', 'BALANCE'] as const;
export type HandOverReason = (typeof HAND_OVER_REASONS)[number];

/**
 * off:        leaders are transferred on request only.
 * drain-only: also from nodes that stop or are drained.
 * on:         also from nodes that serve badly or have lost etcd, and to spread leaders evenly.
 */
export type ActiveFailover = 'off' | 'drain-only' | 'on';

const REASONS_OF: Record<ActiveFailover, readonly HandOverReason[]> = {
  off: ['REQUESTED'],
  'drain-only': ['REQUESTED', 'STOPPING', 'DRAINING'],
  on: HAND_OVER_REASONS,
};

export interface HandOver {
  readonly record: PartitionRecord;
  readonly modRevision: number;
  readonly target: Member;
  readonly reason: HandOverReason;
}

export interface HandOverOptions {
  readonly active: ActiveFailover;
  /** By `partitionName`: the node that an operator wants to lead; empty: any other. */
  readonly requested: ReadonlyMap<string, string>;
  /** Counts transfers planned here. */
  readonly leaders: LeaderCounts;
  /** By `partitionName`: partitions that a migration has; their leaders are not moved for balance. Default: none. */
  readonly migrating?: ReadonlySet<string>;
}

export function planHandOvers(state: ClusterState, { active, requested, leaders, migrating }: HandOverOptions): readonly HandOver[] {
  const planned: HandOver[] = [];
  const movable: VersionedRecord[] = [];
  let isCalm = state.failover.handingOver.size === 0;
  for (const [keyspace, records] of state.partitions) {
    const spec = state.keyspaces.get(keyspace);
    for (const versioned of records) {
      const { record } = versioned;
      if (record.keyspaceId !== spec?.id || state.failover.handingOver.has(nameOf(record))) continue;
      if (isSuccessorDue(state, record) || !isInOffice(state, record)) {
        isCalm = false;
        continue;
      }
      const wish = requested.get(nameOf(record));
      const reason = wish === undefined ? reasonOf(state, record) : 'REQUESTED';
      if (reason === undefined || !REASONS_OF[active].includes(reason)) {
        if (migrating?.has(nameOf(record)) !== true) movable.push(versioned);
        continue;
      }
      isCalm = false;
      const target = chooseTarget(state, record, { leaders, wish, reason });
      if (target === undefined) continue;
      leaders.move(record.leader!.node, target.node);
      planned.push({ ...versioned, target, reason });
    }
  }
  if (isCalm && REASONS_OF[active].includes('BALANCE')) planned.push(...planBalance(state, movable, leaders));
  return planned.toSorted((a, b) => HAND_OVER_REASONS.indexOf(a.reason) - HAND_OVER_REASONS.indexOf(b.reason));
}

/** The process that the record names runs and can be asked. */
function isInOffice(state: ClusterState, { leader, leaderIncarnation }: PartitionRecord): boolean {
  const node = leader && state.nodes.get(leader.node);
  return node?.incarnation === leaderIncarnation;
}

function reasonOf(state: ClusterState, { leader }: PartitionRecord): HandOverReason | undefined {
  const id = leader!.node;
  const verdict = state.verdicts.get(id);
  if (state.nodes.get(id)?.phase === 'STOPPING') return 'STOPPING';
  if (verdict?.isEtcdLost === true) return 'ETCD_LOST';
  if (verdict !== undefined && verdict.degraded.length > 0) return 'DEGRADED';
  return state.specs.get(id)?.state === 'UP' ? undefined : 'DRAINING';
}

/** Works, is wanted, and has nothing against it. */
function isWell(state: ClusterState, id: NodeId): boolean {
  const verdict = state.verdicts.get(id);
  return isAble(state, id) && verdict?.degraded.length === 0 && !verdict.isEtcdLost;
}

/** Works and is wanted: good enough where the leader goes anyway. */
function isAble(state: ClusterState, id: NodeId): boolean {
  return isReachable(state, id) && state.specs.get(id)?.state === 'UP' && state.verdicts.get(id)?.state === 'UP';
}

function chooseTarget(
  state: ClusterState,
  record: PartitionRecord,
  { leaders, wish, reason }: { readonly leaders: LeaderCounts; readonly wish: string | undefined; readonly reason: HandOverReason },
): Member | undefined {
  const mustGo = reason === 'STOPPING' || reason === 'DRAINING' || reason === 'REQUESTED';
  const illness = ({ node }: Member): number => (isWell(state, node) ? 0 : 1);
  return targetsOf(state, record, mustGo ? isAble : isWell)
    .filter((member) => wish === undefined || wish === '' || member.node === wish)
    .toSorted((a, b) => illness(a) - illness(b) || leaders.of(a.node) - leaders.of(b.node))[0];
}

function targetsOf(state: ClusterState, record: PartitionRecord, isFit: (state: ClusterState, id: NodeId) => boolean): Member[] {
  return record.inSync.filter(
    (member) => !isSameMember(member, record.leader) && !hasReplica(record.leaving, member.replica) && isFit(state, member.node) && statusOf(state, record, member) === 'PRESENT',
  );
}

/**
 * Leaderships in proportion to the weights within each pool: from nodes above their share, rounded up, to nodes below theirs, rounded
 * down; so that it comes to rest.
 */
function planBalance(state: ClusterState, movable: readonly VersionedRecord[], leaders: LeaderCounts): HandOver[] {
  const nodes = [...state.specs.values()].filter((spec) => isWell(state, spec.id));
  const shareOf = new Map([...Map.groupBy(nodes, poolOf).values()].flatMap((pool) => sharesOf(pool, leaders)));
  const planned: HandOver[] = [];
  for (const versioned of movable) {
    const { record } = versioned;
    const from = record.leader!.node;
    const share = shareOf.get(from);
    if (share === undefined || leaders.of(from) <= Math.ceil(share)) continue;
    const needs = (member: Member): number => Math.floor(shareOf.get(member.node) ?? 0) - leaders.of(member.node);
    const [target] = targetsOf(state, record, isWell).filter((member) => needs(member) > 0).toSorted((a, b) => needs(b) - needs(a));
    if (target === undefined) continue;
    leaders.move(from, target.node);
    planned.push({ ...versioned, target, reason: 'BALANCE' });
  }
  return planned;
}

function sharesOf(nodes: readonly NodeSpec[], leaders: LeaderCounts): readonly (readonly [NodeId, number])[] {
  const weights = nodes.reduce((sum, { weight }) => sum + weight, 0);
  const total = nodes.reduce((sum, { id }) => sum + leaders.of(id), 0);
  return nodes.map(({ id, weight }) => [id, (total * weight) / weights]);
}
