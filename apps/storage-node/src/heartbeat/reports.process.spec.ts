import type { HandOverItem, HandOverRequest, HandOverResponse, PartitionEpoch } from '@atoll/contracts/atoll/v1/heartbeat';
import { toEpoch, toNodeId, toReplicaId } from '@atoll/core-runtime';
import { encodePartitionRecord } from '@atoll/platform-etcd';
import { eventually } from '@atoll/platform-etcd/testing';
import { callUnary } from '@atoll/platform-grpc';
import { DEADLINE, NodeWorld, failureOf, type WorldNode } from '../testing/node-world.ts';
import { TcpGate } from '../testing/tcp-gate.ts';
import { RawCoordinator } from '../testing/raw-coordinator.ts';

const SEED = 20_261_122;
/** Longer than what takes its time on a busy machine: what waits for a promise is told apart from what does not. */
const LEASE_MS = 5000;
const ghost = { node: toNodeId('ghost'), replica: toReplicaId('00000000000000ff') };

describe(`what a node tells and does for its coordinator (seed ${SEED})`, () => {
  let world: NodeWorld;
  let a: WorldNode;
  let b: WorldNode;
  let clusterId: string;

  beforeEach(async () => {
    world = new NodeWorld(SEED);
    const lease = { STORAGE_NODE_LEASE_MS: String(LEASE_MS) };
    [a, b] = [await world.start('a', { env: { ...lease, STORAGE_NODE_TAKE_OFFICE_MS: '100' } }), await world.start('b', { env: lease })];
    await world.createKeyspace({}, [a, b]);
    clusterId = await world.clusterId();
  });

  afterEach(() => world.stop());

  /** An address at which nothing listens any more. */
  const deserted = async (): Promise<{ address: string }> => {
    const gate = await TcpGate.listen();
    const { address } = gate;
    await gate.end();
    return { address };
  };
  const coordinator = (node: WorldNode, revision = 20): RawCoordinator => new RawCoordinator(node).hello(clusterId, revision);
  /** The record as it stands, changed, but written nowhere. */
  const news = (changes: object) => {
    const { record, modRevision } = world.record();
    return { record: encodePartitionRecord({ ...record, ...changes, changeId: 'news' }), modRevision: modRevision + 1 };
  };

  it('tells how it does, and what it hears of the others', async () => {
    await a.set('k', 'v'.repeat(100_000));
    const reports = coordinator(a);
    const report = await eventually('all is heard', async () => {
      const heard = await reports.report();
      return heard.etcdSilentMs < 2000 && heard.peers[0]!.silentMs < 1000 && heard;
    });
    expect(report).toMatchObject({ diskError: '', diskFlushMs: 0, stuckOffices: [], questions: [], stopped: [] });
    expect(report.incarnation).toHaveLength(16);
    expect(report.memoryUsed).toBeGreaterThan(0.001);
    expect(report.memoryUsed).toBeLessThan(1);
    expect(report.peers.map(({ node, refused }) => ({ node, refused }))).toEqual([{ node: 'b', refused: false }]);
    // b leads nothing: it hears the beats of a, but has asked it nothing, and so does not know whether one gets through.
    expect((await coordinator(b).report()).peers).toEqual([]);
    a.store.goAway();
    await eventually('etcd is silent', async () => (await reports.report()).etcdSilentMs > 700);
    reports.close();
  });

  it('a node that is gone is told as refused (R30)', async () => {
    const reports = coordinator(a);
    await b.stop(100);
    const peer = await eventually('refused', async () => (await reports.report()).peers.find(({ node, refused }) => node === 'b' && refused));
    expect(peer.silentMs).toBeGreaterThan(0);
  });

  it('says how long its loop stood still, once to each coordinator', async () => {
    const [first, second] = [coordinator(a), coordinator(a)];
    await Promise.all([first.report(), second.report()]);
    const endsMs = performance.now() + 200;
    while (performance.now() < endsMs);
    for (const reports of [first, second]) {
      await eventually('the stall', async () => (await reports.report()).loopLagMs > 100);
      expect(await eventually('it is told no more', async () => (await reports.report()).loopLagMs < 100)).toBe(true);
    }
  });

  it('no hello, another cluster, a second hello and a malformed record end the stream', async () => {
    expect((await new RawCoordinator(a).send({}).ended)?.reason).toBe('INVALID_ARGUMENT');
    expect((await new RawCoordinator(a).hello('another', 20).ended)?.reason).toBe('WRONG_CLUSTER');
    expect((await coordinator(a).hello(clusterId, 20).ended)?.reason).toBe('INVALID_ARGUMENT');
    expect((await coordinator(a).send({ records: [{ record: '{}', modRevision: 1 }] }).ended)?.reason).toBe('INVALID_ARGUMENT');
  });

  it('a later coordinator ends the stream of an earlier one, which is refused from then on, by whatever it calls (R11)', async () => {
    const earlier = coordinator(a, 20);
    await earlier.report();
    const later = coordinator(a, 21);
    expect((await earlier.ended)?.reason).toBe('STALE_FENCING_TOKEN');
    expect((await coordinator(a, 20).ended)?.reason).toBe('STALE_FENCING_TOKEN');
    expect((await failureOf(callUnary(a.heartbeat, 'handOver', { coordinatorRevision: 20, items: [], holdMs: 100 }, DEADLINE))).reason).toBe('STALE_FENCING_TOKEN');
    expect((await later.report()).beat).toBeGreaterThan(0);
  });

  it('takes records from it that the watch has not brought (R27)', async () => {
    const { incarnation } = await callUnary(b.replication, 'listReplicas', {}, DEADLINE);
    const { record } = world.record();
    b.store.goAway();
    const reports = coordinator(b);
    const promoted = news({ epoch: toEpoch(2), leader: record.inSync[1], leaderIncarnation: incarnation, relinquished: true });
    await reports.report({ records: [promoted] });
    await eventually('b leads', async () => (await b.held())[0]!.role === 'LEADER');
    // One that was overtaken changes nothing.
    await reports.report({ records: [{ record: encodePartitionRecord(record), modRevision: 1 }] });
    expect((await b.held())[0]!.role).toBe('LEADER');
    b.store.comeBack();
  });

  it('tells which offices it was given and cannot take (R27)', async () => {
    const reports = coordinator(a);
    a.store.goAway();
    // Nobody answers for the ghost, and without etcd it cannot be removed.
    await reports.report({ records: [news({ epoch: toEpoch(2), inSync: [...world.record().record.inSync, ghost] })] });
    const stuck = await eventually('stuck', async () => {
      const { stuckOffices } = await reports.report();
      return stuckOffices.length > 0 && stuckOffices;
    });
    expect(stuck).toEqual<PartitionEpoch[]>([{ keyspace: 'default', partition: 0, epoch: 2 }]);
    a.store.comeBack();
  });

  it('confirms that it stopped where a record is FENCING, whether it led or not (R15)', async () => {
    const fencing = news({ epoch: toEpoch(2), state: 'FENCING', leader: undefined, leaderIncarnation: '' });
    for (const node of [a, b]) {
      const reports = coordinator(node);
      const { stopped } = await reports.report({ records: [fencing] });
      expect(stopped).toEqual<PartitionEpoch[]>([{ keyspace: 'default', partition: 0, epoch: 2 }]);
      expect((await node.held())[0]!.role).toBe('IDLE');
      expect((await reports.report({ records: [{ ...news({ epoch: toEpoch(3) }), modRevision: fencing.modRevision + 1 }] })).stopped).toEqual([]);
    }
  });

  it('asks before a leader removes its last follower, and does as it is told (R10)', async () => {
    const gate = await world.gate();
    const [c, d] = [await world.start('c', { env: { STORAGE_NODE_FOLLOWER_ACK_TIMEOUT_MS: '900' } }), await world.start('d', { gate })];
    await world.createKeyspace({ name: 'other' }, [c, d]);
    const reports = coordinator(c);
    gate.stall();
    const [question] = await eventually('a question', async () => {
      const { questions } = await reports.report();
      return questions.length > 0 && questions;
    });
    expect(question).toMatchObject({ keyspace: 'other', partition: 0, epoch: 1, node: 'd' });
    const { epoch, replicaId } = question!;
    const askedMs = performance.now();
    // Of another epoch: nobody asked.
    await reports.report({ answers: [{ keyspace: 'other', partition: 0, epoch: epoch + 1, replicaId, mayRemove: true }] });
    expect(world.record('other').record.inSync).toHaveLength(2);
    await reports.report({ answers: [{ keyspace: 'other', partition: 0, epoch, replicaId, mayRemove: true }] });
    await world.inSync(['c'], 'other');
    expect(performance.now() - askedMs).toBeLessThan(900);
    expect((await reports.report()).questions).toEqual([]);
  });

  it('answers probes for itself and for others', async () => {
    const probe = (address: string, timeoutMs = 1000) => callUnary(a.heartbeat, 'probe', { address, timeoutMs }, DEADLINE);
    const [own, other] = [await coordinator(a).report(), await coordinator(b).report()];
    expect(await probe('')).toEqual({ reached: true, refused: false, incarnation: own.incarnation });
    expect(await probe(world.etcd.get('nodes/b')!.value.match(/127\.0\.0\.1:\d+/)![0])).toEqual({ reached: true, refused: false, incarnation: other.incarnation });
    const { address } = await deserted();
    expect(await probe(address)).toEqual({ reached: false, refused: true, incarnation: '' });
    expect((await failureOf(probe('nowhere'))).metadata).toMatchObject({ field: 'address' });
    expect((await failureOf(probe('127.0.0.1:1', 0))).metadata).toMatchObject({ field: 'timeout_ms' });
  });

  describe('HandOver (R29)', () => {
    const handOver = (changes: Partial<HandOverRequest> & { item?: Partial<HandOverItem> } = {}): Promise<HandOverResponse> => {
      const { item, ...request } = changes;
      const target = world.record().record.inSync[1]!.replica;
      const items = [{ keyspace: 'default', partition: 0, epoch: 1, targetReplicaId: target, traceparent: '', ...item }];
      return callUnary(a.heartbeat, 'handOver', { coordinatorRevision: 20, items, holdMs: 1000, ...request }, DEADLINE);
    };

    it('gives the office up with everything committed; a promotion that compares the revision serves at once', async () => {
      await Promise.all(Array.from({ length: 20 }, (_, index) => a.set(`k${index}`, 'v')));
      const startedMs = performance.now();
      const { results } = await handOver();
      const { modRevision } = world.record();
      expect(results).toMatchObject([{ givenUp: true, modRevision, problem: '' }]);
      expect(results[0]!.end!.seq).toBeGreaterThanOrEqual(21);
      // Silent: a write that comes now waits, and is refused plainly once the successor is known.
      const waiting = failureOf(a.set('k', 'v'));
      expect((await failureOf(a.get('k0'))).reason).toBe('PARTITION_UNAVAILABLE');
      await world.promote(b, { relinquished: true });
      await world.serving(b);
      expect(performance.now() - startedMs).toBeLessThan(LEASE_MS - 500);
      expect((await waiting).reason).toBe('NOT_LEADER');
      expect(await b.text('k19')).toBe('v');
    });

    it('takes it back, by rewriting the record, when nothing comes of it', async () => {
      const { results } = await handOver({ holdMs: 100 });
      const waiting = a.set('k', 'v');
      expect((await waiting).applied).toBe(true);
      expect(world.record().modRevision).toBeGreaterThan(results[0]!.modRevision);
    });

    it('keeps what it cannot give, and says why', async () => {
      const problemOf = async (item: Partial<HandOverItem>) => (await handOver({ item })).results[0];
      expect(await problemOf({ epoch: 7 })).toMatchObject({ givenUp: false, problem: expect.stringContaining('epoch 7') as string });
      expect(await problemOf({ partition: 9 })).toMatchObject({ givenUp: false });
      expect(await problemOf({ targetReplicaId: ghost.replica })).toMatchObject({ givenUp: false, problem: 'the target is not in sync' });
      expect((await failureOf(handOver({ holdMs: 0 }))).metadata).toMatchObject({ field: 'hold_ms' });
      const many = Array.from({ length: 65 }, () => ({ keyspace: 'default', partition: 0, epoch: 1, targetReplicaId: '', traceparent: '' }));
      expect((await failureOf(handOver({ items: many }))).metadata).toMatchObject({ field: 'items' });
      expect((await a.set('k', 'v')).applied).toBe(true);
    });
  });
});
