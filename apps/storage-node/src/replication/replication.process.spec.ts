import { Ack, Consistency } from '@atoll/contracts/atoll/v1/cache';
import { MIB, toNodeId, toReplicaId } from '@atoll/core-runtime';
import { eventually } from '@atoll/platform-etcd/testing';
import { RawGranter } from '../testing/raw-granter.ts';
import { RawFollower } from '../testing/raw-follower.ts';
import { NodeWorld, failureOf, type WorldNode } from '../testing/node-world.ts';

const SEED = 20_261_003;
const EVENTUAL = { consistency: Consistency.CONSISTENCY_EVENTUAL };
const bounded = (maxStalenessMs: number) => ({ consistency: Consistency.CONSISTENCY_BOUNDED, maxStalenessMs });

describe(`replication between nodes (seed ${SEED})`, () => {
  let world: NodeWorld;

  beforeEach(() => {
    world = new NodeWorld(SEED);
  });

  afterEach(() => world.stop());

  async function fill(node: WorldNode, count: number, name = 'key'): Promise<void> {
    await Promise.all(Array.from({ length: count }, (_, index) => node.set(`${name}-${index}`, `value-${index}`)));
  }

  it('gives a follower every write, and reads there by what the caller bears', async () => {
    const [a, b] = [await world.start('a'), await world.start('b')];
    await world.createKeyspace({}, [a, b]);
    await fill(a, 50);
    const { session } = await a.set('mine', 'v1');
    // The commit is told within some milliseconds; a session makes the follower say that it is not there yet.
    await eventually('read your writes', () =>
      b.text('mine', { ...EVENTUAL, session }).then(
        (text) => text === 'v1',
        (error: { reason: string }) => (error.reason === 'REPLICA_TOO_STALE' ? false : Promise.reject(error)),
      ),
    );
    await eventually('known to be fresh', () => b.text('mine', bounded(2000)).then((text) => text === 'v1', () => false));
    expect((await failureOf(b.get('mine'))).reason).toBe('NOT_LEADER');
    expect(await world.equalDigests([a, b])).toBe(51);
  });

  it('counts a follower as stale when its leader is silent (R35), and the leader lets it go and writes on (R24)', async () => {
    const gate = await world.gate();
    const [a, b] = [await world.start('a', { gate, env: { STORAGE_NODE_FOLLOWER_ACK_TIMEOUT_MS: '400' } }), await world.start('b')];
    await world.createKeyspace({}, [a, b]);
    await a.set('k', 'v1');
    await eventually('fresh', () => b.text('k', bounded(300)).then((text) => text === 'v1', () => false));
    gate.stall();
    await a.set('k', 'v2');
    const { record } = world.record();
    expect(record.inSync.map(({ node }) => node)).toEqual(['a']);
    expect(record.learners.map(({ node }) => node)).toEqual(['b']);
    expect((await failureOf(b.get('k', bounded(300)))).reason).toBe('REPLICA_TOO_STALE');
    expect(await b.text('k', EVENTUAL)).toBe('v1');
    gate.open();
    await world.inSync(['a', 'b']);
    await eventually('caught up', async () => (await b.text('k', EVENTUAL)) === 'v2');
  });

  it('catches up from the log after its stream broke, without a full sync', async () => {
    const gate = await world.gate();
    const [a, b] = [await world.start('a', { gate }), await world.start('b')];
    await world.createKeyspace({}, [a, b]);
    await fill(a, 20);
    gate.close();
    await fill(a, 200, 'meanwhile');
    await world.inSync(['a']);
    gate.open();
    await world.inSync(['a', 'b']);
    expect(await world.equalDigests([a, b])).toBe(220);
    expect(await b.metric('atoll_installs_total')).toBe(0);
    await eventually('fresh again', () => b.text('meanwhile-7', bounded(2000)).then((text) => text === 'value-7', () => false));
  });

  it('fills a new learner by a full sync while writes go on, and the leader brings it in sync (R8, R33)', async () => {
    const [a, b] = [await world.start('a', { env: { STORAGE_NODE_LOG_BYTES_MAX: '64KiB' } }), await world.start('b')];
    const spec = await world.createKeyspace({}, [a]);
    const large = Buffer.alloc(5 * MIB + 1, 'large');
    await a.set('large', large);
    await fill(a, 1500);
    const filled = new AbortController();
    const writing = (async () => {
      let count = 0;
      while (!filled.signal.aborted) {
        await Promise.all([a.set(`during-${count % 300}`, `v${count}`), a.set('large', large)]);
        count += 1;
      }
      return count;
    })();
    const { member } = await world.ensure(b, spec);
    expect((await failureOf(b.get('large', EVENTUAL))).reason).toBe('REPLICA_NOT_READY');
    world.change(() => ({ learners: [member] }));
    const record = await world.inSync(['a', 'b']);
    filled.abort();
    expect(await writing).toBeGreaterThan(0);
    expect(record.learners).toEqual([]);
    expect(await world.equalDigests([a, b])).toBeGreaterThan(1500);
    expect((await b.get('large', EVENTUAL)).value.equals(large)).toBe(true);
    expect(await b.metric('atoll_installs_total')).toBe(1);
    await eventually('no install runs', async () => (await b.metric('atoll_installs_running')) === 0);
  });

  it('goes on with a full sync at the next leader when the first one falls silent (R33)', async () => {
    const gate = await world.gate();
    const [a, b, c] = [await world.start('a', { gate }), await world.start('b'), await world.start('c')];
    const spec = await world.createKeyspace({}, [a, c]);
    for (let index = 0; index < 30; index += 1) await a.set(`k${index}`, Buffer.alloc(MIB, index));
    await world.addLearner(b, spec);
    await eventually('the full sync began', async () => (await b.metric('atoll_installs_total')) === 1);
    gate.stall();
    await world.promote(c, { dropped: ['a'] });
    // The first leader follows the new one, but nobody gets through to it: it grants no lease, and so stays out (R8).
    await world.inSync(['b', 'c']);
    await eventually('a has everything', async () => (await a.held())[0]!.entries === 30);
    gate.open();
    await world.inSync(['a', 'b', 'c']);
    expect(await world.equalDigests([a, b, c])).toBe(30);
  });

  it('drops a leaving member from the in-sync set when the others suffice', async () => {
    const [a, b, c] = [await world.start('a'), await world.start('b'), await world.start('c')];
    await world.createKeyspace({ replicationFactor: 3 }, [a, b, c]);
    await fill(a, 10);
    world.change((record) => ({ leaving: record.inSync.filter(({ node }) => node === 'c') }));
    await world.inSync(['a', 'b']);
    expect(await c.held()).toHaveLength(1);
    world.change(() => ({ leaving: [] }));
    await eventually('the replica is gone', async () => (await c.held()).length === 0);
    await a.set('after', 'v');
    await world.equalDigests([a, b]);
  });

  it('loses no write and settles a change whose answer was lost (R7)', async () => {
    const gate = await world.gate();
    const a = await world.start('a', { gate, env: { STORAGE_NODE_FOLLOWER_ACK_TIMEOUT_MS: '200' } });
    const b = await world.start('b');
    await world.createKeyspace({}, [a, b]);
    a.store.loseNextAnswer();
    gate.close();
    await a.set('k', 'v1');
    await world.inSync(['a']);
    gate.open();
    await world.inSync(['a', 'b']);
    await a.set('k', 'v2');
    expect(await world.equalDigests([a, b])).toBe(1);
  });

  it('serves on while etcd is away, as long as every in-sync member is there (R12)', async () => {
    const [a, b] = [await world.start('a'), await world.start('b')];
    await world.createKeyspace({}, [a, b]);
    a.store.goAway();
    b.store.goAway();
    await fill(a, 20);
    expect(await a.text('key-3')).toBe('value-3');
    expect(await world.equalDigests([a, b])).toBe(20);
    a.store.comeBack();
    b.store.comeBack();
  });

  it('moves the leadership to a follower and back, with every write kept', async () => {
    const [a, b] = [await world.start('a'), await world.start('b')];
    await world.createKeyspace({}, [a, b]);
    await fill(a, 30);
    await world.promote(b);
    await world.serving(b);
    expect((await failureOf(a.set('x', 'v'))).reason).toBe('NOT_LEADER');
    await fill(b, 30, 'from-b');
    await world.promote(a);
    await world.serving(a);
    expect(await a.text('from-b-29')).toBe('value-29');
    expect(await world.equalDigests([a, b])).toBe(60);
    await world.inSync(['a', 'b']);
  });

  it('tells followers at once that it leads no more: none of them counts itself fresh by an old leader (R35)', async () => {
    const [a, b, c] = [await world.start('a'), await world.start('b'), await world.start('c')];
    await world.createKeyspace({ replicationFactor: 3 }, [a, b, c]);
    await a.set('k', 'v1');
    await eventually('fresh', () => c.text('k', bounded(500)).then((text) => text === 'v1', () => false));
    c.store.goAway();
    await world.promote(b, { dropped: ['c'] });
    await world.serving(b);
    await b.set('k', 'v2');
    const stale = await eventually('stale', () => failureOf(c.get('k', bounded(60_000))).catch(() => undefined));
    // It may have heard of the new epoch already: then it follows nobody until it can read its record (R27).
    expect(['REPLICA_TOO_STALE', 'REPLICA_NOT_READY']).toContain(stale.reason);
    c.store.comeBack();
    await world.inSync(['a', 'b', 'c']);
    await eventually('caught up', async () => (await c.text('k', EVENTUAL)) === 'v2');
  });

  it('a read that waits for a write is answered by its commit, however many more writes follow (R19)', async () => {
    const a = await world.start('a', { env: { STORAGE_NODE_FOLLOWER_ACK_TIMEOUT_MS: '60000', STORAGE_NODE_LEASE_MS: '61000' } });
    const granter = await RawGranter.start(world, 'ghost');
    const ghost = { node: toNodeId('ghost'), replica: toReplicaId('00000000000000ff') };
    await world.createKeyspace({}, [a]);
    await a.set('k', 'v0');
    world.change((record) => ({ inSync: [...record.inSync, ghost] }));
    const follower = await RawFollower.open(world, a, ghost);
    await world.serving(a);
    const { appliedSeq } = (await a.held())[0]!;
    await eventually('the entry is there', () => follower.endSeq >= 1);
    follower.ack(follower.endSeq);
    // Acknowledged by the leader alone: not committed, so a session of it waits even for an EVENTUAL read.
    const written = await a.set('k', 'v1', { ack: Ack.ACK_LEADER });
    expect(await a.text('k', EVENTUAL)).toBe('v0');
    const reads = [a.text('k'), a.text('k', { ...EVENTUAL, session: written.session })];
    await eventually('the entry of v1 is there', () => follower.endSeq > appliedSeq);
    expect(await Promise.race([...reads, a.text('k', EVENTUAL)])).toBe('v0');
    const firstSeq = follower.endSeq;
    const more = Promise.all(Array.from({ length: 10 }, (_, index) => a.set('k', `later-${index}`, { ack: Ack.ACK_LEADER })));
    await more;
    follower.ack(firstSeq);
    expect(await Promise.all(reads)).toEqual(['v1', 'v1']);
    await eventually('all entries', () => follower.endSeq >= firstSeq + 10);
    follower.ack(follower.endSeq);
    expect(await a.text('k')).toBe('later-9');
    follower.close();
    granter.stop();
  });

  it('a session that saw a write which no replica kept is lost, and so is one of an older generation (R3)', async () => {
    const gate = await world.gate();
    const [a, b] = [await world.start('a', { gate }), await world.start('b')];
    await world.createKeyspace({}, [a, b]);
    await a.set('k', 'v0');
    await world.equalDigests([a, b]);
    // It can remove nobody.
    a.store.goAway();
    gate.stall();
    const { session } = await a.set('k', 'lost', { ack: Ack.ACK_LEADER });
    await a.set('k', 'lost too', { ack: Ack.ACK_LEADER });
    await world.promote(b, { dropped: ['a'] });
    await world.serving(b);
    // Other writes take its place: the position alone does not tell.
    await b.set('k', 'v1');
    await b.set('k', 'v2');
    expect((await failureOf(b.get('k', { session }))).reason).toBe('SESSION_LOST');
    gate.open();
    a.store.comeBack();
    await world.inSync(['a', 'b']);
    expect(await a.text('k', EVENTUAL)).toBe('v2');
    await world.equalDigests([a, b]);
  });
});
