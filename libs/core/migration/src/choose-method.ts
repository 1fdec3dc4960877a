// How a migration copies. MOVE: each partition by one stream from its leader. SHARDED: each split into sub-ranges that are
// streamed side by side, from the leader and from other replicas in sync, and more partitions at a time. It is these other
// replicas that make it faster: they share the leader's work, and each has a bound of its own on what it sends. Several
// streams out of one process wait for the same processor. So AUTO says
//
//   nothing known, or nothing to copy         MOVE
//   no partition of 32 MiB or more            MOVE      a stream is hardly begun when it is over
//   a node that is busy for 70 % or more      MOVE      more streams would take from its clients
//   a job of at most 32 MiB a second          MOVE      one stream comes up to that; the bound is of all nodes together
//   no other replica in sync of the largest   MOVE      nobody shares the leader's work
//   otherwise                                 SHARDED   a sub-range for each 32 MiB of the largest partition, 2 to 8, but no
//                                                       more than two for each node that sends it, and fewer where a node
//                                                       is filled with several partitions at a time anyway
import { GIB, KIB, MIB, type NodeId } from '@atoll/core-runtime';
import type { PartitionRecord } from '@atoll/core-membership';
import { targetsOf } from './operator.ts';
import type { PlannedOperator } from './plan-move.ts';

export type MigrationMethod = 'MOVE' | 'SHARDED';

/** Sub-ranges of a partition that may be asked for, and what is meant without a number. */
export const SHARDS_MIN = 2;
export const SHARDS_MAX = 16;
export const SHARDS_DEFAULT = 4;
/** Streams by which one node is filled at a time for a job that is sharded; nodes take no more themselves (I10). */
const STREAMS_PER_TARGET = 32;

/** Below it a partition is not split by AUTO, and each so many bytes are worth a sub-range. */
const SHARD_BYTES = 32 * MIB;
/** What one stream brings by itself, in bytes per second. */
const STREAM_BYTES_PER_SECOND = 32 * MIB;
const LOAD_MAX = 0.7;
const AUTO_SHARDS_MAX = 8;
/** Streams of one partition that a node sends at a time: one is read while the other travels. */
const STREAMS_PER_SENDER = 2;
/** Streams to one target that AUTO wants at a time, of all partitions that come to it. */
const AUTO_STREAMS = 16;

/** How a job copies; as in the job's record. */
export interface MethodPlan {
  readonly method: MigrationMethod;
  /** Sub-ranges of each partition; 1 with MOVE. */
  readonly shards: number;
  /** Partitions that a node may be filled with at a time for this job, where that is more than it is by itself; 0: as it is. */
  readonly partitionsAtOnce: number;
  /** Why it was chosen, a sentence for people; empty when it was asked for. */
  readonly methodReason: string;
}

/** What the nodes said of themselves. */
export interface MethodFacts {
  readonly planned: readonly PlannedOperator[];
  /** What a partition takes; undefined where nobody said. */
  readonly sizeOf: (record: PartitionRecord) => { readonly bytes: number; readonly entries: number } | undefined;
  /** Bound of the job, over all nodes, in bytes per second; 0: none. */
  readonly bytesPerSecond: number;
  /** Bound of the node on what it sends, in bytes per second, 0: none; undefined where it did not say. */
  readonly sendBytesPerSecondOf: (node: NodeId) => number | undefined;
  /** Share of time for which it is busy, 0 to 1; undefined where it did not say. */
  readonly loadOf: (node: NodeId) => number | undefined;
  /** Replicas that one node fills at a time by itself, 1 or more. */
  readonly fillsPerNode: number;
}

export const MOVE_PLAN: MethodPlan = { method: 'MOVE', shards: 1, partitionsAtOnce: 0, methodReason: '' };

/** SHARDED as it was asked for; `shards` 0: SHARDS_DEFAULT. */
export function shardedPlan(shards: number): MethodPlan {
  const count = shards === 0 ? SHARDS_DEFAULT : shards;
  return { method: 'SHARDED', shards: count, partitionsAtOnce: Math.floor(STREAMS_PER_TARGET / count), methodReason: '' };
}

interface Copy {
  readonly record: PartitionRecord;
  readonly targets: readonly NodeId[];
  readonly bytes: number;
  readonly entries: number;
}

/** AUTO. */
export function chooseMethod(facts: MethodFacts): MethodPlan {
  const copies = facts.planned.map(({ record, before, after }): Copy => ({ record, targets: targetsOf({ before, after }), ...(facts.sizeOf(record) ?? NOTHING) })).filter(({ targets }) => targets.length > 0);
  const largest = copies.reduce<Copy | undefined>((most, copy) => (copy.bytes > (most?.bytes ?? 0) ? copy : most), undefined);
  if (largest === undefined) return { ...MOVE_PLAN, methodReason: 'MOVE: nothing is to be copied, as far as the nodes have said' };
  const what = `the largest of ${copies.length} partitions takes ${sizeText(largest.bytes)}, ${largest.entries} entries`;
  const obstacle = obstacleToShards(copies, largest, facts);
  if (obstacle !== undefined) return { ...MOVE_PLAN, methodReason: `MOVE: ${what}, ${obstacle}` };
  const perTarget = Math.max(...[...Map.groupBy(copies.flatMap(({ targets }) => targets), (node) => node).values()].map(({ length }) => length));
  const senders = sendersOf(largest).length;
  const shards = Math.max(SHARDS_MIN, Math.min(AUTO_SHARDS_MAX, STREAMS_PER_SENDER * senders, Math.ceil(largest.bytes / SHARD_BYTES), Math.floor(AUTO_STREAMS / Math.min(perTarget, facts.fillsPerNode))));
  const partitionsAtOnce = Math.floor(STREAMS_PER_TARGET / shards);
  const bound = facts.sendBytesPerSecondOf(largest.record.leader!.node) ?? 0;
  const rate = `${senders} nodes send it, ${bound === 0 ? 'without a bound' : `at most ${sizeText(bound)}/s each`}`;
  const methodReason = `SHARDED: ${what}, ${rate}, ${busiestOf(copies, facts).text}: ${shards} sub-ranges of each side by side, ${partitionsAtOnce} partitions at a time for a node`;
  return { method: 'SHARDED', shards, partitionsAtOnce, methodReason };
}

/** Why several streams would bring nothing, or do harm. */
function obstacleToShards(copies: readonly Copy[], largest: Copy, facts: MethodFacts): string | undefined {
  if (largest.bytes < SHARD_BYTES || largest.entries < SHARDS_MIN) return 'and one stream brings that as soon as several would';
  const busiest = busiestOf(copies, facts);
  if (busiest.load >= LOAD_MAX) return `but ${busiest.text}: more streams would take from its clients`;
  const leaders = new Set(copies.flatMap(({ record }) => record.leader?.node ?? []));
  const { bytesPerSecond } = facts;
  if (bytesPerSecond > 0 && bytesPerSecond <= STREAM_BYTES_PER_SECOND * leaders.size) return `but the job may copy at most ${sizeText(bytesPerSecond)}/s, which one stream from each leader comes up to`;
  if (sendersOf(largest).length < 2) return 'but no other replica in sync could share the sending with its leader';
  return undefined;
}

/** Nodes that would send it in sub-ranges: its leader's, and those of other replicas in sync. None while nobody leads. */
function sendersOf({ record, targets }: Copy): NodeId[] {
  return record.leader === undefined ? [] : [...new Set([record.leader.node, ...record.inSync.map(({ node }) => node).filter((node) => !targets.includes(node))])];
}

function busiestOf(copies: readonly Copy[], { loadOf }: MethodFacts): { readonly load: number; readonly text: string } {
  let busiest: { readonly node: NodeId; readonly load: number } | undefined;
  for (const node of new Set(copies.flatMap((copy) => [...sendersOf(copy), ...copy.targets]))) {
    const load = loadOf(node) ?? 0;
    if (load > (busiest?.load ?? 0)) busiest = { node, load };
  }
  return { load: busiest?.load ?? 0, text: busiest === undefined ? 'no node is busy' : `${busiest.node} is busiest, for ${Math.round(busiest.load * 100)} % of its time` };
}

const NOTHING = { bytes: 0, entries: 0 };

/** `200 MiB`, with a decimal below 100. */
function sizeText(bytes: number): string {
  const [value, unit] = bytes >= GIB ? [bytes / GIB, 'GiB'] : bytes >= MIB ? [bytes / MIB, 'MiB'] : [bytes / KIB, 'KiB'];
  return `${value >= 100 ? Math.round(value) : Math.round(value * 10) / 10} ${unit}`;
}
