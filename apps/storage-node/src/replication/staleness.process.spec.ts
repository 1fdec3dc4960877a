import { Ack, Consistency } from '@atoll/contracts/atoll/v1/cache';
import { eventually } from '@atoll/platform-etcd/testing';
import { mergeSessions } from '@atoll/platform-wire';
import { NodeWorld, failureOf, type WorldNode } from '../testing/node-world.ts';

const SEED = 20_261_122;
const EMPTY = Buffer.alloc(0);
const EVENTUAL = { consistency: Consistency.CONSISTENCY_EVENTUAL };
const bounded = (maxStalenessMs: number) => ({ consistency: Consistency.CONSISTENCY_BOUNDED, maxStalenessMs });

describe(`what replicas may answer (seed ${SEED})`, () => {
  let world: NodeWorld;

  beforeEach(() => {
    world = new NodeWorld(SEED);
  });

  afterEach(() => world.stop());

  it('a leader without a lease makes nobody fresh, neither its followers nor itself (R35, R12)', async () => {
    const [a, b, c] = [await world.start('a'), await world.start('b'), await world.start('c')];
    await world.createKeyspace({ replicationFactor: 3 }, [a, b, c]);
    await a.set('k', 'v1');
    await eventually('fresh', () => c.text('k', bounded(500)).then((text) => text === 'v1', () => false));
    // b is gone and nobody may take it out of the set: the leader's lease ends, while c follows it as before.
    a.store.goAway();
    await b.stop();
    await eventually('no lease', () => a.get('k').then(() => false, (error: { reason: string }) => error.reason === 'PARTITION_UNAVAILABLE'));
    await eventually('the follower counts itself stale', () => c.get('k', bounded(500)).then(() => false, (error: { reason: string }) => error.reason === 'REPLICA_TOO_STALE'));
    await eventually('so does the leader', () => a.get('k', bounded(500)).then(() => false, (error: { reason: string }) => error.reason === 'REPLICA_TOO_STALE'));
    // Who bears more goes on, and so does who bears everything.
    expect(await c.text('k', EVENTUAL)).toBe('v1');
    expect(await a.text('k', bounded(3_600_000))).toBe('v1');
    a.store.comeBack();
    await world.inSync(['a', 'c']);
    await eventually('fresh again', () => c.text('k', bounded(500)).then((text) => text === 'v1', () => false));
  });

  it('a session never goes back, from replica to replica and behind a change of leader, and reads what it wrote', async () => {
    const nodes = [await world.start('a'), await world.start('b'), await world.start('c')];
    await world.createKeyspace({ replicationFactor: 3 }, nodes);
    let [leader] = nodes as [WorldNode];
    let session: Buffer = EMPTY;
    /** What the session wrote and read, in order. */
    const values: number[] = [];
    const refusals = new Set<string>();
    for (let round = 1; round <= 60; round += 1) {
      if (round % 20 === 0) {
        leader = nodes[(round / 20) % 3]!;
        await world.promote(leader);
        await world.serving(leader);
      }
      const ack = round % 3 === 0 ? Ack.ACK_LEADER : Ack.ACK_IN_SYNC;
      session = mergeSessions(session, (await leader.set('k', String(round), { session, ack })).session);
      values.push(round);
      for (const node of nodes) {
        const answer = await node.get('k', { ...EVENTUAL, session }).catch((error: { reason: string }) => error.reason);
        if (typeof answer === 'string') {
          refusals.add(answer);
          continue;
        }
        values.push(Number(answer.value.toString()));
        session = mergeSessions(session, answer.session);
      }
    }
    expect(values.length).toBeGreaterThan(120);
    expect(values).toEqual(values.toSorted((one, other) => one - other));
    expect(['REPLICA_TOO_STALE', 'REPLICA_NOT_READY', 'NOT_LEADER']).toEqual(expect.arrayContaining([...refusals]));
  });

  it('a follower tells a session that what it saw is lost, once others took its place (R3)', async () => {
    const gate = await world.gate();
    const a = await world.start('a', { gate, env: { STORAGE_NODE_FOLLOWER_ACK_TIMEOUT_MS: '900' } });
    const [b, c] = [await world.start('b'), await world.start('c')];
    await world.createKeyspace({ replicationFactor: 3 }, [a, b, c]);
    await a.set('k', 'v0');
    await world.equalDigests([a, b, c]);
    gate.stall();
    const { session } = await a.set('k', 'lost', { ack: Ack.ACK_LEADER });
    await world.promote(b, { dropped: ['a'] });
    await world.serving(b);
    for (const value of ['v1', 'v2', 'v3']) await b.set('k', value);
    await eventually('the follower has as much', () => c.text('k', EVENTUAL).then((text) => text === 'v3'));
    expect((await failureOf(c.get('k', { ...EVENTUAL, session }))).reason).toBe('SESSION_LOST');
    expect((await failureOf(b.get('k', { session }))).reason).toBe('SESSION_LOST');
    gate.open();
  });
});
