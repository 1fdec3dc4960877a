import {
  DeleteRequest,
  GetRequest,
  IncrementRequest,
  SetRequest,
  TouchRequest,
  type GetResponse,
  type Operation,
} from '@atoll/contracts/atoll/v1/cache';
import { isAtollError, type AtollError } from '@atoll/core-errors';
import { eventually } from '@atoll/platform-etcd/testing';
import { callUnary } from '@atoll/platform-grpc';
import { encodePosition, keyspaceTag, mergeSessions, positionIn } from '@atoll/platform-wire';
import { createKeyspaceSpec } from '@atoll/core-membership';
import { RouterWorld, type WorldOptions } from './testing/router-world.ts';
import { refuse, serve } from './testing/scripted-node.ts';

let world: RouterWorld;
afterEach(() => world.stop());
const start = async (options?: WorldOptions): Promise<void> => {
  world = await RouterWorld.start(options);
};

const get = (key: string, fields: Partial<GetRequest> = {}, deadlineMs = 5000) =>
  callUnary(world.client, 'get', GetRequest.create({ key: Buffer.from(key), ...fields }), { deadlineMs });
const set = (key: string, value: string, fields: Partial<SetRequest> = {}, deadlineMs = 5000) =>
  callUnary(world.client, 'set', SetRequest.create({ key: Buffer.from(key), value: Buffer.from(value), ...fields }), { deadlineMs });
const failureOf = async (call: Promise<unknown>): Promise<AtollError> => {
  const error = await call.then(
    () => new Error('it succeeded'),
    (problem: unknown) => problem,
  );
  if (!isAtollError(error)) throw error;
  return error;
};
const text = ({ value }: Pick<GetResponse, 'value'>): string => value.toString();
/** The only operation that some node got last. */
const lastAt = (index: number): Operation => world.node(index).operations.at(-1)!;

describe('routing', () => {
  it('sends writes and STRONG reads to the leader', async () => {
    await start();
    expect((await set('a', '1')).applied).toBe(true);
    expect(text(await get('a'))).toBe('1');
    const increment = IncrementRequest.create({ key: Buffer.from('n'), delta: 5n });
    expect((await callUnary(world.client, 'increment', increment, { deadlineMs: 5000 })).value).toBe(5n);
    expect((await callUnary(world.client, 'touch', TouchRequest.create({ key: Buffer.from('a') }), { deadlineMs: 5000 })).found).toBe(true);
    expect((await callUnary(world.client, 'delete', DeleteRequest.create({ key: Buffer.from('a') }), { deadlineMs: 5000 })).applied).toBe(true);
    expect((await get('a')).found).toBe(false);
    expect(world.node(1).operations).toHaveLength(0);
  });

  it('sends reads that bear staleness to replicas of its own zone, and to others where there is none', async () => {
    await start({ nodes: 3, env: { ROUTER_ZONE: 'zc' } });
    for (let index = 0; index < 20; index += 1) await get(`k${index}`, { consistency: 3 });
    expect(world.nodes.map(({ operations }) => operations.length)).toEqual([0, 0, 20]);
    // A replica that is behind sends them to the leader.
    world.node(2).script = () => refuse('REPLICA_TOO_STALE');
    await get('k1', { consistency: 2, maxStalenessMs: 100 });
    expect(world.node(0).operations).toHaveLength(1);
    await world.stop();
    await start({ nodes: 3, env: { ROUTER_ZONE: 'elsewhere' } });
    for (let index = 0; index < 100; index += 1) await get(`k${index}`, { consistency: 3 });
    expect(world.nodes.every(({ operations }) => operations.length > 0)).toBe(true);
  });

  it('sends calls of one turn of the event loop in one batch', async () => {
    await start();
    await get('warm up');
    const before = world.node(0).batches.length;
    await Promise.all(Array.from({ length: 64 }, (_, index) => get(`k${index}`)));
    expect(world.node(0).batches.length - before).toBeLessThan(32);
  });

  it('spreads BOUNDED and EVENTUAL reads over in-sync nodes', async () => {
    await start({ nodes: 3 });
    await Promise.all(Array.from({ length: 60 }, (_, index) => get(`k${index}`, { consistency: index % 2 === 0 ? 3 : 2, maxStalenessMs: 1000 })));
    for (const node of world.nodes) expect(node.operations.length).toBeGreaterThan(0);
  });

  it.each(['REPLICA_TOO_STALE', 'REPLICA_NOT_READY'])('falls back to the leader on %s', async (reason) => {
    await start({ script: (operation, node) => (operation.deadlineMs > 0 && node !== world.node(0) ? refuse(reason) : serve(operation, node)) });
    await set('a', '1');
    for (let index = 0; index < 10; index += 1) expect(text(await get('a', { consistency: 3 }))).toBe('1');
    expect(world.node(1).operations.length).toBeGreaterThan(0);
  });

  it('follows the table to the next leader', async () => {
    await start();
    await set('a', '1');
    await world.lead(world.partitionOf('a'), 1);
    await eventually('the new leader is asked', async () => {
      await get('a');
      return world.node(1).operations.length > 0;
    });
    expect(text(await get('a'))).toBe('1');
  });

  it('does not believe a record of an older epoch (R13)', async () => {
    await start();
    const partition = world.partitionOf('a');
    await world.lead(partition, 1);
    await eventually('the new leader is asked', async () => {
      await get('a');
      return world.node(1).operations.length > 0;
    });
    await world.lead(partition, 0, { epoch: 1 as never });
    await world.lead((partition + 1) % 4, 1); // arrives behind it
    await eventually('the other change was seen', async () => {
      await get(world.keyIn((partition + 1) % 4));
      return world.node(1).operations.some(({ kind }) => kind?.value.key.toString() === world.keyIn((partition + 1) % 4));
    });
    const before = world.node(0).operations.length;
    await get('a');
    expect(world.node(0).operations).toHaveLength(before);
  });
});

describe('what a request gets on its way', () => {
  it('an op id, when the client gave none (R21), each another one', async () => {
    await start();
    await set('a', '1');
    await set('a', '2');
    const ids = world.node(0).operations.map(({ kind }) => (kind as { value: SetRequest }).value.opId!);
    expect(ids[0]!.clientId).toHaveLength(16);
    expect(ids[1]!.clientId).toEqual(ids[0]!.clientId);
    expect(ids[1]!.counter).toBe(ids[0]!.counter + 1);
    const opId = { clientId: Buffer.from('87654321'), counter: 9, repeatAgeMs: 0 };
    await set('a', '3', { opId });
    expect((lastAt(0).kind as { value: SetRequest }).value.opId).toEqual(opId);
  });

  it('the deadline that is left', async () => {
    await start();
    await get('a', {}, 2000);
    expect(lastAt(0).deadlineMs).toBeGreaterThan(1000);
    expect(lastAt(0).deadlineMs).toBeLessThanOrEqual(2000);
  });

  it('the trace context of a sampled caller, and of nobody else', async () => {
    await start();
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    await callUnary(world.client, 'get', GetRequest.create({ key: Buffer.from('a') }), { deadlineMs: 5000, traceparent });
    expect(lastAt(0).traceparent).toMatch(/^00-0af7651916cd43dd8448eb211c80319c-(?!b7ad6b7169203331)[0-9a-f]{16}-01$/);
    await get('a');
    expect(lastAt(0).traceparent).toBe('');
  });

  it('only the position of its partition in the session, and the answer merges into it', async () => {
    const tag = keyspaceTag('ks1');
    await start({
      script: (operation, node) => {
        const answer = serve(operation, node);
        if (answer.$case === 'get') answer.value.session = node.session('ks1', world.partitionOf('a'), 50);
        return answer;
      },
    });
    const partition = world.partitionOf('a');
    const here = encodePosition(tag, { partition, generation: 1, epoch: 1, seq: 40 });
    const elsewhere = encodePosition(tag, { partition: (partition + 1) % 4, generation: 1, epoch: 1, seq: 7 });
    const { session } = await get('a', { session: mergeSessions(here, elsewhere) });
    expect((lastAt(0).kind as { value: GetRequest }).value.session).toEqual(here);
    expect(positionIn(session, tag, partition)?.seq).toBe(50);
    expect(positionIn(session, tag, (partition + 1) % 4)?.seq).toBe(7);
  });

  it('(R35) STRONG, where the session has dropped the partition', async () => {
    await start();
    const tag = keyspaceTag('ks1');
    let full: Buffer = Buffer.alloc(0);
    for (let partition = 100; partition < 400; partition += 1) full = mergeSessions(full, encodePosition(tag, { partition, generation: 1, epoch: 1, seq: 1 }));
    for (let index = 0; index < 5; index += 1) await get('a', { consistency: 3, session: full });
    expect(world.node(1).operations).toHaveLength(0);
    const request = (lastAt(0).kind as { value: GetRequest }).value;
    expect(request.consistency).toBe(1);
    expect(request.session).toHaveLength(0);
  });
});

describe('what never reaches a partition', () => {
  it.each<[string, () => Promise<unknown>, string, string | undefined]>([
    ['an empty key', () => get(''), 'KEY_EMPTY', 'key'],
    ['a key of 4 KiB + 1', () => get('k'.repeat(4097)), 'KEY_TOO_LARGE', 'key'],
    ['a value over the limit', () => set('a', 'v'.repeat(1001)), 'VALUE_TOO_LARGE', 'value'],
    ['a negative ttl', () => set('a', '1', { ttlMs: -1 }), 'INVALID_ARGUMENT', 'ttl_ms'],
    ['an unknown keyspace', () => get('a', { keyspace: 'nowhere' }), 'KEYSPACE_NOT_FOUND', 'keyspace'],
    ['a malformed session', () => get('a', { session: Buffer.from('nonsense') }), 'SESSION_MALFORMED', 'session'],
    ['an unknown consistency', () => get('a', { consistency: 77 as never }), 'INVALID_ARGUMENT', 'consistency'],
  ])('%s', async (_name, call, reason, field) => {
    await start({ keyspace: { valueBytesMax: 1000 } });
    const failure = await failureOf(call());
    expect([failure.reason, failure.metadata['field']]).toEqual([reason, field]);
    expect(world.node(0).operations).toHaveLength(0);
  });

  it('serves a keyspace as soon as it is made, and no longer than it is there', async () => {
    await start();
    expect((await failureOf(get('a', { keyspace: 'second' }))).reason).toBe('KEYSPACE_NOT_FOUND');
    await world.putKeyspace(createKeyspaceSpec({ name: 'second', id: 'ks2', partitionCount: 1 }));
    await eventually('the keyspace is known', async () => (await failureOf(get('a', { keyspace: 'second' }, 200))).reason === 'PARTITION_UNAVAILABLE');
  });
});
