import { GIB, MIB, toNodeId, toPartitionId } from '@atoll/core-runtime';
import { SHARDS_DEFAULT, chooseMethod, shardedPlan, type MethodFacts } from './choose-method.ts';
import { nodes, record } from './testing/samples.ts';

interface World {
  /** Bytes of each partition, which all go from a, which leads, to d. */
  readonly sizes: readonly number[];
  readonly entries?: number;
  readonly bytesPerSecond?: number;
  /** Bound of every node. */
  readonly send?: number;
  readonly load?: Readonly<Record<string, number>>;
  /** Others than d, one for each partition. */
  readonly to?: string;
  /** Nodes that have them in sync, the leader first. */
  readonly inSync?: string;
  readonly leader?: string;
}

function factsOf({ sizes, entries = 1000, bytesPerSecond = 0, send = 64 * MIB, load = {}, to = 'd', inSync = 'ab', leader = 'a' }: World): MethodFacts {
  return {
    planned: sizes.map((_, partition) => ({ record: { ...record({ inSync, leader }), partition: toPartitionId(partition) }, before: nodes('ab'), after: [toNodeId(to[partition % to.length]!), toNodeId('b')] })),
    sizeOf: ({ partition }) => (sizes[partition] === 0 ? undefined : { bytes: sizes[partition]!, entries }),
    bytesPerSecond,
    sendBytesPerSecondOf: () => send,
    loadOf: (node) => load[node],
    fillsPerNode: 8,
  };
}

const BIG = 200 * MIB;

describe('the method that AUTO chooses', () => {
  it.each<World & { title: string; expected: string; why: string }>([
    { title: 'no node said what there is', sizes: [0, 0], expected: 'MOVE 1 0', why: 'nothing is to be copied, as far as the nodes have said' },
    { title: 'no partition', sizes: [], expected: 'MOVE 1 0', why: 'nothing is to be copied, as far as the nodes have said' },
    { title: 'small partitions', sizes: Array.from({ length: 40 }, () => MIB), expected: 'MOVE 1 0', why: 'the largest of 40 partitions takes 1 MiB, 1000 entries, and one stream brings that as soon as several would' },
    { title: 'just below the size', sizes: [32 * MIB - 1], expected: 'MOVE 1 0', why: 'as soon as several would' },
    { title: 'just the size', sizes: [32 * MIB], expected: 'SHARDED 2 16', why: '2 sub-ranges of each side by side, 16 partitions at a time for a node' },
    { title: 'one entry, which cannot be split', sizes: [64 * MIB], entries: 1, expected: 'MOVE 1 0', why: 'one stream' },
    { title: 'one large partition', sizes: [BIG], expected: 'SHARDED 4 8', why: 'the largest of 1 partitions takes 200 MiB, 1000 entries, 2 nodes send it, at most 64 MiB/s each, no node is busy: 4 sub-ranges of each side by side, 8 partitions at a time for a node' },
    { title: 'a very large one', sizes: [10 * GIB], expected: 'SHARDED 4 8', why: 'takes 10 GiB' },
    { title: 'one large one among small ones', sizes: [MIB, BIG, MIB], expected: 'SHARDED 4 8', why: 'the largest of 3 partitions takes 200 MiB' },
    { title: 'many large ones to one node: what comes at a time is many streams already', sizes: Array.from({ length: 20 }, () => BIG), expected: 'SHARDED 2 16', why: '2 sub-ranges' },
    { title: 'as many to many nodes', sizes: Array.from({ length: 20 }, () => BIG), to: 'cdefghijkl', expected: 'SHARDED 4 8', why: '4 sub-ranges' },
    { title: 'the source is busy', sizes: [BIG], load: { a: 0.7, d: 0.2 }, expected: 'MOVE 1 0', why: 'but a is busiest, for 70 % of its time: more streams would take from its clients' },
    { title: 'the target is busy', sizes: [BIG], load: { a: 0.2, d: 0.9 }, expected: 'MOVE 1 0', why: 'd is busiest, for 90 % of its time' },
    { title: 'somebody else is busy', sizes: [BIG], load: { a: 0.1, c: 0.9 }, expected: 'SHARDED 4 8', why: 'a is busiest, for 10 % of its time' },
    { title: 'a job with a low bound', sizes: [BIG], bytesPerSecond: 32 * MIB, expected: 'MOVE 1 0', why: 'but the job may copy at most 32 MiB/s, which one stream from each leader comes up to' },
    { title: 'a job with a higher one', sizes: [BIG], bytesPerSecond: 33 * MIB, expected: 'SHARDED 4 8', why: '4 sub-ranges' },
    { title: 'nodes with a low bound: each that sends has one of its own', sizes: [BIG], send: MIB, expected: 'SHARDED 4 8', why: '2 nodes send it, at most 1 MiB/s each' },
    { title: 'no bound at all', sizes: [BIG], send: 0, expected: 'SHARDED 4 8', why: '2 nodes send it, without a bound' },
    { title: 'three replicas', sizes: [BIG], inSync: 'abc', expected: 'SHARDED 6 5', why: '3 nodes send it' },
    { title: 'very large, with many replicas', sizes: [10 * GIB], inSync: 'abcef', expected: 'SHARDED 8 4', why: '5 nodes send it' },
    { title: 'a few to one node', sizes: [BIG, BIG, BIG, BIG], inSync: 'abc', expected: 'SHARDED 4 8', why: '3 nodes send it' },
    { title: 'nobody beside the leader has it', sizes: [BIG], inSync: 'a', expected: 'MOVE 1 0', why: 'but no other replica in sync could share the sending with its leader' },
    { title: 'nobody but the leader and the target, whose data is replaced', sizes: [BIG], inSync: 'ad', expected: 'MOVE 1 0', why: 'no other replica' },
    { title: 'nobody leads', sizes: [BIG], leader: '', expected: 'MOVE 1 0', why: 'no other replica' },
    { title: 'who would share the sending is busy', sizes: [BIG], load: { b: 0.75 }, expected: 'MOVE 1 0', why: 'b is busiest, for 75 % of its time' },
  ])('$title: $expected', ({ expected, why, ...world }) => {
    const { method, shards, partitionsAtOnce, methodReason } = chooseMethod(factsOf(world));
    expect(`${method} ${shards} ${partitionsAtOnce}`).toBe(expected);
    expect(methodReason).toContain(why);
    expect(methodReason.startsWith(`${method}: `)).toBe(true);
  });
});

describe('SHARDED as it is asked for', () => {
  it.each([
    [0, SHARDS_DEFAULT, 8],
    [2, 2, 16],
    [16, 16, 2],
  ])('%i: %i sub-ranges, %i partitions at a time, and no streams beyond what a node takes', (asked, shards, partitionsAtOnce) => {
    expect(shardedPlan(asked)).toEqual({ method: 'SHARDED', shards, partitionsAtOnce, methodReason: '' });
  });
});
