import { createKeyspaceSpec, standbyFence, type NodeRecord, type NodeSpec, type PartitionRecord } from '@atoll/core-membership';
import { toEpoch, toNodeId, toPartitionId, toReplicaId } from '@atoll/core-runtime';
import { StandbyFence, isDrained } from './standby-fence.ts';

const FENCE_AFTER_MS = 1000;
const ID = standbyFence('1');
const PRIMARY = createKeyspaceSpec({ name: 'orders', id: 'o', partitionCount: 1, replicationFactor: 1, standby: 'orders-standby' });
const member = { node: toNodeId('a'), replica: toReplicaId('0000000000000001') };
const RECORD: PartitionRecord = { keyspace: 'orders', keyspaceId: 'o', partition: toPartitionId(0), state: 'ACTIVE', generation: { counter: 1, id: 'g' }, epoch: toEpoch(3), leader: member, leaderIncarnation: 'i1', relinquished: false, frozen: ID, inSync: [member], eligible: [], learners: [], leaving: [], changeId: 'c' };
const node = (incarnation: string): NodeRecord => ({ id: member.node, address: 'a:1', httpAddress: '', zone: 'z', weight: 1, incarnation, phase: 'SERVING' });
const spec = (incarnation: string, stopped: boolean): NodeSpec => ({ id: member.node, state: 'UP', zone: 'z', weight: 1, incarnation, address: 'a:1', stopped });

/** A primary of one partition, led by the process i1 of the node a, of which only this is known. */
function world() {
  const seen = { nowMs: 0, record: RECORD, node: undefined as NodeRecord | undefined, spec: spec('i1', false), seq: undefined as number | undefined, asked: 0 };
  const fence = new StandbyFence(ID, {
    view: { partitions: () => [{ record: seen.record, modRevision: 1 }], nodes: () => new Map(seen.node && [['a', seen.node]]), nodeSpecs: () => new Map([['a', seen.spec]]) },
    freezes: {
      ask: async () => {
        seen.asked += 1;
        return seen.seq === undefined ? [] : [{ partition: 0, barrier: { generation: 1, epoch: 3, seq: seen.seq }, timeMs: 5 }];
      },
    },
    nowMs: () => seen.nowMs,
    fenceAfterMs: FENCE_AFTER_MS,
    onNews: () => undefined,
  });
  return { seen, look: () => fence.look(PRIMARY) };
}

describe('that nobody leads a primary any more (R15)', () => {
  it('is certain fenceAfterMs after its record was seen to say so, and not by the silence of its node before', () => {
    const { seen, look } = world();
    seen.record = { ...RECORD, frozen: undefined };
    seen.nowMs = 5000;
    expect(look()).toMatchObject({ waiting: 1, leftMs: undefined });
    // From now on who reads it stops: the time before counts for nothing.
    seen.record = RECORD;
    expect(look()).toMatchObject({ waiting: 1, leftMs: FENCE_AFTER_MS });
    seen.nowMs += FENCE_AFTER_MS - 1;
    expect(look()).toMatchObject({ waiting: 1, leftMs: 1 });
    seen.nowMs += 1;
    expect(look()).toMatchObject({ waiting: 0, leftMs: 0 });
    expect(seen.asked).toBe(0);
  });

  it.each<{ title: string; given: Partial<ReturnType<typeof world>['seen']>; waiting: number }>([
    { title: 'its process stopped, and is gone', given: { spec: spec('i1', true) }, waiting: 0 },
    { title: 'another process of its node was seen since', given: { spec: spec('i2', false) }, waiting: 0 },
    { title: 'another process of its node runs', given: { node: node('i2') }, waiting: 0 },
    { title: 'its process runs, and does not answer', given: { node: node('i1') }, waiting: 1 },
    { title: 'nobody leads by the record, and who did is gone', given: { record: { ...RECORD, state: 'WAITING', leader: undefined, leaderIncarnation: '' } }, waiting: 0 },
    { title: 'nobody leads by the record, and who did may not have read it', given: { record: { ...RECORD, state: 'FENCING', leader: undefined, leaderIncarnation: '' } }, waiting: 1 },
    { title: 'the record is frozen for something else', given: { record: { ...RECORD, frozen: 'keyspace-2' } }, waiting: 1 },
    { title: 'the record is of an older keyspace', given: { record: { ...RECORD, keyspaceId: 'older' } }, waiting: 1 },
  ])('$title: $waiting to wait for', ({ given, waiting }) => {
    const { seen, look } = world();
    Object.assign(seen, given);
    expect(look().waiting).toBe(waiting);
  });

  it('is certain at once of who says so, and where its log ends is waited for', async () => {
    const { seen, look } = world();
    Object.assign(seen, { node: node('i1'), seq: 12 });
    expect(look().waiting).toBe(1);
    await new Promise(setImmediate);
    const { waiting, barriers } = look();
    expect([waiting, seen.asked]).toEqual([0, 1]);
    const held = (seq: number) => [{ target: 0, source: 0, isFollowing: true, held: { seq, stampMs: 1 }, head: undefined, ageMs: 0 }];
    expect([isDrained(barriers, held(11)), isDrained(barriers, held(12)), isDrained(new Map(), held(0))]).toEqual([false, true, true]);
  });
});
