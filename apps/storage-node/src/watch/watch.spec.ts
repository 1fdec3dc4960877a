import { DeleteRequest, WatchEventKind, WatchRequest, type WatchEvent, type WatchResponse } from '@atoll/contracts/atoll/v1/cache';
import { isAtollError, type AtollError } from '@atoll/core-errors';
import { KIB, MIB } from '@atoll/core-runtime';
import { eventually } from '@atoll/platform-etcd/testing';
import { partitionOfToken, tokenOfKey } from '@atoll/core-placement';
import { callServerStream, callUnary } from '@atoll/platform-grpc';
import { encodeWatchPosition, watchTag, watchedPartition } from '@atoll/platform-wire';
import { DEADLINE, NodeWorld, type WorldNode } from '../testing/node-world.ts';

const SEED = 20_261_121;

/** A watch that is read all the time. */
class Watcher {
  readonly responses: WatchResponse[] = [];
  readonly positions = new Map<number, Buffer>();
  failure: AtollError | undefined;
  isOver = false;
  readonly #abort = new AbortController();
  readonly #done: Promise<void>;

  constructor(node: WorldNode, request: Partial<WatchRequest>) {
    this.#done = this.#read(node, request);
  }

  get events(): WatchEvent[] {
    return this.responses.flatMap(({ events }) => events);
  }

  /** Events as "PUT key=value", in order. */
  get told(): string[] {
    return this.events.map(({ kind, key, value }) => `${NAMES[kind]} ${key.toString()}${kind === WatchEventKind.WATCH_EVENT_KIND_PUT ? `=${value.toString()}` : ''}`);
  }

  /** Until it was told where it begins, or that it ended. */
  ready(): Promise<unknown> {
    return eventually('the watch has begun', () => this.responses.length > 0 || this.isOver);
  }

  async close(): Promise<void> {
    this.#abort.abort();
    await this.#done;
  }

  async #read(node: WorldNode, request: Partial<WatchRequest>): Promise<void> {
    try {
      const whole = WatchRequest.create({ partitions: [0], progressMs: 100, ...request });
      for await (const response of callServerStream(node.cache, 'watch', whole, { signal: this.#abort.signal })) {
        this.responses.push(response);
        for (const position of response.positions) this.positions.set(watchedPartition(position), position);
      }
    } catch (error) {
      if (!this.#abort.signal.aborted && isAtollError(error)) this.failure = error;
    }
    this.isOver = true;
  }
}

const NAMES: Readonly<Record<number, string>> = { 1: 'PUT', 2: 'DELETE', 3: 'EXPIRE', 4: 'EVICT' };

/** Some keys of one partition. */
const keysOf = (partitionCount: number, partition: number): string[] =>
  Array.from({ length: 50 }, (_, index) => `key-${index}-`).filter((key) => partitionOfToken(tokenOfKey(Buffer.from(key)), partitionCount) === partition);

describe(`watching a storage node (seed ${SEED})`, () => {
  let world: NodeWorld;
  const watchers: Watcher[] = [];

  beforeEach(() => {
    world = new NodeWorld(SEED);
  });

  afterEach(async () => {
    for (const watcher of watchers.splice(0)) await watcher.close();
    await world.stop();
  });

  const watch = (node: WorldNode, request: Partial<WatchRequest> = {}): Watcher => {
    const watcher = new Watcher(node, request);
    watchers.push(watcher);
    return watcher;
  };
  const told = (watcher: Watcher, expected: readonly string[]): Promise<unknown> =>
    eventually(`told of ${expected.join(', ')}`, () => {
      if (watcher.told.length >= expected.length) expect(watcher.told).toEqual(expected);
      return watcher.told.length === expected.length;
    });

  it('tells what commits after the call, in order, with version, expiry and stamp', async () => {
    const a = await world.start('a');
    await world.createKeyspace({}, [a]);
    await a.set('before', 'x');
    const watcher = watch(a);
    await watcher.ready();
    const { version } = await a.set('k', 'v1', { ttlMs: 60_000 });
    await a.set('k', 'v2', { noExpiry: true });
    await callUnary(a.cache, 'delete', DeleteRequest.create({ key: Buffer.from('k') }), DEADLINE);
    await told(watcher, ['PUT k=v1', 'PUT k=v2', 'DELETE k']);
    const [first, second] = watcher.events;
    expect(first!.version.equals(version)).toBe(true);
    expect(first!.expiresAtMs - first!.stampMs).toBeGreaterThan(59_000);
    expect(second!.expiresAtMs).toBe(0);
    expect(second!.version.compare(first!.version)).toBe(1);
  });

  it('tells expiries with their keys, and at a follower as well', async () => {
    const [a, b] = [await world.start('a'), await world.start('b')];
    await world.createKeyspace({}, [a, b]);
    const [atLeader, atFollower] = [watch(a), watch(b)];
    await Promise.all([atLeader.ready(), atFollower.ready()]);
    await a.set('short', 'v', { ttlMs: 1 });
    await told(atLeader, ['PUT short=v', 'EXPIRE short']);
    await told(atFollower, ['PUT short=v', 'EXPIRE short']);
    expect(atFollower.events.map(({ version }) => version)).toEqual(atLeader.events.map(({ version }) => version));
  });

  it('goes on from a position, at another replica and behind a change of leader, without a gap', async () => {
    const [a, b] = [await world.start('a'), await world.start('b')];
    await world.createKeyspace({}, [a, b]);
    const first = watch(a);
    await first.ready();
    await a.set('k1', 'v');
    await told(first, ['PUT k1=v']);
    await first.close();
    await a.set('k2', 'v');
    await world.promote(b);
    await world.serving(b);
    await b.set('k3', 'v');
    const second = watch(b, { positions: [...first.positions.values()] });
    await told(second, ['PUT k2=v', 'PUT k3=v']);
    const again = watch(b, { positions: [...first.positions.values()], keysOnly: true, prefix: Buffer.from('k3') });
    expect(await told(again, ['PUT k3='])).toBe(true);
  });

  it('goes on when the leader that serves it becomes a follower', async () => {
    const [a, b] = [await world.start('a'), await world.start('b')];
    await world.createKeyspace({}, [a, b]);
    const watcher = watch(a);
    await watcher.ready();
    await world.promote(b);
    await world.serving(b);
    await b.set('k', 'v');
    await told(watcher, ['PUT k=v']);
    expect(watcher.isOver).toBe(false);
  });

  it('says how far it is when nothing that it wants happens, at least every progress_ms', async () => {
    const a = await world.start('a');
    await world.createKeyspace({ partitionCount: 2 }, [a]);
    const watcher = watch(a, { partitions: [0, 1], prefix: Buffer.from('wanted') });
    await watcher.ready();
    const [start] = [new Map(watcher.positions)];
    for (let index = 0; index < 20; index += 1) await a.set(`other-${index}`, 'v');
    await eventually('both positions moved', () => [0, 1].every((partition) => !watcher.positions.get(partition)!.equals(start.get(partition)!)));
    await eventually('a sign of life that says nothing more', () => watcher.responses.at(-1)!.positions.length === 0);
    expect(watcher.events).toEqual([]);
  });

  it('tells how far quiet partitions are while others are busy all the time', async () => {
    const a = await world.start('a');
    await world.createKeyspace({ partitionCount: 2 }, [a]);
    const keyIn = (partition: number): string => keysOf(2, partition)[0]!;
    const watcher = watch(a, { partitions: [0, 1], prefix: Buffer.from(keyIn(0)), progressMs: 60_000 });
    await watcher.ready();
    const before = watcher.positions.get(1)!;
    const busy = new AbortController();
    const writing = (async () => {
      while (!busy.signal.aborted) await a.set(keyIn(0), 'v');
    })();
    await a.set(keyIn(1), 'not wanted');
    await eventually('told', () => !watcher.positions.get(1)!.equals(before));
    busy.abort();
    await writing;
    expect(watcher.events.every(({ partition }) => partition === 0)).toBe(true);
  });

  it('begins with the oldest change that is held, or behind a version', async () => {
    const a = await world.start('a');
    await world.createKeyspace({}, [a]);
    const { version } = await a.set('k1', 'v');
    await a.set('k2', 'v');
    await told(watch(a, { fromOldest: true }), ['PUT k1=v', 'PUT k2=v']);
    expect(await told(watch(a, { afterVersion: version }), ['PUT k2=v'])).toBe(true);
  });

  it('a slow reader holds no more here than some messages, and loses nothing that the log still has (I10)', async () => {
    const a = await world.start('a', { env: { STORAGE_NODE_LOG_BYTES_MAX: '64MiB' } });
    await world.createKeyspace({}, [a]);
    const value = Buffer.alloc(MIB, 'x');
    for (let index = 0; index < 20; index += 1) await a.set(`k${index % 4}`, value);
    const watcher = watch(a, { fromOldest: true });
    await eventually('all of it', () => watcher.events.length === 20);
    expect(Math.max(...watcher.responses.map(({ events }) => events.length))).toBe(1);
  });

  describe('a position that cannot be gone on from', () => {
    const compacted = async (): Promise<{ a: WorldNode; early: Buffer }> => {
      const a = await world.start('a', { env: { STORAGE_NODE_LOG_BYTES_MAX: '512KiB' } });
      await world.createKeyspace({}, [a]);
      const watcher = watch(a);
      await watcher.ready();
      await watcher.close();
      for (let index = 0; index < 40; index += 1) {
        // More than the log may hold is refused until the next tick trims it.
        await eventually('written', () => a.set(`k${index}`, Buffer.alloc(65_536)).then(() => true, () => false));
      }
      await eventually('the log is trimmed', async () => (await a.metric('atoll_log_bytes')) <= 512 * KIB);
      return { a, early: watcher.positions.get(0)! };
    };

    it('is refused with the oldest one that can (R36)', async () => {
      const { a, early } = await compacted();
      const watcher = watch(a, { positions: [early] });
      await eventually('refused', () => watcher.failure);
      expect(watcher.failure!.reason).toBe('WATCH_COMPACTED');
      expect(watcher.failure!.metadata).toMatchObject({ partition: '0', keyspace: 'default' });
      const oldest = Buffer.from(watcher.failure!.metadata['oldest']!, 'hex');
      const next = watch(a, { positions: [oldest] });
      await eventually('the last change', () => next.told.some((each) => each.startsWith('PUT k39=')));
      expect(next.failure).toBeUndefined();
    });

    it('is told as a gap to who asked for that, and the rest follows', async () => {
      const { a, early } = await compacted();
      const watcher = watch(a, { positions: [early], skipGaps: true });
      await eventually('the last change', () => watcher.told.some((each) => each.startsWith('PUT k39=')));
      expect(watcher.responses[0]!.gaps).toMatchObject([{ partition: 0, reason: 'WATCH_COMPACTED' }]);
      expect(watcher.responses[0]!.positions[0]!.length).toBeGreaterThan(0);
    });

    it('of an older generation is refused as WATCH_RESET (R3)', async () => {
      const a = await world.start('a');
      const spec = await world.createKeyspace({}, [a]);
      const position = encodeWatchPosition(watchTag(spec.id), { partition: 0, version: { generation: 0, epoch: 9, seq: 9 } });
      const watcher = watch(a, { positions: [position] });
      await eventually('refused', () => watcher.failure);
      expect(watcher.failure!.reason).toBe('WATCH_RESET');
    });
  });

  it('ends the partitions that the node does not hold, and serves the others', async () => {
    const [a, b] = [await world.start('a'), await world.start('b')];
    await world.createKeyspace({}, [a]);
    await world.createKeyspace({ name: 'elsewhere' }, [b]);
    const watcher = watch(a, { keyspace: 'elsewhere' });
    await eventually('over', () => watcher.isOver);
    expect(watcher.responses[0]!.ended).toMatchObject([{ partition: 0, error: { reason: 'NOT_LEADER' } }]);
    expect(watcher.failure).toBeUndefined();
  });

  it.each<[string, Partial<WatchRequest>, string]>([
    ['no partition', { partitions: [] }, 'INVALID_ARGUMENT partitions'],
    ['a partition that is not there', { partitions: [0, 1] }, 'INVALID_ARGUMENT partitions'],
    ['a malformed position', { positions: [Buffer.from('nonsense')] }, 'WATCH_POSITION_MALFORMED positions'],
    ['an unknown keyspace', { keyspace: 'nowhere' }, 'KEYSPACE_NOT_FOUND keyspace'],
  ])('refuses %s', async (_name, request, expected) => {
    const a = await world.start('a');
    await world.createKeyspace({}, [a]);
    const watcher = watch(a, request);
    await eventually('refused', () => watcher.failure);
    expect(`${watcher.failure!.reason} ${watcher.failure!.metadata['field']}`).toBe(expected);
  });

  it('serves no more watches than it may (I10)', async () => {
    const a = await world.start('a', { env: { STORAGE_NODE_WATCHES_MAX: '1' } });
    await world.createKeyspace({}, [a]);
    const first = watch(a);
    await first.ready();
    const second = watch(a);
    await eventually('refused', () => second.failure);
    expect(second.failure!.reason).toBe('OVERLOADED');
    await first.close();
    await eventually('one may come', async () => (await a.metric('atoll_watches')) === 0);
    await watch(a).ready();
  });
});
