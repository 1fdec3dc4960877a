// How a migration copies. MOVE: each partition by one stream from its leader. SHARDED: each split into sub-ranges that are
// streamed side by side, from the leader and from other replicas in sync, and more partitions at a time. What more streams
// can bring is what one leaves unused of the bound on bytes and of the processors, so AUTO looks at these.
//
//   nothing known, or nothing to copy        MOVE
//   no partition of 32 MiB or more           MOVE      a stream is hardly begun when it is over
//   a node that is busy for 70 % or more     MOVE      more streams would take from its clients
//   at most 32 MiB a second from a sender    MOVE      one stream alone comes up to that
//   otherwise                                SHARDED   a sub-range for each 32 MiB of the largest partition, 2 to 8, fewer
//                                                      where a node is filled with several partitions at a time anyway
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

/** AUTO. */
export function chooseMethod(facts: MethodFacts): MethodPlan {
  const { planned, fillsPerNode } = facts;
  const sized = planned.map(({ record, before, after }) => ({ record, targets: targetsOf({ before, after }), size: facts.sizeOf(record) })).filter(({ targets }) => targets.length > 0);
  const largest = sized.reduce((most, { size }) => ((size?.bytes ?? 0) > most.bytes ? size! : most), { bytes: 0, entries: 0 });
  const move = (why: string): MethodPlan => ({ ...MOVE_PLAN, methodReason: `MOVE: ${why}` });
  if (largest.bytes === 0) return move('nothing is to be copied, as far as the nodes have said');
  const what = `the largest of ${sized.length} partitions takes ${mib(largest.bytes)}, ${largest.entries} entries`;
  if (largest.bytes < SHARD_BYTES || largest.entries < SHARDS_MIN) return move(`${what}, and one stream brings that as soon as several would`);
  const senders = [...new Set(sized.flatMap(({ record }) => record.leader?.node ?? []))];
  const nodes = [...new Set([...senders, ...sized.flatMap(({ targets }) => targets)])];
  const busiest = nodes.reduce<{ node: NodeId | undefined; load: number }>((most, node) => ((facts.loadOf(node) ?? 0) > most.load ? { node, load: facts.loadOf(node)! } : most), { node: undefined, load: 0 });
  const load = busiest.node === undefined ? 'no node is busy' : `${busiest.node} is busiest, for ${Math.round(busiest.load * 100)} % of its time`;
  if (busiest.load >= LOAD_MAX) return move(`${what}, but ${load}: more streams would take from its clients`);
  const bounds = senders.map((node) => lower(facts.bytesPerSecond / senders.length, facts.sendBytesPerSecondOf(node) ?? 0));
  const bound = bounds.includes(0) ? 0 : Math.max(0, ...bounds);
  if (bound > 0 && bound <= STREAM_BYTES_PER_SECOND) return move(`${what}, but a node sends at most ${mib(bound)}/s, which one stream comes up to`);
  const perTarget = Math.max(...[...Map.groupBy(sized.flatMap(({ targets }) => targets), (node) => node).values()].map(({ length }) => length));
  const shards = Math.max(SHARDS_MIN, Math.min(AUTO_SHARDS_MAX, Math.ceil(largest.bytes / SHARD_BYTES), Math.floor(AUTO_STREAMS / Math.min(perTarget, fillsPerNode))));
  const partitionsAtOnce = Math.floor(STREAMS_PER_TARGET / shards);
  const rate = bound === 0 ? 'no bound on what a node sends' : `up to ${mib(bound)}/s from a node`;
  const methodReason = `SHARDED: ${what}, ${rate}, ${load}: ${shards} sub-ranges of each side by side, ${partitionsAtOnce} partitions at a time for a node`;
  return { method: 'SHARDED', shards, partitionsAtOnce, methodReason };
}

/** Of two bounds, of which 0 is none. */
const lower = (a: number, b: number): number => (a === 0 || b === 0 ? Math.max(a, b) : Math.min(a, b));

/** `200 MiB`, with a decimal below 100. */
function mib(bytes: number): string {
  const [value, unit] = bytes >= GIB ? [bytes / GIB, 'GiB'] : bytes >= MIB ? [bytes / MIB, 'MiB'] : [bytes / KIB, 'KiB'];
  return `${value >= 100 ? Math.round(value) : Math.round(value * 10) / 10} ${unit}`;
}
