// Who leads next. Out of the recorded in-sync set (I3), when the last leader is gone, DOWN or passed over, and always
// in a new epoch (R2): the lease that the promotee granted fences the old leader (R14, R27). Where no such replica is
// there, the partition waits, or somebody else is due behind a fence (fencing.ts).
import { randomHex, toEpoch, type NodeId } from '@atoll/core-runtime';
import { isSameMember, type Member, type PartitionRecord, type VersionedRecord } from '../partition-record.ts';
import type { Action } from './action.ts';
import { nameOf, type ClusterState } from './cluster-state.ts';
import { decideFencing, recoveryOf, type FencingOptions } from './fencing.ts';
import { isLeaderGone, isNodeDown, isReachable } from './member-status.ts';
import { chooseSuccessor, promote, toWrite } from './succession.ts';

export type LeadershipOptions = FencingOptions;

/** True when the record needs another leader. */
export function isSuccessorDue(state: ClusterState, record: PartitionRecord): boolean {
  return isLeaderGone(state, record) || isNodeDown(state, record.leader!.node) || isPassedOver(state, record) || recoveryOf(state, record) !== undefined;
}

/** For a record that needs another leader. Empty when there is nothing to do but wait. */
export function decideSuccessor(versioned: VersionedRecord, options: LeadershipOptions): readonly Action[] {
  const { record, modRevision } = versioned;
  const { state, random } = options;
  const isGone = isLeaderGone(state, record);
  const isInTurn = isPassedOver(state, record);
  const successor = chooseSuccessor(record, isGone ? record.inSync : othersInTurn(record), { ...options, isInTurn });
  if (successor !== undefined) return [toWrite('PROMOTE', promote(record, successor, options), modRevision)];
  if (!isGone && !isNodeDown(state, record.leader!.node) && recoveryOf(state, record) === undefined) return [];
  const fenced = decideFencing(versioned, options);
  if (fenced.length > 0) return fenced;
  // A leader that is merely DOWN may be serving, and nobody could lead in its place: it keeps its office.
  if (!isGone || record.state !== 'ACTIVE' || record.inSync.some((member) => isUnsettled(state, member.node))) return [];
  const waiting: PartitionRecord = {
    ...record,
    state: 'WAITING',
    leader: undefined,
    leaderIncarnation: '',
    relinquished: false,
    epoch: toEpoch(record.epoch + 1),
    changeId: randomHex(random, 8),
  };
  return [toWrite('WAIT', waiting, modRevision)];
}

/** The leader's successors in the order of the set: whoever does not take office either is followed by the next one (R27). */
function othersInTurn({ inSync, leader }: PartitionRecord): readonly Member[] {
  const at = inSync.findIndex((member) => isSameMember(member, leader));
  return [...inSync.slice(at + 1), ...inSync.slice(0, Math.max(0, at))];
}

function isPassedOver(state: ClusterState, record: PartitionRecord): boolean {
  return state.failover.passedOver.get(nameOf(record)) === record.epoch;
}

/** It serves, and soon it will be known what it holds. */
function isUnsettled(state: ClusterState, node: NodeId): boolean {
  return state.nodes.get(node)?.phase === 'SERVING' && !isNodeDown(state, node) && !isReachable(state, node);
}
