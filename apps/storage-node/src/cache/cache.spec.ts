import { Ack, Condition, Consistency } from '@atoll/contracts/atoll/v1/cache';
import { MIB } from '@atoll/core-runtime';
import { callServerStream, callUnary } from '@atoll/platform-grpc';
import { eventually } from '@atoll/platform-etcd/testing';
import { ExecuteCaller, type OperationKind } from '../testing/execute-caller.ts';
import { DEADLINE, NodeWorld, failureOf, getRequest, setRequest, type WorldNode } from '../testing/node-world.ts';

const SEED = 20_261_001;
const EMPTY: Buffer = Buffer.alloc(0);

describe(`Cache on one node and a second one beside it (seed ${SEED})`, () => {
  let world: NodeWorld;
  let a: WorldNode;
  let b: WorldNode;

  beforeAll(async () => {
    world = new NodeWorld(SEED);
    a = await world.start('a');
    b = await world.start('b');
    await world.createKeyspace({}, [a, b]);
  });

  // A large message of the story before may have kept beats from being answered until a lease lapsed.
  beforeEach(() => world.serving(a));

  afterAll(() => world.stop());

  const increment = (key: string, delta: bigint, node = a) =>
    callUnary(node.cache, 'increment', { keyspace: '', key: Buffer.from(key), delta, initial: 10n, ttlMs: 0, ack: 0, opId: undefined, session: EMPTY }, DEADLINE);
  const remove = (key: string, expectedVersion = EMPTY) =>
    callUnary(a.cache, 'delete', { keyspace: '', key: Buffer.from(key), expectedVersion, ack: 0, opId: undefined, session: EMPTY }, DEADLINE);
  const touch = (key: string, changes: { ttlMs: number; noExpiry: boolean }) =>
    callUnary(a.cache, 'touch', { keyspace: '', key: Buffer.from(key), ...changes, ack: 0, opId: undefined, session: EMPTY }, DEADLINE);

  it('sets, reads, replaces under conditions and deletes', async () => {
    expect(await a.text('k')).toBeUndefined();
    const first = await a.set('k', 'one', { condition: Condition.CONDITION_IF_ABSENT });
    expect(first.applied).toBe(true);
    expect((await a.set('k', 'two', { condition: Condition.CONDITION_IF_ABSENT })).applied).toBe(false);
    expect((await a.set('k', 'three', { condition: Condition.CONDITION_IF_VERSION, expectedVersion: first.version })).applied).toBe(true);
    expect((await a.set('k', 'four', { condition: Condition.CONDITION_IF_VERSION, expectedVersion: first.version })).applied).toBe(false);
    expect(await a.text('k')).toBe('three');
    expect((await remove('k', first.version)).applied).toBe(false);
    expect((await remove('k')).applied).toBe(true);
    expect((await remove('k')).applied).toBe(false);
    expect((await a.set('k', 'five', { condition: Condition.CONDITION_IF_PRESENT })).applied).toBe(false);
  });

  it('increments from the initial value and refuses what is no integer', async () => {
    expect((await increment('counter', 5n)).value).toBe(15n);
    expect((await increment('counter', -20n)).value).toBe(-5n);
    await a.set('word', 'seven');
    expect((await failureOf(increment('word', 1n))).reason).toBe('VALUE_NOT_INTEGER');
  });

  it('touches the expiry alone, and hides what is expired', async () => {
    await a.set('t', 'v', { ttlMs: 60_000 });
    const before = await a.get('t');
    expect(before.expiresAtMs).toBeGreaterThan(Date.now() + 50_000);
    expect(await touch('t', { ttlMs: 0, noExpiry: true })).toMatchObject({ found: true, expiresAtMs: 0 });
    expect(await touch('t', { ttlMs: 1, noExpiry: false })).toMatchObject({ found: true });
    await eventually('expired', async () => (await a.text('t')) === undefined);
    expect(await touch('t', { ttlMs: 0, noExpiry: true })).toMatchObject({ found: false });
  });

  it.each([
    ['an empty key', () => a.set('', 'v'), 'KEY_EMPTY'],
    ['a key of 4 KiB + 1', () => a.set('x'.repeat(4097), 'v'), 'KEY_TOO_LARGE'],
    ['a negative ttl', () => a.set('k', 'v', { ttlMs: -1 }), 'INVALID_ARGUMENT'],
    ['an unknown keyspace', () => a.get('k', { keyspace: 'nowhere' }), 'KEYSPACE_NOT_FOUND'],
    ['a malformed session', () => a.get('k', { session: Buffer.from('nonsense') }), 'SESSION_MALFORMED'],
    ['IF_VERSION without one', () => a.set('k', 'v', { condition: Condition.CONDITION_IF_VERSION }), 'INVALID_ARGUMENT'],
  ])('refuses %s', async (_, call, reason) => {
    expect((await failureOf(call())).reason).toBe(reason);
  });

  it('names the leader to whom a write or a STRONG read should go', async () => {
    for (const call of [b.set('k', 'v'), b.get('k')]) {
      const error = await failureOf(call);
      expect(error.reason).toBe('NOT_LEADER');
      expect(error.metadata).toMatchObject({ leader: 'a', partition: '0', epoch: '1' });
      expect(error.metadata?.['leader_address']).toMatch(/^127\.0\.0\.1:\d+$/);
    }
  });

  it('answers a batch of keys one by one', async () => {
    const entry = (key: string) => ({ key: Buffer.from(key), value: Buffer.from(`${key}!`), ttlMs: 0, noExpiry: false });
    const set = await callUnary(a.cache, 'setMany', { keyspace: '', entries: [entry('m1'), entry(''), entry('m2')], ack: 0, opId: undefined, session: EMPTY }, DEADLINE);
    expect(set.results.map(({ applied, error }) => error?.reason ?? applied)).toEqual([true, 'KEY_EMPTY', true]);
    const keys = ['m1', 'absent', 'm2'].map((key) => Buffer.from(key));
    const got = await callUnary(a.cache, 'getMany', { keyspace: '', keys, consistency: 0, maxStalenessMs: 0, session: set.session }, DEADLINE);
    expect(got.results.map(({ found, value }) => found && value.toString())).toEqual(['m1!', false, 'm2!']);
    const deleted = await callUnary(a.cache, 'deleteMany', { keyspace: '', keys, ack: 0, opId: undefined, session: EMPTY }, DEADLINE);
    expect(deleted.results.map(({ applied }) => applied)).toEqual([true, false, true]);
  });

  it('a GetMany whose values no message can hold says which are left out', async () => {
    await a.set('seven', Buffer.alloc(7 * MIB));
    const keys = Array.from({ length: 10 }, () => Buffer.from('seven'));
    const got = await callUnary(a.cache, 'getMany', { keyspace: '', keys, consistency: 0, maxStalenessMs: 0, session: EMPTY }, DEADLINE);
    expect(got.results.map(({ found, error }) => error?.reason ?? found)).toEqual([...Array.from({ length: 9 }, () => true), 'OVERLOADED']);
  });

  it('scans in key-hash order by prefix, and a limit with a prefix gives no more than that', async () => {
    await world.createKeyspace({ name: 'scanned' }, [a, b]);
    for (let index = 0; index < 40; index += 1) await a.set(`${index % 2 === 0 ? 'even' : 'odd'}-${index}`, 'v', { keyspace: 'scanned' });
    const scan = async (changes: { limit?: number; cursor?: Buffer; batchEntries?: number }) => {
      const keys: string[] = [];
      let cursor = EMPTY;
      const request = { keyspace: 'scanned', prefix: Buffer.from('even'), cursor: EMPTY, batchEntries: 0, keysOnly: true, consistency: Consistency.CONSISTENCY_STRONG, maxStalenessMs: 0, limit: 0, partition: 0, session: EMPTY, ...changes };
      for await (const response of callServerStream(a.cache, 'scan', request, {})) {
        expect(response.entries.length).toBeLessThanOrEqual(request.batchEntries || 1000);
        keys.push(...response.entries.map((each) => each.key.toString()));
        cursor = response.cursor;
      }
      return { keys, cursor };
    };
    const whole = await scan({ batchEntries: 3 });
    expect(whole.keys).toHaveLength(20);
    expect(whole.cursor).toHaveLength(0);
    const first = await scan({ limit: 7 });
    expect(first.keys).toEqual(whole.keys.slice(0, 7));
    const rest = await scan({ cursor: first.cursor });
    expect(rest.keys).toEqual(whole.keys.slice(7));
    await world.promote(b, { keyspace: 'scanned' });
    await world.serving(b, 'scanned');
    const moved: string[] = [];
    const request = { keyspace: 'scanned', prefix: EMPTY, cursor: first.cursor, batchEntries: 0, keysOnly: true, consistency: Consistency.CONSISTENCY_STRONG, maxStalenessMs: 0, limit: 0, partition: 0, session: EMPTY };
    for await (const response of callServerStream(b.cache, 'scan', request, {})) moved.push(...response.entries.map((each) => each.key.toString()));
    expect(moved.filter((key) => key.startsWith('even'))).toEqual(whole.keys.slice(7));
    const malformed = { ...request, cursor: Buffer.from('nonsense') };
    expect((await failureOf(callServerStream(b.cache, 'scan', malformed, {}).next())).reason).toBe('CURSOR_MALFORMED');
  });

  describe('Execute', () => {
    it('keeps the order of 10,000 operations on a few keys (R26)', async () => {
      const caller = new ExecuteCaller(a.cache);
      const kinds = Array.from({ length: 10_000 }, (_, index): OperationKind => {
        const key = `ordered-${index % 7}`;
        if (index % 3 === 2) return { $case: 'get', value: getRequest(key) };
        return { $case: 'set', value: setRequest(key, String(index)) };
      });
      const results = await caller.send(kinds);
      // A read shows the write before it on the stream, or a later one; writes take effect in their order.
      const written = new Map<number, number>();
      const seqs = new Map<number, string>();
      const isInOrder = results.every(({ kind, value }, index) => {
        const key = index % 7;
        if (index % 3 === 2) return kind.$case === 'get' && Number(value.toString()) >= (written.get(key) ?? 0);
        const version = kind.$case === 'set' ? kind.value.version.toString('hex') : '';
        const isLater = version > (seqs.get(key) ?? '');
        written.set(key, index);
        seqs.set(key, version);
        return isLater;
      });
      expect(isInOrder).toBe(true);
      for (const [key, index] of written) expect(await a.text(`ordered-${key}`)).toBe(String(index));
      caller.stream.end();
      expect(await caller.ended).toBeUndefined();
    });

    it('takes and gives values above 1 MiB in parts', async () => {
      const caller = new ExecuteCaller(a.cache);
      const value = Buffer.alloc(5 * MIB + 3, 'abcdefg');
      expect((await caller.setInParts(setRequest('large', value))).kind.$case).toBe('set');
      expect((await caller.get(getRequest('large'))).value.equals(value)).toBe(true);
      expect((await a.get('large')).value.equals(value)).toBe(true);
      await world.equalDigests([a, b]);
      caller.stream.end();
      expect(await caller.ended).toBeUndefined();
    });

    it('answers what it can of a client that ends with parts missing', async () => {
      const caller = new ExecuteCaller(a.cache);
      const set: OperationKind = { $case: 'set', value: setRequest('part', EMPTY) };
      caller.stream.write({ operations: [{ id: 900, deadlineMs: 0, traceparent: '', valueBytes: 2 * MIB, kind: set }], parts: [{ id: 900, data: Buffer.alloc(MIB) }] });
      const [result] = await caller.send([{ $case: 'get', value: getRequest('part') }]);
      expect(result!.kind.$case).toBe('get');
      caller.stream.end();
      expect(await caller.ended).toBeUndefined();
      expect(await a.text('part')).toBeUndefined();
    });

    it('announced values cost nothing until they come, and a second one under the same id ends the stream', async () => {
      const caller = new ExecuteCaller(a.cache);
      const set: OperationKind = { $case: 'set', value: setRequest('announced', EMPTY) };
      const announced = Array.from({ length: 2000 }, (_, index) => ({ id: 10_000 + index, deadlineMs: 0, traceparent: '', valueBytes: 64 * MIB, kind: set }));
      const before = process.memoryUsage().arrayBuffers;
      caller.stream.write({ operations: announced, parts: [] });
      await caller.get(getRequest('announced'));
      expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(256 * MIB);
      caller.stream.write({ operations: announced.slice(0, 1), parts: [] });
      expect((await caller.ended)?.reason).toBe('INVALID_ARGUMENT');
    });

    it.each([
      ['more than 10,000 operations in one message', Array.from({ length: 10_001 }, (_, id) => ({ id, deadlineMs: 0, traceparent: '', valueBytes: 0, kind: undefined }))],
    ])('refuses %s', async (_, operations) => {
      const caller = new ExecuteCaller(a.cache);
      caller.stream.write({ operations, parts: [] });
      expect((await caller.ended)?.reason).toBe('INVALID_ARGUMENT');
    });

    it('refuses bytes that are no operation with INVALID_ARGUMENT, and executes nothing of that message', async () => {
      const stream = a.cache.makeBidiStreamRequest<Buffer, Buffer>('/atoll.v1.Cache/Execute', (bytes) => bytes, (bytes) => bytes);
      const ended = new Promise<number>((resolve) => stream.on('error', (error: Error & { code: number }) => resolve(error.code)));
      stream.resume();
      stream.write(Buffer.from([10, 200, 1, 1]));
      expect(await ended).toBe(3);
    });

    it('fails what cannot be: an unknown kind, parts of a get, too many bytes', async () => {
      const caller = new ExecuteCaller(a.cache);
      const errors: string[] = [];
      caller.stream.on('data', (response: { results: { kind?: { $case: string; value: unknown } }[] }) => {
        for (const { kind } of response.results) if (kind?.$case === 'error') errors.push((kind.value as { reason: string }).reason);
      });
      const base = { deadlineMs: 0, traceparent: '', valueBytes: 0 };
      const get: OperationKind = { $case: 'get', value: getRequest('k') };
      const set: OperationKind = { $case: 'set', value: setRequest('k', EMPTY) };
      caller.stream.write({ operations: [{ ...base, id: 1, kind: undefined }], parts: [] });
      caller.stream.write({ operations: [{ ...base, id: 2, valueBytes: 10, kind: get }], parts: [] });
      caller.stream.write({ operations: [{ ...base, id: 3, valueBytes: 65 * MIB, kind: set }], parts: [] });
      caller.stream.write({ operations: [{ ...base, id: 4, valueBytes: 3, kind: set }], parts: [{ id: 4, data: Buffer.from('four') }] });
      await eventually('four errors', () => errors.length === 4);
      expect(errors).toEqual(Array.from({ length: 4 }, () => 'INVALID_ARGUMENT'));
      caller.stream.end();
      expect(await caller.ended).toBeUndefined();
    });

    it('leaves nothing behind of a client that vanishes in the middle', async () => {
      const caller = new ExecuteCaller(a.cache);
      await caller.get(getRequest('any'));
      await eventually('the streams before this one have ended', async () => (await a.openStreams('Cache/Execute')) === 1);
      for (let round = 0; round < 20; round += 1) void caller.send(Array.from({ length: 200 }, (_, index): OperationKind => ({ $case: 'set', value: setRequest(`gone-${index}`, 'v', { ack: Ack.ACK_IN_SYNC }) })));
      caller.stream.cancel();
      await caller.ended;
      await eventually('no write waits', async () => (await a.metric('atoll_uncommitted_writes', 'keyspace="default"')) === 0);
      expect(await eventually('no stream is open', async () => (await a.openStreams('Cache/Execute')) === 0)).toBe(true);
      await a.set('after', 'v');
      await world.equalDigests([a, b]);
    });
  });
});
