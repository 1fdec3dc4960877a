import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Ack, Consistency } from '@atoll/contracts/atoll/v1/cache';
import type { ClockReading } from '@atoll/core-replication';
import { eventually } from '@atoll/platform-etcd/testing';
import { NodeWorld, failureOf, type WorldNode } from '../testing/node-world.ts';

const SEED = 20_261_121;
const EVENTUAL = { consistency: Consistency.CONSISTENCY_EVENTUAL };
/** A lease that does not end by itself within a test. */
const LONG = { STORAGE_NODE_LEASE_MS: '60000' };

/** Until a STRONG read is refused for want of a lease. */
const silent = (node: WorldNode, keyspace = 'default'): Promise<boolean> =>
  eventually(`${node.id} is silent`, () => node.get('k', { keyspace }).then(() => false, (error: { reason: string }) => error.reason === 'PARTITION_UNAVAILABLE'));

describe(`leases between nodes (seed ${SEED})`, () => {
  let world: NodeWorld;

  beforeEach(() => {
    world = new NodeWorld(SEED);
  });

  afterEach(() => world.stop());

  it('a leader whose beats reach nobody answers no STRONG read and no write at any level, and goes on when they do (R16)', async () => {
    const gate = await world.gate();
    const [a, b] = [await world.start('a'), await world.start('b', { gate })];
    await world.createKeyspace({}, [a, b]);
    await a.set('k', 'v');
    // It can remove nobody; b reads the log all the while, by its own stream.
    a.store.goAway();
    gate.stall();
    await silent(a);
    for (const ack of [Ack.ACK_LEADER, Ack.ACK_IN_SYNC]) expect((await failureOf(a.set('k', 'v2', { ack }))).reason).toBe('PARTITION_UNAVAILABLE');
    expect(await a.text('k', EVENTUAL)).toBe('v');
    // Requests are refused at once; the loss is counted at the next tick.
    await eventually('the loss is counted', async () => (await a.metric('atoll_leases_lost_total')) === 1);
    gate.open();
    await world.serving(a);
    await a.set('k', 'v3');
    a.store.comeBack();
    await world.equalDigests([a, b]);
  });

  it('a member that cannot be asked for leases is removed before the last one ends, and writes go on (R24)', async () => {
    const gates = [await world.gate(), await world.gate()];
    const [a, b, c] = [await world.start('a'), await world.start('b', { gate: gates[0]! }), await world.start('c', { gate: gates[1]! })];
    await world.createKeyspace({ replicationFactor: 3 }, [a, b, c]);
    gates[0]!.stall();
    const reading = new AbortController();
    const refused: string[] = [];
    const reads = (async () => {
      while (!reading.signal.aborted) await a.get('k').catch((error: { reason: string }) => refused.push(error.reason));
    })();
    await world.inSync(['a', 'c']);
    await a.set('k', 'v');
    reading.abort();
    await reads;
    expect(refused).toEqual([]);
    gates[0]!.open();
    await world.inSync(['a', 'b', 'c']);
  });

  it('a successor waits until its promise has run out, and none that was given the office (R27, R29)', async () => {
    const [a, b] = [await world.start('a'), await world.start('b')];
    await world.createKeyspace({}, [a, b]);
    await a.set('k', 'v');
    const promotedMs = performance.now();
    await world.promote(b);
    await world.serving(b);
    // The last beat was granted within the heartbeat before.
    expect(performance.now() - promotedMs).toBeGreaterThan(850);
    await eventually('the wait is counted', async () => (await b.metric('atoll_promise_wait_seconds_count')) === 1);
    await eventually('the office is counted', async () => (await b.metric('atoll_office_taking_seconds_count')) === 1);
    await world.promote(a, { relinquished: true });
    await world.serving(a);
    expect(await a.metric('atoll_promise_wait_seconds_count')).toBe(0);
    expect(await a.text('k')).toBe('v');
  });

  it('two leaders never answer at a time, though the first one is cut off and hears of nothing (R14, R16)', async () => {
    const [gateA, gateB] = [await world.gate(), await world.gate()];
    const [a, b] = [await world.start('a', { gate: gateA }), await world.start('b', { gate: gateB })];
    await world.createKeyspace({}, [a, b]);
    await a.set('k', 'old');
    a.store.goAway();
    gateA.stall();
    gateB.stall();
    let lastReadMs = 0;
    const reads = (async () => {
      for (;;) {
        const sentMs = performance.now();
        const text = await a.text('k').catch(() => undefined);
        if (text === undefined) return;
        expect(text).toBe('old');
        lastReadMs = sentMs;
      }
    })();
    await world.promote(b, { dropped: ['a'] });
    await world.serving(b);
    const servedMs = performance.now();
    await b.set('k', 'new');
    await reads;
    expect(lastReadMs).toBeLessThan(servedMs);
    expect((await failureOf(a.get('k'))).reason).toBe('PARTITION_UNAVAILABLE');
  });

  it('a clock that stood still voids all leases at once (R17)', async () => {
    let jumpMs = 0;
    const readClocks = (): ClockReading => {
      const nowMs = performance.now();
      return { monotonicMs: nowMs, monotonicAfterMs: nowMs, uptimeMs: nowMs + jumpMs, wallMs: nowMs + jumpMs };
    };
    const gate = await world.gate();
    const [a, b] = [await world.start('a', { env: LONG, readClocks }), await world.start('b', { env: LONG, gate })];
    await world.createKeyspace({}, [a, b]);
    a.store.goAway();
    gate.stall();
    await a.get('k');
    jumpMs = 30_000;
    await silent(a);
    expect(await eventually('the jump is counted', async () => (await a.metric('atoll_clock_jumps_total')) === 1)).toBe(true);
    gate.open();
    a.store.comeBack();
    await world.serving(a);
  });

  it('a request that waited while the machine was suspended is not served before the clocks were compared (R16, R17)', async () => {
    let jumpMs = 0;
    const readClocks = (): ClockReading => {
      const nowMs = performance.now();
      return { monotonicMs: nowMs, monotonicAfterMs: nowMs, uptimeMs: nowMs + jumpMs, wallMs: Date.now() };
    };
    const gate = await world.gate();
    const [a, b] = [await world.start('a', { env: LONG, readClocks }), await world.start('b', { env: LONG, gate })];
    await world.createKeyspace({}, [a, b]);
    await a.set('k', 'v');
    a.store.goAway();
    gate.stall();
    await a.get('k');
    // Everybody in this process wakes up at once; no tick has run.
    jumpMs = 30_000;
    const { now } = Date;
    Date.now = () => now() + jumpMs;
    try {
      expect((await failureOf(a.get('k'))).reason).toBe('PARTITION_UNAVAILABLE');
    } finally {
      Date.now = now;
    }
    gate.open();
    a.store.comeBack();
  });

  it('a node that promises less than the leader counts on grants nothing', async () => {
    const [a, b] = [await world.start('a', { env: { STORAGE_NODE_LEASE_MS: '2000' } }), await world.start('b')];
    const spec = await world.createKeyspace({}, [a]);
    const member = await world.addLearner(b, spec);
    await eventually('b has everything', async () => (await b.held())[0]?.installed === true);
    await eventually('b is asked', async () => (await b.openStreams('Heartbeat/Lease')) === 1);
    expect(await b.metric('atoll_lease_grants_total')).toBe(0);
    expect(world.record().record.learners).toEqual([member]);
  });

  it('leaders of a RESET keyspace, or of one with a standby on another pool, stop when they could not read their records for fenceAfterMs, others never do (R15)', async () => {
    const env = { STORAGE_NODE_FENCE_AFTER_MS: '1000' };
    const [a, b] = [await world.start('a', { env }), await world.start('b', { env })];
    await world.createKeyspace({ name: 'reset', onDataLoss: 'RESET' }, [a, b]);
    await world.createKeyspace({ name: 'wait' }, [a, b]);
    await world.createKeyspace({ name: 'followed' }, [a, b]);
    world.change(() => ({ hasStandby: true }), 'followed');
    await eventually('it has heard of the standby', () => a.replica('followed').replica.record?.record.hasStandby);
    await world.serving(a, 'followed');
    await a.set('k', 'v', { keyspace: 'reset' });
    a.store.goAway();
    for (const keyspace of ['reset', 'followed']) {
      await silent(a, keyspace);
      expect((await failureOf(a.set('k', 'v2', { keyspace }))).reason).toBe('PARTITION_UNAVAILABLE');
    }
    await a.set('k', 'v', { keyspace: 'wait' });
    a.store.comeBack();
    await world.serving(a, 'reset');
    expect(await a.text('k', { keyspace: 'reset' })).toBe('v');
    await world.serving(a, 'followed');
  });

  it('data from before a restart counts as promised for a full lease (R14)', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'atoll-lease-'));
    const env = { STORAGE_NODE_DATA_DIR: directory };
    const a = await world.start('a', { env });
    await world.createKeyspace({ durability: 'SYNC' }, [a]);
    await a.set('k', 'v');
    await a.stop(200);
    const startedMs = performance.now();
    const again = await world.start('a', { env });
    await world.promote(again);
    await world.serving(again);
    expect(performance.now() - startedMs).toBeGreaterThan(1000);
    expect(await again.text('k')).toBe('v');
    await again.stop(200);
    await rm(directory, { recursive: true, force: true });
  });
});
