import { DeleteManyRequest, GetManyRequest, SetManyRequest, type GetRequest, type SetRequest } from '@atoll/contracts/atoll/v1/cache';
import type { AtollError } from '@atoll/core-errors';
import { callUnary } from '@atoll/platform-grpc';
import { encodeGetResponse, encodePosition, keyspaceTag, positionIn } from '@atoll/platform-wire';
import { toGetResults } from './handlers/many.ts';
import { createOperation } from './testing/operation.ts';
import { RouterWorld, type WorldOptions } from './testing/router-world.ts';
import { refuse, serve } from './testing/scripted-node.ts';

let world: RouterWorld;
afterEach(() => world.stop());
const start = async (options?: WorldOptions): Promise<void> => {
  world = await RouterWorld.start(options);
};
const b = (text: string): Buffer => Buffer.from(text);
const getMany = (keys: string[], fields: Partial<GetManyRequest> = {}) => callUnary(world.client, 'getMany', GetManyRequest.create({ keys: keys.map(b), ...fields }), { deadlineMs: 5000 });
const setMany = (entries: [string, string][], fields: Partial<SetManyRequest> = {}) =>
  callUnary(world.client, 'setMany', SetManyRequest.create({ entries: entries.map(([key, value]) => ({ key: b(key), value: b(value), ttlMs: 0, noExpiry: false })), ...fields }), { deadlineMs: 5000 });
const deleteMany = (keys: string[]) => callUnary(world.client, 'deleteMany', DeleteManyRequest.create({ keys: keys.map(b) }), { deadlineMs: 5000 });

describe('many keys', () => {
  it('are written, read and removed in the order asked, each with its own outcome', async () => {
    await start();
    const written = await setMany([['a', '1'], ['', 'x'], ['b', '2']]);
    expect(written.results.map(({ applied, error }) => error?.reason ?? applied)).toEqual([true, 'KEY_EMPTY', true]);
    const read = await getMany(['b', 'missing', 'a', 'a', 'k'.repeat(5000)]);
    expect(read.results.map(({ found, value, error }) => error?.reason ?? (found ? value.toString() : 'none'))).toEqual(['2', 'none', '1', '1', 'KEY_TOO_LARGE']);
    const removed = await deleteMany(['a', 'a', 'missing']);
    expect(removed.results.map(({ applied }) => applied)).toEqual([true, false, false]);
  });

  it('of all partitions go to their leaders, each in one batch', async () => {
    await start();
    for (let partition = 0; partition < 4; partition += 1) await world.lead(partition, partition % 2);
    await getMany(['warm', 'up']);
    const before = world.nodes.map((node) => node.batches.length);
    const keys = Array.from({ length: 200 }, (_, index) => `k${index}`);
    expect((await getMany(keys)).results).toHaveLength(200);
    expect(world.nodes.map((node, index) => node.batches.length - before[index]!)).toEqual([1, 1]);
  });

  it('take counters from the one op id given', async () => {
    await start();
    const clientId = b('12345678');
    await setMany([['a', '1'], ['b', '1'], ['c', '1']], { opId: { clientId, counter: 5, repeatAgeMs: 0 } });
    const counters = world.node(0).operations.map(({ kind }) => (kind as { value: SetRequest }).value.opId!.counter);
    expect(counters.toSorted((one, other) => one - other)).toEqual([5, 6, 7]);
  });

  it('fail one by one', async () => {
    await start({ script: (operation, node) => (operation.kind?.value.key.toString() === 'bad' ? refuse('MEMORY_EXHAUSTED') : serve(operation, node)) });
    const { results } = await setMany([['good', '1'], ['bad', '1']]);
    expect(results.map(({ applied, error }) => error?.reason ?? applied)).toEqual([true, 'MEMORY_EXHAUSTED']);
  });

  it('merge the sessions of all partitions', async () => {
    const tag = keyspaceTag('ks1');
    await start({
      script: (operation, node) => {
        const answer = serve(operation, node);
        if (answer.$case === 'get') answer.value.session = node.session('ks1', world.partitionOf((operation.kind as { value: GetRequest }).value.key.toString()), 9);
        return answer;
      },
    });
    const given = encodePosition(tag, { partition: 3, generation: 1, epoch: 1, seq: 20 });
    const { session } = await getMany([0, 1, 2, 3].map((partition) => world.keyIn(partition)), { session: given });
    expect([0, 1, 2, 3].map((partition) => positionIn(session, tag, partition)?.seq)).toEqual([9, 9, 9, 20]);
  });

  it.each<[string, () => Promise<unknown>, string]>([
    ['an unknown keyspace', () => getMany(['a'], { keyspace: 'nowhere' }), 'KEYSPACE_NOT_FOUND'],
    ['a malformed session', () => getMany(['a'], { session: b('nonsense') }), 'SESSION_MALFORMED'],
    ['BOUNDED without a bound', () => getMany(['a'], { consistency: 2 }), 'INVALID_ARGUMENT'],
    ['too many keys', () => getMany(Array.from({ length: 10_001 }, () => 'a')), 'INVALID_ARGUMENT'],
  ])('are refused as a whole for %s', async (_name, call, reason) => {
    await start();
    const failure = (await call().catch((error: unknown) => error)) as AtollError;
    expect(failure.reason).toBe(reason);
  });

});

describe('the answer to many keys', () => {
  it('leaves out what does not fit, key by key', () => {
    const found = (bytes: number) => {
      const operation = createOperation({ kind: 'get' });
      operation.resultBody = encodeGetResponse({ found: true, value: Buffer.alloc(bytes), version: Buffer.alloc(0), expiresAtMs: 0, session: Buffer.alloc(0) });
      return operation;
    };
    const results = toGetResults([found(60), found(50), found(40), found(1)], 100);
    expect(results.map(({ value, error }) => error?.reason ?? value.length)).toEqual([60, 'OVERLOADED', 40, 'OVERLOADED']);
  });
});
