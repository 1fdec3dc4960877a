// Writes whose answers were lost are sent again, and done once (R21): nobody gets WRITE_IN_DOUBT, and counters count.
import { jest } from '@jest/globals';
import { createClient, type AtollClient } from '@atoll/client';
import { eventually } from '@atoll/platform-etcd/testing';
import { NetworkGate } from '@atoll/tests-bench';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';

jest.setTimeout(180_000);

const DEADLINE_MS = 15_000;
const COUNTERS = 8;

let cluster: DevCluster;

beforeAll(async () => {
  cluster = await DevCluster.start({ nodes: 3, routers: 2 });
  await cluster.untilRedundant();
}, START_MS);

afterAll(() => cluster?.stop(), STOP_MS);

/** Increments several counters without a pause; each call is told which value it made. */
class Counting {
  readonly #client: AtollClient;
  readonly #prefix: string;
  readonly #values = Array.from({ length: COUNTERS }, (): bigint[] => []);
  readonly #failures: string[] = [];
  readonly #workers: Promise<void>[];
  #isStopping = false;

  constructor(client: AtollClient, prefix: string) {
    this.#client = client;
    this.#prefix = prefix;
    // Two per counter: a repeat may find the other's increment behind its first sending.
    this.#workers = Array.from({ length: 2 * COUNTERS }, (_, index) => this.#work(index % COUNTERS));
  }

  async #work(index: number): Promise<void> {
    while (!this.#isStopping) {
      try {
        this.#values[index]!.push((await this.#client.increment(this.#key(index), 1, { deadlineMs: DEADLINE_MS })).value);
      } catch (error) {
        this.#failures.push(String(error));
      }
    }
  }

  #key = (index: number): string => `${this.#prefix}-${index}`;

  get count(): number {
    return this.#values.reduce((sum, values) => sum + values.length, 0);
  }

  /** Until `more` further increments are answered. */
  async progress(more = 200): Promise<void> {
    const from = this.count;
    await eventually(`${more} increments`, () => this.count >= from + more, 60_000);
  }

  /** Every value from 1 on was told once, and the last one is what stands there. */
  async verify(): Promise<string[]> {
    this.#isStopping = true;
    await Promise.all(this.#workers);
    const problems = [...this.#failures];
    for (const [index, values] of this.#values.entries()) {
      const told = values.toSorted((one, other) => Number(one - other)).join();
      if (told !== values.map((_, count) => count + 1).join()) problems.push(`counter ${index} told ${told}`);
      const stands = (await this.#client.get(this.#key(index)))?.value.toString();
      if (stands !== String(values.length)) problems.push(`counter ${index} was incremented ${values.length} times and stands at ${stands}`);
    }
    return problems;
  }
}

it('connections between client and router that break under increments', async () => {
  const gate = await NetworkGate.open(cluster.routerAddress);
  const client = createClient({ routers: [gate.address] });
  try {
    const counting = new Counting(client, 'cut');
    for (let round = 0; round < 10; round += 1) {
      await counting.progress(100);
      gate.set({ kind: 'cut' });
      gate.set({ kind: 'open' });
    }
    await counting.progress();
    expect(await counting.verify()).toEqual([]);
  } finally {
    client.close();
    await gate.close();
  }
});

it('a router that is killed under increments', async () => {
  const counting = new Counting(cluster.client(), 'router');
  await counting.progress();
  for (const { id } of cluster.up.routers) {
    await cluster.kill(id);
    await counting.progress();
    await cluster.startProcess(id);
  }
  await counting.progress();
  expect(await counting.verify()).toEqual([]);
});

it('a leader that is killed under increments', async () => {
  const counting = new Counting(cluster.client(), 'leader');
  await counting.progress();
  const { leader } = (await cluster.partitions())[0]!;
  await cluster.kill(leader);
  await counting.progress();
  await cluster.startProcess(leader);
  await cluster.untilRedundant();
  expect(await counting.verify()).toEqual([]);
});
