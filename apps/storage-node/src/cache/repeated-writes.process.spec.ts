import { isAtollError } from '@atoll/core-errors';
import { callUnary } from '@atoll/platform-grpc';
import { DEADLINE, NodeWorld, type WorldNode } from '../testing/node-world.ts';

const SEED = Number(process.env['SPEC_SEED'] ?? 31);
const CLIENT = Buffer.from('client-1');
const EMPTY = Buffer.alloc(0);

describe(`writes that come again, at the nodes (seed ${SEED})`, () => {
  let world: NodeWorld;
  beforeEach(() => {
    world = new NodeWorld(SEED);
  });
  afterEach(() => world.stop());

  const increment = async (node: WorldNode, counter: number, repeatAgeMs = 0): Promise<string> => {
    const request = { keyspace: '', key: Buffer.from('n'), delta: 1n, initial: 0n, ttlMs: 0, ack: 0 as const, opId: { clientId: CLIENT, counter, repeatAgeMs }, session: EMPTY, fence: undefined };
    try {
      const { value } = await callUnary(node.cache, 'increment', request, DEADLINE);
      return String(value);
    } catch (error) {
      if (!isAtollError(error)) throw error;
      return `${error.reason} ${error.metadata['cause'] ?? error.metadata['field'] ?? ''}`.trim();
    }
  };

  it('are answered as before, also by the next leader (R21)', async () => {
    const [a, b] = [await world.start('a'), await world.start('b')];
    await world.createKeyspace({}, [a, b]);
    expect([await increment(a, 1), await increment(a, 2), await increment(a, 1, 100)]).toEqual(['1', '2', '1']);
    await world.promote(b);
    await world.serving(b);
    expect([await increment(b, 2, 200), await increment(b, 1), await increment(b, 3)]).toEqual(['2', '1', '3']);
    expect(await b.text('n')).toBe('3');
  });

  it('of many entries have an op id each', async () => {
    const a = await world.start('a');
    await world.createKeyspace({}, [a]);
    const entries = ['k1', 'k2'].map((key) => ({ key: Buffer.from(key), value: Buffer.from('v'), ttlMs: 0, noExpiry: false }));
    const setMany = (repeatAgeMs: number) => callUnary(a.cache, 'setMany', { keyspace: '', entries, ack: 0 as const, opId: { clientId: CLIENT, counter: 1, repeatAgeMs }, session: EMPTY, fence: undefined }, DEADLINE);
    const first = await setMany(0);
    expect((await setMany(10)).results).toEqual(first.results);
  });

  it('are known to a replica that was filled by a full sync (R33)', async () => {
    const [a, b] = [await world.start('a', { env: { STORAGE_NODE_LOG_BYTES_MAX: '256KiB' } }), await world.start('b')];
    const spec = await world.createKeyspace({}, [a]);
    expect(await increment(a, 1)).toBe('1');
    for (let index = 0; index < 1200; index += 1) await a.set(`k${index}`, Buffer.alloc(1000));
    await world.addLearner(b, spec);
    await world.inSync(['a', 'b']);
    expect(await b.metric('atoll_installs_total')).toBe(1);
    await world.promote(b);
    await world.serving(b);
    expect([await increment(b, 1, 500), await increment(b, 2)]).toEqual(['1', '2']);
  });

  it('are in doubt when they are older than the window, and under the op id of another write refused', async () => {
    const a = await world.start('a', { env: { STORAGE_NODE_RESULTS_MAX: '16' } });
    await world.createKeyspace({}, [a]);
    for (let counter = 1; counter <= 20; counter += 1) await increment(a, counter);
    expect(await increment(a, 1, 10)).toBe('WRITE_IN_DOUBT RESULT_FORGOTTEN');
    expect(await increment(a, 20, 10)).toBe('20');
    const reused = { keyspace: '', key: Buffer.from('n'), expectedVersion: EMPTY, ack: 0 as const, opId: { clientId: CLIENT, counter: 20, repeatAgeMs: 0 }, session: EMPTY, fence: undefined };
    await expect(callUnary(a.cache, 'delete', reused, DEADLINE)).rejects.toMatchObject({ reason: 'INVALID_ARGUMENT', metadata: { field: 'op_id' } });
  });
});
