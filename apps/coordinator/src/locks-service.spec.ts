import { credentials } from '@grpc/grpc-js';
import { LockMode, LockScope, LocksClient, type AcquireRequest } from '@atoll/contracts/atoll/v1/locks';
import { isAtollError, type AtollError } from '@atoll/core-errors';
import { createKeyspaceSpec } from '@atoll/core-membership';
import { encodeKeyspaceSpec, keyspaceKey } from '@atoll/platform-etcd';
import { InMemoryEtcd, InMemoryMetadataStore, eventually } from '@atoll/platform-etcd/testing';
import { callUnary } from '@atoll/platform-grpc';
import { runCoordinator as startCoordinator } from './testing/run-coordinator.ts';

const SEED = 20_260_302;
const DEADLINE = { deadlineMs: 30_000 };
const NAME = { name: 'nightly' };

let etcd: InMemoryEtcd;
let stops: (() => Promise<void>)[];
let clients: LocksClient[];

async function runCoordinator(id: string): Promise<{ readonly locks: LocksClient; stop(): Promise<void> }> {
  const running = await startCoordinator({ id, store: new InMemoryMetadataStore({ etcd }), seed: SEED + clients.length });
  const locks = new LocksClient(running.address, credentials.createInsecure());
  clients.push(locks);
  const stop = async (): Promise<void> => {
    await running.stop();
    locks.close();
  };
  stops.push(stop);
  await eventually('it has read etcd', () => running.coordinator.readiness().ready);
  return { locks, stop };
}

const request = (fields: Omit<Partial<AcquireRequest>, 'scope'> & { scope?: Partial<LockScope> } = {}): AcquireRequest => ({
  mode: LockMode.LOCK_MODE_UNSPECIFIED,
  ttlMs: 0,
  waitMs: 0,
  requestId: '',
  owner: '',
  ...fields,
  scope: LockScope.create(fields.scope ?? NAME),
});

async function failureOf(call: Promise<unknown>): Promise<AtollError> {
  try {
    await call;
  } catch (error) {
    if (isAtollError(error)) return error;
    throw error;
  }
  throw new Error('the call succeeded');
}

describe(`the service Locks (seed ${SEED})`, () => {
  beforeEach(() => {
    etcd = new InMemoryEtcd();
    etcd.transact([], [{ kind: 'put', key: keyspaceKey('default'), value: encodeKeyspaceSpec(createKeyspaceSpec({ name: 'default', id: 'an-id' })) }]);
    stops = [];
    clients = [];
  });
  afterEach(async () => {
    for (const stop of stops.reverse()) await stop();
  });

  it('is served by every coordinator, elected or not: one grants, another shows, renews and releases (R38)', async () => {
    const [a, b] = [await runCoordinator('c1'), await runCoordinator('c2')];
    const lock = await callUnary(a.locks, 'acquire', request({ owner: 'job 7' }), DEADLINE);
    expect(lock).toMatchObject({ ttlMs: 10_000, requestId: expect.stringMatching(/^[0-9a-f]{32}$/) });
    const held = await failureOf(callUnary(b.locks, 'acquire', request(), DEADLINE));
    expect(held).toMatchObject({ reason: 'LOCK_HELD', metadata: { holder: 'job 7' } });
    const waiting = callUnary(b.locks, 'acquire', request({ waitMs: 5000, owner: 'job 8' }), DEADLINE);
    const listed = await eventually('the next one waits', async () => {
      const { requests } = await callUnary(b.locks, 'listLocks', { name: 'nightly', keyspace: '' }, DEADLINE);
      return requests.length === 2 ? requests : undefined;
    });
    expect(listed.map(({ owner, held: isHeld, waitsFor }) => [owner, isHeld, waitsFor])).toEqual([
      ['job 7', true, ''],
      ['job 8', false, lock.requestId],
    ]);
    expect(await callUnary(b.locks, 'renew', { scope: LockScope.create(NAME), requestId: lock.requestId }, DEADLINE)).toEqual({ ttlMs: 10_000 });
    expect(await callUnary(b.locks, 'release', { scope: LockScope.create(NAME), requestId: lock.requestId }, DEADLINE)).toEqual({ released: true });
    expect((await waiting).fencingToken).toBeGreaterThan(lock.fencingToken);
    expect(await callUnary(a.locks, 'release', { scope: LockScope.create(NAME), requestId: lock.requestId }, DEADLINE)).toEqual({ released: false });
  });

  it('locks ranges of a keyspace that exists', async () => {
    const { locks } = await runCoordinator('c1');
    const half = 1n << 63n;
    const lower = await callUnary(locks, 'acquire', request({ scope: { rangeEnd: half } }), DEADLINE);
    await callUnary(locks, 'acquire', request({ scope: { keyspace: 'default', rangeStart: half } }), DEADLINE);
    expect((await failureOf(callUnary(locks, 'acquire', request({ scope: { rangeStart: half - 1n, rangeEnd: half + 1n } }), DEADLINE))).metadata['holder_request']).toBe(lower.requestId);
    expect((await failureOf(callUnary(locks, 'acquire', request({ scope: { keyspace: 'missing' } }), DEADLINE))).reason).toBe('KEYSPACE_NOT_FOUND');
    expect((await callUnary(locks, 'listLocks', { name: '', keyspace: 'default' }, DEADLINE)).requests).toHaveLength(2);
    expect((await callUnary(locks, 'listLocks', { name: 'nightly', keyspace: '' }, DEADLINE)).requests).toHaveLength(0);
  });

  it('lets a coordinator stop while requests wait, and their places stay', async () => {
    const [a, b] = [await runCoordinator('c1'), await runCoordinator('c2')];
    const lock = await callUnary(b.locks, 'acquire', request(), DEADLINE);
    const repeated = request({ waitMs: 8000, ttlMs: 10_000, requestId: 'chosen-by-me' });
    const waiting = failureOf(callUnary(a.locks, 'acquire', repeated, DEADLINE));
    await eventually('it waits', () => etcd.list('locks/').length === 2);
    await a.stop();
    expect((await waiting).reason).toBe('SHUTTING_DOWN');
    expect(etcd.list('locks/')).toHaveLength(2);
    const again = callUnary(b.locks, 'acquire', repeated, DEADLINE);
    await callUnary(b.locks, 'release', { scope: LockScope.create(NAME), requestId: lock.requestId }, DEADLINE);
    expect((await again).requestId).toBe('chosen-by-me');
  });

  it('answers a caller whose deadline comes before the end of its wait in time, and its request is gone', async () => {
    const { locks } = await runCoordinator('c1');
    await callUnary(locks, 'acquire', request(), DEADLINE);
    const failure = await failureOf(callUnary(locks, 'acquire', request({ waitMs: 9000 }), { deadlineMs: 300 }));
    expect(failure.reason).toBe('LOCK_HELD');
    expect(etcd.list('locks/')).toHaveLength(1);
  });

  it.each([
    ['scope.range_end', request({ scope: { rangeStart: 5n, rangeEnd: 4n } })],
    ['scope', request({ scope: { name: 'n', keyspace: 'default' } })],
    ['mode', request({ mode: 7 as never })],
    ['ttl_ms', request({ ttlMs: 1000 })],
    ['wait_ms', request({ waitMs: 10_001 })],
    ['request_id', request({ requestId: 'no/slash' })],
    ['owner', request({ owner: 'o'.repeat(300) })],
  ])('refuses bad input and names the field: %s', async (field, bad) => {
    const { locks } = await runCoordinator('c1');
    expect(await failureOf(callUnary(locks, 'acquire', bad, { deadlineMs: 30_000 }))).toMatchObject({ reason: 'INVALID_ARGUMENT', metadata: { field } });
  });
});
