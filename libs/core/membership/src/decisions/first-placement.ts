import { randomHex, toEpoch, toPartitionId, type NodeId, type PartitionId, type Random } from '@atoll/core-runtime';
import type { KeyspaceSpec } from '../keyspace-spec.ts';
import type { Member, PartitionRecord } from '../partition-record.ts';
import type { Action } from './action.ts';
import { partitionName, type ClusterState, type HeldReplica } from './cluster-state.ts';

/**
 * First replicas and first record of partitions that have none: every replica is empty, so all of them are in
 * sync from the start. First the nodes make the replicas, then, in a later round, the record names them.
 * Nothing is placed while a node still holds data under the partition's name: it is about to drop it.
 */
export function decideFirstPlacement(options: {
  readonly state: ClusterState;
  readonly keyspace: KeyspaceSpec;
  readonly missing: readonly PartitionId[];
  /** By partition, the leader to be first. */
  readonly targets: readonly (readonly NodeId[])[];
  readonly random: Random;
}): readonly Action[] {
  const { state, keyspace, missing, targets, random } = options;
  const wanted = new Map<NodeId, PartitionId[]>();
  const writes: Action[] = [];
  for (const partition of missing) {
    const nodes = targets[partition] ?? [];
    const name = partitionName(keyspace.name, partition);
    const heldOn = (node: NodeId): HeldReplica | undefined => state.inventories.get(node)?.replicas.get(name);
    for (const node of nodes) {
      if (heldOn(node)?.empty === true) continue;
      const list = wanted.get(node);
      if (list === undefined) wanted.set(node, [partition]);
      else list.push(partition);
    }
    const members = nodes.flatMap((node): Member[] => {
      const held = heldOn(node);
      return held?.empty === true ? [{ node, replica: held.replica }] : [];
    });
    const [leader] = members;
    const process = leader && state.nodes.get(leader.node);
    if (leader === undefined || process === undefined || members.length < nodes.length) continue;
    const record: PartitionRecord = {
      keyspace: keyspace.name,
      keyspaceId: keyspace.id,
      partition: toPartitionId(partition),
      state: 'ACTIVE',
      generation: { counter: keyspace.copyOf?.firstGeneration ?? 1, id: randomHex(random, 8) },
      epoch: toEpoch(1),
      leader,
      leaderIncarnation: process.incarnation,
      relinquished: false,
      inSync: members,
      eligible: [],
      learners: [],
      leaving: [],
      changeId: randomHex(random, 8),
    };
    writes.push({ kind: 'writeRecord', decision: 'PLACE', record, modRevision: 0 });
  }
  const ensures = [...wanted].map(([node, partitions]): Action => ({
    kind: 'ensure',
    node,
    keyspace: keyspace.name,
    keyspaceId: keyspace.id,
    partitions,
  }));
  return [...ensures, ...writes];
}

/**
 * Nodes that start together should share the first keyspace, so the first placement waits until no node has
 * joined for `settleMs`, and no longer than `settleMsMax` after the first one.
 */
export function isSettled(options: {
  readonly nowMs: number;
  readonly firstJoinMs: number;
  readonly lastJoinMs: number;
  readonly settleMs: number;
  readonly settleMsMax: number;
}): boolean {
  const { nowMs, firstJoinMs, lastJoinMs, settleMs, settleMsMax } = options;
  return nowMs - lastJoinMs >= settleMs || nowMs - firstJoinMs >= settleMsMax;
}
