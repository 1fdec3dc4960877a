import { WatchRequest, WatchResponse } from '@atoll/contracts/atoll/v1/cache';
import { AtollError, isAtollError } from '@atoll/core-errors';
import { eventually } from '@atoll/platform-etcd/testing';
import { callServerStream, toServiceError } from '@atoll/platform-grpc';
import { decodeWatchPosition, encodeWatchPosition, watchTag } from '@atoll/platform-wire';
import { RouterWorld, type WorldOptions } from './testing/router-world.ts';
import type { ScriptedNode, ScriptedWatch } from './testing/scripted-node.ts';

const KEYSPACE = { tag: watchTag('ks1'), partitionCount: 4 };
let world: RouterWorld;
const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
  await world.stop();
});

const startWorld = async (options: WorldOptions = {}): Promise<void> => {
  world = await RouterWorld.start(options);
};
const at = (partition: number, seq: number): Buffer => encodeWatchPosition(KEYSPACE.tag, { partition, version: { generation: 1, epoch: 1, seq } });
const event = (partition: number, seq: number) => WatchResponse.create({ events: [{ kind: 1, partition, key: Buffer.from(`p${partition}-${seq}`) }], positions: [at(partition, seq)] });
const seqs = (positions: readonly Buffer[]): Record<number, number> => Object.fromEntries(positions.map((bytes) => decodeWatchPosition(bytes, KEYSPACE)).map(({ partition, version }) => [partition, version.seq]));

/** A client's watch through the router. */
function watch(fields: Partial<WatchRequest> = {}) {
  const abort = new AbortController();
  const watcher = { responses: [] as WatchResponse[], failure: undefined as AtollError | undefined, keys: () => watcher.responses.flatMap(({ events }) => events.map(({ key }) => key.toString())) };
  const done = (async () => {
    try {
      for await (const response of callServerStream(world.client, 'watch', WatchRequest.create(fields), { signal: abort.signal })) watcher.responses.push(response);
    } catch (error) {
      if (!abort.signal.aborted && isAtollError(error)) watcher.failure = error;
    }
  })();
  closers.push(async () => {
    abort.abort();
    await done;
  });
  return watcher;
}

/** The one watch that is open at a node, for these partitions. */
const opened = (node: ScriptedNode, partitions: readonly number[]): Promise<ScriptedWatch> =>
  eventually(`a watch of ${partitions.join()}`, () => {
    const [only, ...others] = node.openWatches;
    return others.length === 0 && only?.request.partitions.join() === partitions.join() ? only : undefined;
  });

describe('watch through a router', () => {
  it('opens one stream per leading node and merges them', async () => {
    await startWorld();
    await world.lead(3, 1);
    const watcher = watch({ prefix: Buffer.from('p'), keysOnly: true, progressMs: 60_000 });
    const [a, b] = [await opened(world.node(0), [0, 1, 2]), await opened(world.node(1), [3])];
    expect(a.request).toMatchObject({ keysOnly: true, progressMs: 60_000, positions: [] });
    expect(b.request.prefix.toString()).toBe('p');
    a.call.write(event(0, 1));
    b.call.write(event(3, 1));
    a.call.write(event(0, 2));
    await eventually('all events', () => watcher.keys().length === 3);
    expect(watcher.keys().filter((key) => key.startsWith('p0'))).toEqual(['p0-1', 'p0-2']);
    expect(seqs(watcher.responses.flatMap(({ positions }) => positions))).toEqual({ 0: 2, 3: 1 });
  });

  it('tells once when every partition has its place', async () => {
    await startWorld();
    const watcher = watch({ partitions: [0, 1], progressMs: 60_000 });
    const { call } = await opened(world.node(0), [0, 1]);
    call.write(WatchResponse.create({ positions: [at(0, 1)] }));
    call.write(event(1, 2));
    call.write(event(1, 3));
    await eventually('all of it', () => watcher.responses.length === 3);
    expect(watcher.responses.map(({ placed }) => placed)).toEqual([false, true, false]);
    const resumed = watch({ partitions: [0], positions: [at(0, 1)], progressMs: 60_000 });
    await eventually('told at once', () => resumed.responses[0]?.placed);
  });

  it('goes on at the next leader behind what the client was given, and takes nothing more from the last one', async () => {
    await startWorld();
    const watcher = watch({ progressMs: 60_000 });
    const before = await opened(world.node(0), [0, 1, 2, 3]);
    before.call.write(event(0, 1));
    before.call.write(event(1, 1));
    await eventually('both events', () => watcher.keys().length === 2);
    await world.lead(0, 1);
    const [a, b] = [await opened(world.node(0), [1, 2, 3]), await opened(world.node(1), [0])];
    expect([seqs(a.request.positions), seqs(b.request.positions)]).toEqual([{ 1: 1 }, { 0: 1 }]);
    before.call.write(event(0, 2));
    b.call.write(event(0, 3));
    await eventually('the next event', () => watcher.keys().length >= 3);
    expect(watcher.keys()).toEqual(['p0-1', 'p1-1', 'p0-3']);
  });

  const another = (...known: readonly ScriptedWatch[]): Promise<ScriptedWatch> => eventually('another stream', () => world.node(0).openWatches.find((each) => !known.includes(each) && each.request.partitions.length === 4));

  it('goes on where it was when a node breaks off, and when one is silent', async () => {
    await startWorld();
    const watcher = watch({ progressMs: 100 });
    const first = await opened(world.node(0), [0, 1, 2, 3]);
    first.call.write(event(2, 7));
    await eventually('the event', () => watcher.keys().length === 1);
    first.call.emit('error', { code: 14, details: 'scripted break' });
    const second = await another(first);
    expect(seqs(second.request.positions)).toEqual({ 2: 7 });
    // It says nothing at all: five intervals later it counts as dead.
    const third = await another(first, second);
    expect(seqs(third.request.positions)).toEqual({ 2: 7 });
    expect(watcher.failure).toBeUndefined();
  });

  it('asks another node for a partition that one gave up, by the hint that it got, and never shows that', async () => {
    await startWorld();
    const watcher = watch({ partitions: [2], progressMs: 60_000 });
    const first = await opened(world.node(0), [2]);
    const metadata = { epoch: '9', leader_address: world.node(1).address };
    first.call.write(WatchResponse.create({ ended: [{ partition: 2, error: { reason: 'NOT_LEADER', message: 'no', metadata } }] }));
    const second = await opened(world.node(1), [2]);
    second.call.write(event(2, 5));
    await eventually('the event', () => watcher.keys().length === 1);
    expect(watcher.responses.every(({ ended }) => ended.length === 0)).toBe(true);
  });

  it('waits for a leader where there is none, and shows that it lives', async () => {
    await startWorld();
    await world.lead(1, undefined);
    const watcher = watch({ partitions: [1], positions: [at(1, 4)], progressMs: 100 });
    await eventually('signs of life', () => watcher.responses.length >= 2);
    expect(watcher.responses.slice(0, 2)).toEqual([WatchResponse.create({ placed: true }), WatchResponse.create({})]);
    await world.lead(1, 1);
    expect(seqs((await opened(world.node(1), [1])).request.positions)).toEqual({ 1: 4 });
  });

  it.each(['WATCH_COMPACTED', 'WATCH_RESET'] as const)('hands %s on, with its facts (R36)', async (reason) => {
    await startWorld();
    const watcher = watch({ partitions: [0] });
    const { call } = await opened(world.node(0), [0]);
    call.emit('error', toServiceError(new AtollError(reason, 'too old', { metadata: { partition: '0', oldest: '00' } })));
    await eventually('failed', () => watcher.failure);
    expect(watcher.failure).toMatchObject({ reason, metadata: { partition: '0', oldest: '00' } });
  });

  it('ends when the keyspace is deleted, and when the client leaves, at the nodes too', async () => {
    await startWorld();
    const watcher = watch();
    await opened(world.node(0), [0, 1, 2, 3]);
    await world.store.transact([], [{ kind: 'delete', key: 'keyspaces/default' }]);
    await eventually('failed', () => watcher.failure);
    expect(watcher.failure!.reason).toBe('KEYSPACE_NOT_FOUND');
    await eventually('nothing is watched', () => world.node(0).openWatches.length === 0);
  });

  it.each<[string, Partial<WatchRequest>, string]>([
    ['a partition that is not there', { partitions: [4] }, 'INVALID_ARGUMENT'],
    ['a position of a partition that is not watched', { partitions: [1], positions: [at(2, 1)] }, 'INVALID_ARGUMENT'],
    ['a malformed position', { positions: [Buffer.from('nonsense')] }, 'WATCH_POSITION_MALFORMED'],
    ['the position of another keyspace', { positions: [encodeWatchPosition(watchTag('other'), { partition: 0, version: { generation: 1, epoch: 1, seq: 1 } })] }, 'WATCH_POSITION_MALFORMED'],
    ['an unknown keyspace', { keyspace: 'nowhere' }, 'KEYSPACE_NOT_FOUND'],
  ])('refuses %s', async (_name, fields, reason) => {
    await startWorld();
    const watcher = watch(fields);
    await eventually('refused', () => watcher.failure);
    expect(watcher.failure!.reason).toBe(reason);
    expect(world.node(0).watches).toHaveLength(0);
  });

  it('serves no more watches than it may (I10)', async () => {
    await startWorld({ env: { ROUTER_WATCHES_MAX: '1' } });
    watch();
    await opened(world.node(0), [0, 1, 2, 3]);
    const second = watch();
    await eventually('refused', () => second.failure);
    expect(second.failure!.reason).toBe('OVERLOADED');
  });
});
