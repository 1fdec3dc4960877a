import { GetRequest, SetRequest } from '@atoll/contracts/atoll/v1/cache';
import { callUnary } from '@atoll/platform-grpc';
import { RouterWorld } from './testing/router-world.ts';

let world: RouterWorld;
afterEach(() => world.stop());

const get = (key: string) => callUnary(world.client, 'get', GetRequest.create({ key: Buffer.from(key) }), { deadlineMs: 5000 });
const set = (key: string, value: string) =>
  callUnary(world.client, 'set', SetRequest.create({ key: Buffer.from(key), value: Buffer.from(value) }), { deadlineMs: 5000 });

describe('unary', () => {
  it('sets and gets through Execute to the leader', async () => {
    world = await RouterWorld.start();
    expect((await set('a', '1')).applied).toBe(true);
    const response = await get('a');
    expect(response.value.toString()).toBe('1');
    expect(world.node(1).operations).toHaveLength(0);
  });

  it('sends calls of one turn in one batch', async () => {
    world = await RouterWorld.start();
    await get('warm up');
    const before = world.node(0).batches.length;
    await Promise.all(Array.from({ length: 64 }, (_, index) => get(`k${index}`)));
    expect(world.node(0).batches.length - before).toBeLessThan(32);
  });
});
