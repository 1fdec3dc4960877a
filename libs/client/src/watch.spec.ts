import type { ServerWritableStream } from '@grpc/grpc-js';
import { WatchResponse, type WatchRequest } from '@atoll/contracts/atoll/v1/cache';
import { AtollError, isAtollError } from '@atoll/core-errors';
import { eventually } from '@atoll/platform-etcd/testing';
import { toServiceError } from '@atoll/platform-grpc';
import { encodeWatchPosition, watchTag, watchedPartition } from '@atoll/platform-wire';
import { createClient, type AtollClient } from './client.ts';
import type { WatchOptions } from './options.ts';
import { ScriptedRouter } from './testing/scripted-router.ts';
import type { Watch, WatchChange, WatchGapReport } from './watch.ts';

const tag = watchTag('ks1');
const at = (partition: number, seq: number): Buffer => encodeWatchPosition(tag, { partition, version: { generation: 1, epoch: 1, seq } });
const event = (partition: number, seq: number, kind = 1) => ({ kind: kind as 1, partition, key: Buffer.from(`k${seq}`), value: Buffer.from('v'), version: Buffer.alloc(16, seq), expiresAtMs: 0, stampMs: seq });
const response = (partition: number, ...seqs: number[]): WatchResponse => WatchResponse.create({ events: seqs.map((seq) => event(partition, seq)), positions: [at(partition, seqs.at(-1)!)] });

let routers: ScriptedRouter[];
let client: AtollClient;
let abort: AbortController;
let seen: ServerWritableStream<WatchRequest, WatchResponse>[];

beforeEach(async () => {
  routers = [await ScriptedRouter.start()];
  abort = new AbortController();
  seen = [];
});
afterEach(() => {
  abort.abort();
  client.close();
  for (const router of routers) router.stop();
});

/** Reads a watch in the background. */
function start(options: WatchOptions = {}) {
  client = createClient({ routers: routers.map(({ address }) => address) });
  const watch = client.watch({ signal: abort.signal, ...options });
  const reading = { watch, changes: [] as (WatchChange | WatchGapReport)[], failure: undefined as unknown, keys: () => reading.changes.map((change) => (change.kind === 'GAP' ? `gap ${change.reason}` : change.key.toString())) };
  void (async () => {
    try {
      for await (const change of watch) reading.changes.push(change);
    } catch (error) {
      reading.failure = error;
    }
  })();
  return reading;
}

/** The n-th watch that any router got, in the order in which the spec asks for them. */
const opened = (index: number): Promise<ServerWritableStream<WatchRequest, WatchResponse>> =>
  eventually(`watch ${index}`, () => {
    for (const call of routers.flatMap(({ watches }) => watches)) if (!seen.includes(call)) seen.push(call);
    return seen[index];
  });
const partitionsIn = (watch: Watch): number[] => Array.from({ length: watch.position.length / 31 }, (_, index) => watchedPartition(watch.position.subarray(index * 31, index * 31 + 31)));

describe('watch', () => {
  it('tells changes, and its position covers what the loop has gone past', async () => {
    const { watch, changes } = start({ prefix: 'k', keysOnly: true, partitions: [1, 2], progressMs: 500 });
    const call = await opened(0);
    expect(call.request).toMatchObject({ partitions: [1, 2], keysOnly: true, progressMs: 500, skipGaps: false });
    call.write(WatchResponse.create({ events: [event(1, 4), event(1, 5, 2), event(1, 6, 3), event(1, 7, 4)], positions: [at(1, 7)] }));
    call.write(response(2, 9));
    await eventually('all changes', () => changes.length === 5);
    expect(changes.map(({ kind }) => kind)).toEqual(['PUT', 'DELETE', 'EXPIRE', 'EVICT', 'PUT']);
    expect(changes[0]).toMatchObject({ partition: 1, expiresAtMs: undefined, stampMs: 4 });
    await eventually('both positions', () => partitionsIn(watch).length === 2);
    expect(watch.position).toEqual(Buffer.concat([at(1, 7), at(2, 9)]));
  });

  it('goes on at the next router behind what was read, when one fails and when one is silent', async () => {
    routers.push(await ScriptedRouter.start());
    const reading = start({ progressMs: 100 });
    const first = await opened(0);
    first.write(response(0, 1));
    await eventually('the change', () => reading.changes.length === 1);
    first.emit('error', toServiceError(new AtollError('SHUTTING_DOWN', 'scripted')));
    const second = await opened(1);
    expect(second.getPeer()).not.toBe('');
    expect(second.request.positions).toEqual([at(0, 1)]);
    second.write(response(0, 2));
    // From now on nothing comes: five intervals later it goes elsewhere.
    const third = await opened(2);
    expect(third.request.positions).toEqual([at(0, 2)]);
    third.write(response(0, 3));
    await eventually('all changes', () => reading.changes.length === 3);
    expect(reading.keys()).toEqual(['k1', 'k2', 'k3']);
    expect(routers.every(({ watches }) => watches.length > 0)).toBe(true);
  });

  it('a change that the loop has not gone past comes again', async () => {
    client = createClient({ routers: routers.map(({ address }) => address) });
    const watch = client.watch({ signal: abort.signal });
    const changes = watch[Symbol.asyncIterator]();
    const pending = changes.next();
    (await opened(0)).write(response(0, 1, 2));
    await pending;
    expect(watch.position).toHaveLength(0);
    await changes.next();
    expect(watch.position).toHaveLength(0);
    const third = changes.next();
    await eventually('gone past', () => watch.position.equals(at(0, 2)));
    abort.abort();
    await third.catch(() => undefined);
  });

  it('tells once when every partition has its place, and begins from a position', async () => {
    let count = 0;
    start({ position: Buffer.concat([at(3, 1), at(4, 2)]), onReady: () => (count += 1) });
    const call = await opened(0);
    expect(call.request.positions).toEqual([at(3, 1), at(4, 2)]);
    call.write(WatchResponse.create({ placed: true }));
    await eventually('ready', () => count === 1);
    call.emit('error', toServiceError(new AtollError('PEER_UNAVAILABLE', 'scripted')));
    const again = await opened(1);
    again.write(WatchResponse.create({ placed: true }));
    again.write(response(3, 5));
    await eventually('read on', async () => (await opened(1)) === again);
    expect(count).toBe(1);
  });

  it.each(['WATCH_COMPACTED', 'WATCH_RESET', 'KEYSPACE_NOT_FOUND'] as const)('ends with %s, which repeating cannot mend (R36)', async (reason) => {
    const reading = start();
    (await opened(0)).emit('error', toServiceError(new AtollError(reason, 'scripted')));
    await eventually('failed', () => reading.failure);
    expect(isAtollError(reading.failure) && reading.failure.reason).toBe(reason);
  });

  it('tells gaps to who asked for that', async () => {
    const reading = start({ onGap: 'REPORT' });
    const call = await opened(0);
    expect(call.request.skipGaps).toBe(true);
    call.write(WatchResponse.create({ gaps: [{ partition: 5, reason: 'WATCH_COMPACTED', position: at(5, 9) }], positions: [at(5, 9)] }));
    await eventually('the gap', () => reading.changes.length === 1);
    expect(reading.changes).toEqual([{ kind: 'GAP', partition: 5, reason: 'WATCH_COMPACTED' }]);
  });

  it('gives up when no router can be reached for long', async () => {
    routers[0]!.stop();
    const reading = start({ patienceMs: 50 });
    await eventually('failed', () => reading.failure);
    expect(isAtollError(reading.failure) && reading.failure.reason).toBe('PEER_UNAVAILABLE');
  });

  it('checks its arguments before anything is sent', () => {
    client = createClient({ routers: routers.map(({ address }) => address) });
    const reasonOf = (options: WatchOptions): unknown => {
      try {
        client.watch(options);
      } catch (error) {
        return isAtollError(error) ? error.reason : error;
      }
      return undefined;
    };
    expect(reasonOf({ progressMs: 5 })).toBe('INVALID_ARGUMENT');
    expect(reasonOf({ afterVersion: Buffer.alloc(16) })).toBe('INVALID_ARGUMENT');
    expect(reasonOf({ position: Buffer.alloc(30) })).toBe('WATCH_POSITION_MALFORMED');
  });
});
