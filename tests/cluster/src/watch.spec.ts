// Who watches a keyspace hears of every acknowledged write, whatever happens to the processes between (R36), and a
// session never goes back, whichever router and replica answers (R35).
import { jest } from '@jest/globals';
import { createClient, type AtollClient, type Watch } from '@atoll/client';
import { eventually } from '@atoll/platform-etcd/testing';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';

jest.setTimeout(300_000);

const KEYS = 24;
const keys = Array.from({ length: KEYS }, (_, index) => `watched-${index}`);

let cluster: DevCluster;

beforeAll(async () => {
  cluster = await DevCluster.start({ nodes: 3, routers: 2 });
}, START_MS);

afterAll(() => cluster?.stop(), STOP_MS);

/** Writes 1, 2, 3 ... to every key, one after the other per key, and keeps what was acknowledged. */
class Writers {
  readonly acknowledged = new Map<string, number[]>(keys.map((key) => [key, []]));
  #isStopped = false;
  readonly #done: Promise<unknown>;

  constructor(client: AtollClient) {
    this.#done = Promise.all(keys.map((key) => this.#write(client, key)));
  }

  get count(): number {
    return [...this.acknowledged.values()].reduce((sum, values) => sum + values.length, 0);
  }

  progress(): Promise<unknown> {
    const { count } = this;
    return eventually('writes go on', () => this.count > count + KEYS * 3, 60_000);
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#done;
  }

  async #write(client: AtollClient, key: string): Promise<void> {
    for (let value = 1; !this.#isStopped; value += 1) {
      await client.set(key, String(value)).then(
        () => this.acknowledged.get(key)!.push(value),
        () => undefined, // it may have happened or not
      );
    }
  }
}

/** What a watch told of every key, in order. */
class Mirror {
  readonly told = new Map<string, number[]>(keys.map((key) => [key, []]));
  readonly watch: Watch;
  failure: unknown;
  isReady = false;
  readonly #abort = new AbortController();

  constructor(client: AtollClient, position?: Buffer) {
    this.watch = client.watch({ prefix: 'watched-', signal: this.#abort.signal, ...(position && { position }), onReady: () => (this.isReady = true) });
    void this.#read();
  }

  close(): void {
    this.#abort.abort();
  }

  async #read(): Promise<void> {
    try {
      for await (const change of this.watch) if (change.kind === 'PUT') this.told.get(change.key.toString())!.push(Number(change.value.toString()));
    } catch (error) {
      if (!this.#abort.signal.aborted) this.failure = error;
    }
  }
}

/** Keys of which an acknowledged value is missing, or a value came behind a later one for the first time. */
function faults(writers: Writers, told: ReadonlyMap<string, readonly number[]>): string[] {
  return keys.flatMap((key) => {
    const values = told.get(key)!;
    const distinct = [...new Set(values)];
    const missing = writers.acknowledged.get(key)!.filter((value) => !distinct.includes(value));
    const isOrdered = distinct.every((value, index) => index === 0 || value > distinct[index - 1]!);
    return missing.length === 0 && isOrdered ? [] : [`${key}: missing ${missing.join()}${isOrdered ? '' : ', out of order'}`];
  });
}

it('a watch tells every acknowledged write while a node stops, is killed and comes back, and a router dies', async () => {
  const client = cluster.client();
  const mirror = new Mirror(cluster.client());
  await eventually('every partition has its place', () => mirror.isReady, 30_000);
  const writers = new Writers(client);
  await writers.progress();

  await cluster.terminate('node-1');
  await writers.progress();
  await cluster.startProcess('node-1');
  await cluster.untilRedundant();
  await writers.progress();

  await cluster.kill('node-2');
  await writers.progress();
  await cluster.kill('router-1');
  await writers.progress();
  await writers.stop();

  await eventually('all of it was told', () => mirror.failure !== undefined || faults(writers, mirror.told).length === 0, 30_000).catch(() => undefined);
  expect(mirror.failure).toBeUndefined();
  expect(faults(writers, mirror.told)).toEqual([]);
  mirror.close();

  // Another process goes on where that one was, through the other router, once the cluster is whole again.
  await client.set(keys[0]!, '1000000');
  const other = new Mirror(cluster.client(), mirror.watch.position);
  await eventually('the write between', () => other.told.get(keys[0]!)!.includes(1_000_000), 30_000);
  expect(other.failure).toBeUndefined();
  other.close();
  await cluster.startProcess('router-1');
  await cluster.startProcess('node-2');
  await cluster.untilRedundant();
});

it('a session reads its own writes and never goes back, from router to router and behind a failover', async () => {
  const routers = cluster.up.routers.map(({ address }) => createClient({ routers: [address] }));
  const session = routers[0]!.session();
  const seen: number[] = [];
  const round = async (value: number): Promise<void> => {
    await routers[value % 2]!.set('session', String(value), { session });
    seen.push(value);
    for (const consistency of ['EVENTUAL', 'BOUNDED', 'EVENTUAL'] as const) {
      const entry = await routers[(value + seen.length) % 2]!.get('session', { consistency, ...(consistency === 'BOUNDED' && { maxStalenessMs: 60_000 }), session, deadlineMs: 30_000 });
      seen.push(Number(entry!.value.toString()));
    }
  };
  for (let value = 1; value <= 100; value += 1) await round(value);

  await cluster.terminate('node-1');
  for (let value = 101; value <= 150; value += 1) await round(value);
  await cluster.startProcess('node-1');
  for (let value = 151; value <= 200; value += 1) await round(value);
  for (const client of routers) client.close();
  expect(seen).toHaveLength(800);
  expect(seen).toEqual(seen.toSorted((one, other) => one - other));
});
