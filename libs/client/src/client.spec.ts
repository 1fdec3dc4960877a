import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { GetRequest, OpId, SetRequest } from '@atoll/contracts/atoll/v1/cache';
import { MIB } from '@atoll/core-runtime';
import { encodePosition, keyspaceTag, positionIn } from '@atoll/platform-wire';
import { createClient, type AtollClient } from './client.ts';
import { WriteInDoubt, isAtollError } from './errors.ts';
import { ScriptedRouter, refuse, serve } from './testing/scripted-router.ts';
import { toServiceError } from '@atoll/platform-grpc';
import { AtollError } from '@atoll/core-errors';
import type { ClientOptions } from './options.ts';

let routers: ScriptedRouter[];
let client: AtollClient;
afterEach(() => {
  client.close();
  for (const router of routers) router.stop();
});

async function start(options: Partial<ClientOptions> & { readonly count?: number } = {}): Promise<void> {
  const { count = 1, ...rest } = options;
  routers = await Promise.all(Array.from({ length: count }, () => ScriptedRouter.start()));
  client = createClient({ routers: routers.map(({ address }) => address), ...rest });
}
const reasonOf = async (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => 'OK',
    (error: unknown) => (isAtollError(error) ? error.reason : String(error)),
  );
const operations = () => routers.flatMap((router) => router.operations);
const nextTurn = () => new Promise((resolve) => void setImmediate(resolve));
async function eventually(condition: () => boolean): Promise<void> {
  const endsAtMs = performance.now() + 5000;
  while (!condition()) {
    if (performance.now() > endsAtMs) throw new Error('not within 5 s');
    await nextTurn();
  }
}

describe('calls', () => {
  it('cover the operations', async () => {
    await start();
    expect(await client.get('a')).toBeUndefined();
    expect((await client.set('a', '1')).applied).toBe(true);
    expect((await client.get(Buffer.from('a')))?.value.toString()).toBe('1');
    expect((await client.increment('n', 5n, { initial: 2 })).value).toBe(7n);
    expect(await client.touch('a', { ttlMs: 5 })).toMatchObject({ found: true, expiresAtMs: 77 });
    expect((await client.delete('a')).applied).toBe(true);
    expect((await client.setMany([{ key: 'x', value: '1' }, { key: '', value: '2' }])).map((outcome) => (outcome.ok ? outcome.value.applied : outcome.error.reason))).toEqual([true, 'KEY_EMPTY']);
    expect((await client.getMany(['x', 'y'])).map((outcome) => outcome.ok && outcome.value?.value.toString())).toEqual(['1', undefined]);
    expect((await client.deleteMany(['x', 'y'])).map((outcome) => outcome.ok && outcome.value.applied)).toEqual([true, false]);
  });

  it('of one turn leave in one message', async () => {
    await start();
    await client.get('warm up');
    await Promise.all(Array.from({ length: 100 }, (_, index) => client.get(`k${index}`)));
    expect(routers[0]!.batches.map((batch) => batch.length)).toEqual([1, 100]);
  });

  it('carry op ids that count up, the deadline and the trace context', async () => {
    await start({ deadlineMs: 3000, traceparent: () => '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' });
    await client.set('a', '1');
    await client.set('a', '2');
    const [first, second] = operations().map(({ kind }) => (kind as { value: SetRequest }).value.opId!);
    expect(second).toEqual({ clientId: first!.clientId, counter: first!.counter + 1, repeatAgeMs: 0 });
    expect(operations()[0]!.deadlineMs).toBeGreaterThan(2000);
    expect(operations()[0]!.deadlineMs).toBeLessThan(3000);
    expect(operations()[0]!.traceparent).toContain('0af7651916cd43dd8448eb211c80319c');
  });

  it('move values above 1 MiB in parts', async () => {
    await start();
    const value = Buffer.alloc(3 * MIB + 5, 'atoll');
    await client.set('big', value);
    expect(operations()[0]!.valueBytes).toBe(value.length);
    expect((await client.get('big'))?.value.equals(value)).toBe(true);
  });

  it('check their arguments before anything is sent', async () => {
    await start();
    expect(await reasonOf(client.get(''))).toBe('KEY_EMPTY');
    expect(await reasonOf(client.set('a', 'x', { ttlMs: -1 }))).toBe('INVALID_ARGUMENT');
    expect(await reasonOf(client.get('a', { consistency: 'BOUNDED' }))).toBe('INVALID_ARGUMENT');
    expect(await reasonOf(client.increment('a', 2 ** 60))).toBe('INVALID_ARGUMENT');
    expect(await reasonOf(client.increment('a', 2n ** 63n))).toBe('INVALID_ARGUMENT');
    expect(operations()).toHaveLength(0);
    expect(() => createClient({ routers: [] })).toThrow(/routers/);
  });

  it('merge what they see into their session', async () => {
    await start();
    const tag = keyspaceTag('ks');
    let seq = 0;
    routers[0]!.script = (operation, router) => {
      const answer = serve(operation, router);
      seq += 1;
      if (answer.$case === 'set') answer.value.session = encodePosition(tag, { partition: seq, generation: 1, epoch: 1, seq });
      return answer;
    };
    const session = client.session();
    await client.set('a', '1', { session });
    await client.set('b', '1', { session });
    expect([positionIn(session.token, tag, 1)?.seq, positionIn(session.token, tag, 2)?.seq]).toEqual([1, 2]);
    await client.get('a', { session });
    expect((operations()[2]!.kind as { value: GetRequest }).value.session).toEqual(session.token);
  });
});

describe('bounds (I10)', () => {
  it('lets so many operations be under way, and the rest wait for their turn', async () => {
    await start({ maxInFlight: 10 });
    routers[0]!.script = () => undefined;
    const calls = Array.from({ length: 25 }, (_, index) => client.get(`k${index}`));
    await eventually(() => operations().length === 10);
    await nextTurn();
    expect(operations()).toHaveLength(10);
    expect(client.pendingCount).toBe(25);
    routers[0]!.script = serve;
    routers[0]!.endStreams('INTERNAL');
    await Promise.all(calls);
  });

  it('refuses calls beyond the queue', async () => {
    await start({ maxInFlight: 1, maxQueued: 1 });
    const outcomes = await Promise.all([1, 2, 3].map((index) => reasonOf(client.get(`k${index}`))));
    expect(outcomes).toEqual(['OK', 'OK', 'OVERLOADED']);
  });
});

describe('failures', () => {
  it('come with their reason and facts, and a write in doubt as a class of its own', async () => {
    await start();
    routers[0]!.script = () => refuse('VALUE_NOT_INTEGER');
    expect(await client.increment('a').catch((error: unknown) => error)).toMatchObject({ reason: 'VALUE_NOT_INTEGER', metadata: { field: 'x' } });
    routers[0]!.script = () => refuse('WRITE_IN_DOUBT');
    expect(await client.set('a', '1').catch((error: unknown) => error)).toBeInstanceOf(WriteInDoubt);
    routers[0]!.script = () => refuse('FROM_THE_FUTURE');
    expect(await client.get('a').catch((error: unknown) => error)).toMatchObject({ reason: 'INTERNAL', metadata: { reason: 'FROM_THE_FUTURE' } });
  });

  it('at the deadline: a read fails, a write that was sent is in doubt', async () => {
    await start();
    routers[0]!.script = () => undefined;
    expect(await Promise.all([reasonOf(client.get('a', { deadlineMs: 100 })), reasonOf(client.set('a', '1', { deadlineMs: 100 }))])).toEqual(['DEADLINE_EXCEEDED', 'WRITE_IN_DOUBT']);
    expect(client.pendingCount).toBe(0);
  });

  it('at the signal: likewise, and nothing is sent after it', async () => {
    await start();
    routers[0]!.script = () => undefined;
    const abort = new AbortController();
    const calls = [reasonOf(client.get('a', { signal: abort.signal })), reasonOf(client.set('a', '1', { signal: abort.signal }))];
    await eventually(() => operations().length === 2);
    abort.abort();
    expect(await Promise.all(calls)).toEqual(['CANCELLED', 'WRITE_IN_DOUBT']);
    expect(await reasonOf(client.get('a', { signal: abort.signal }))).toBe('CANCELLED');
    const early = new AbortController();
    const call = reasonOf(client.set('b', '1', { signal: early.signal }));
    early.abort();
    expect(await call).toBe('CANCELLED');
    expect(operations()).toHaveLength(2);
  });

  it('when no router can be reached are plain, also for writes', async () => {
    await start();
    routers[0]!.stop();
    expect(await reasonOf(client.set('a', '1', { deadlineMs: 300 }))).toBe('PEER_UNAVAILABLE');
  });

  it('at close: what is under way ends', async () => {
    await start();
    routers[0]!.script = () => undefined;
    const calls = [reasonOf(client.get('a')), reasonOf(client.set('a', '1'))];
    await eventually(() => operations().length === 2);
    client.close();
    expect(await Promise.all(calls)).toEqual(['CANCELLED', 'WRITE_IN_DOUBT']);
    expect(await reasonOf(client.get('a'))).toBe('CANCELLED');
  });
});

/** Op ids of the sets that came, first sendings first. */
const opIds = (): OpId[] =>
  operations()
    .flatMap(({ kind }) => (kind?.$case === 'set' && kind.value.opId !== undefined ? [kind.value.opId] : []))
    .toSorted((one, other) => one.repeatAgeMs - other.repeatAgeMs);

describe('several routers', () => {
  it('a stream that breaks: reads go on at the next router, and writes under their op id with their age (R21)', async () => {
    await start({ count: 2 });
    for (const router of routers) router.script = () => undefined;
    const calls = [reasonOf(client.get('a')), reasonOf(client.set('a', '1'))];
    await eventually(() => operations().length === 2);
    for (const router of routers) router.script = serve;
    for (const router of routers) router.endStreams('INTERNAL');
    expect(await Promise.all(calls)).toEqual(['OK', 'OK']);
    expect(routers.every((router) => router.operations.length > 0)).toBe(true);
    const [first, second] = opIds();
    expect(second).toMatchObject({ clientId: first!.clientId, counter: first!.counter });
    expect([first!.repeatAgeMs, second!.repeatAgeMs > 0]).toEqual([0, true]);
  });

  it('each kind of write is sent again under its own op id', async () => {
    await start({ count: 2 });
    for (const router of routers) router.script = () => undefined;
    const calls = [client.set('a', '1'), client.delete('b'), client.increment('c'), client.touch('d', { ttlMs: 1000 })];
    await eventually(() => operations().length === 4);
    for (const router of routers) router.script = serve;
    for (const router of routers) router.endStreams('INTERNAL');
    await Promise.all(calls);
    const counters = operations().map(({ kind }) => (kind as { value: SetRequest }).value.opId!.counter);
    expect(counters.toSorted((one, other) => one - other)).toEqual([1, 1, 2, 2, 3, 3, 4, 4]);
  });

  it('a router that stops with a write at a node leaves it to the next one', async () => {
    await start({ count: 2 });
    let answers = 0;
    for (const router of routers) {
      router.script = (operation, self) => ((answers += 1) === 1 ? refuse('WRITE_IN_DOUBT', { cause: 'SHUTTING_DOWN' }) : serve(operation, self));
    }
    expect(await reasonOf(client.set('a', '1'))).toBe('OK');
    expect(answers).toBe(2);
  });

  it('a write whose repeat is refused is in doubt (R20)', async () => {
    await start({ count: 2 });
    for (const router of routers) router.script = () => undefined;
    const call = reasonOf(client.set('a', '1'));
    await eventually(() => operations().length === 1);
    for (const router of routers) router.script = () => refuse('MEMORY_EXHAUSTED');
    for (const router of routers) router.endStreams('INTERNAL');
    expect(await call).toBe('WRITE_IN_DOUBT');
  });

  it('a router that stops answers what it took: the rest goes on at the next, writes too', async () => {
    await start({ count: 2 });
    for (const router of routers) router.script = () => undefined;
    const call = reasonOf(client.set('a', '1'));
    await eventually(() => operations().length === 1);
    for (const router of routers) router.script = serve;
    for (const router of routers) router.endStreams('SHUTTING_DOWN');
    expect(await call).toBe('OK');
  });

  it('a router that waits for etcd is passed over', async () => {
    await start({ count: 2 });
    routers[0]!.script = () => refuse('METADATA_UNAVAILABLE');
    for (let index = 0; index < 5; index += 1) expect(await reasonOf(client.set(`k${index}`, '1'))).toBe('OK');
  });

  it('one that is down is passed over', async () => {
    await start({ count: 2 });
    routers[0]!.stop();
    for (let index = 0; index < 5; index += 1) expect(await reasonOf(client.set(`k${index}`, '1'))).toBe('OK');
  });
});

describe('scan', () => {
  const entry = (key: string) => ({ key: Buffer.from(key), value: Buffer.alloc(0), version: Buffer.alloc(0), expiresAtMs: 0 });

  it('goes on at the next router from the last cursor', async () => {
    await start({ count: 2 });
    for (const router of routers) {
      router.scanScript = ({ cursor }) =>
        cursor.length === 0
          ? [{ entries: [entry('a'), entry('b')], cursor: Buffer.from('1') }, toServiceError(new AtollError('SHUTTING_DOWN', 'bye'))]
          : [{ entries: [entry('c')], cursor: Buffer.alloc(0) }];
    }
    const keys: string[] = [];
    for await (const { key } of client.scan({ prefix: 'p', keysOnly: true })) keys.push(key.toString());
    expect(keys).toEqual(['a', 'b', 'c']);
    expect(routers.map((router) => router.scans.length)).toEqual([1, 1]);
  });

  it('ends when the loop is left, and fails with what is refused', async () => {
    await start();
    routers[0]!.scanScript = () => [{ entries: [entry('a'), entry('b')], cursor: Buffer.from('1') }, { entries: [], cursor: Buffer.alloc(0) }];
    const keys: string[] = [];
    for await (const { key } of client.scan()) {
      keys.push(key.toString());
      break;
    }
    expect(keys).toEqual(['a']);
    routers[0]!.scanScript = () => [toServiceError(new AtollError('KEYSPACE_NOT_FOUND', 'no'))];
    expect(await reasonOf(client.scan().next())).toBe('KEYSPACE_NOT_FOUND');
  });
});

describe('close', () => {
  it('leaves nothing behind that keeps the process alive', async () => {
    await start();
    const program = `
      import { createClient } from ${JSON.stringify(new URL('./index.ts', import.meta.url).href)};
      const client = createClient({ routers: [${JSON.stringify(routers[0]!.address)}] });
      await client.set('a', '1');
      client.close();`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: 'inherit' });
    const [code] = (await once(child, 'exit')) as [number];
    expect(code).toBe(0);
  });
});
