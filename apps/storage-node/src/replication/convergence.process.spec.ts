import type { AtollError } from '@atoll/core-errors';
import { KIB } from '@atoll/core-runtime';
import { eventually } from '@atoll/platform-etcd/testing';
import { NodeWorld } from '../testing/node-world.ts';

const SEED = 20_261_208;
const WRITERS = 16;
const VALUE = Buffer.alloc(8 * KIB, 'v');

describe(`replicas that are added under writes (R33; seed ${SEED})`, () => {
  let world: NodeWorld;

  beforeEach(() => {
    world = new NodeWorld(SEED);
  });

  afterEach(() => world.stop());

  it('while one takes less than clients write their answers wait a little, none fails, and it comes in sync (valkey#4545)', async () => {
    const gate = await world.gate();
    const a = await world.start('a', { gate, env: { STORAGE_NODE_MEMORY_BYTES_MAX: '256MiB' } });
    const b = await world.start('b', { env: { STORAGE_NODE_MEMORY_BYTES_MAX: '256MiB' } });
    const spec = await world.createKeyspace({ replicationFactor: 2 }, [a]);
    const stop = new AbortController();
    const problems: AtollError[] = [];
    const write = async (writer: number): Promise<void> => {
      for (let count = 0; !stop.signal.aborted; count += 1) {
        await a.set(`key-${writer}-${count % 200}`, VALUE).catch((error: AtollError) => problems.push(error));
      }
    };
    const writers = Array.from({ length: WRITERS }, (_, index) => write(index));
    try {
      // Far less than they write on any machine.
      gate.narrow(1024 * KIB);
      await world.addLearner(b, spec);
      await eventually('the writers are slowed', async () => (await a.metric('atoll_write_pause_seconds')) > 0.02, 60_000);
      expect(await a.metric('atoll_slowed_writes_total')).toBeGreaterThan(0);
      gate.narrow(0);
      await eventually('b is in sync', () => world.record().record.inSync.length === 2, 60_000);
    } finally {
      stop.abort();
      gate.narrow(0);
      await Promise.all(writers);
    }
    expect(problems).toEqual([]);
    expect(await world.equalDigests([a, b])).toBeGreaterThan(10);
    await eventually('nobody is slowed any more', async () => (await a.metric('atoll_write_pause_seconds')) === 0, 20_000);
  }, 150_000);

  it('what is to be sent does not grow while clients write: a snapshot far slower than the writers ends', async () => {
    const a = await world.start('a', { env: { STORAGE_NODE_SYNC_BYTES_PER_SECOND: String(512 * KIB), STORAGE_NODE_MEMORY_BYTES_MAX: '256MiB' } });
    const b = await world.start('b', { env: { STORAGE_NODE_MEMORY_BYTES_MAX: '256MiB' } });
    const spec = await world.createKeyspace({ replicationFactor: 2 }, [a]);
    await Promise.all(Array.from({ length: 128 }, (_, index) => a.set(`first-${index}`, VALUE)));
    let count = 0;
    const stop = new AbortController();
    const write = async (): Promise<void> => {
      while (!stop.signal.aborted) await a.set(`key-${(count += 1)}`, VALUE);
    };
    const writers = Array.from({ length: 4 }, write);
    await world.addLearner(b, spec);
    await eventually('b is in sync', () => world.record().record.inSync.length === 2, 60_000);
    stop.abort();
    await Promise.all(writers);
    const { bytes } = (await b.transfers()).replicas[0]!;
    // A MiB was there when the install was ordered; some is written before that.
    expect(bytes).toBeLessThan(count * VALUE.length);
    expect(await world.equalDigests([a, b])).toBe(128 + count);
  }, 90_000);
});
