// Random moves, cancels, pauses, drains and restarts under clients that write small and big values. In the end every
// job ends, the history of each key is linearizable, values are what was written, and replicas are equal (I6, I8).
//   MIGRATION_FUZZ_SEED=7 MIGRATION_FUZZ_MS=600000 npx jest ... repeats a seed, or goes on for longer. The seed
//   decides what is tried in which order; what it meets differs from run to run.
import { jest } from '@jest/globals';
import type { Migration } from '@atoll/contracts/atoll/v1/migration';
import { isAtollError } from '@atoll/core-errors';
import { SeededRandom, randomBelow } from '@atoll/core-runtime';
import { eventually } from '@atoll/platform-etcd/testing';
import { BigValues } from './big-values.ts';
import { ChaosClients } from './chaos-clients.ts';
import { NO_HARM, harmOf } from './chaos-harm.ts';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';

const SEED = Number(process.env['MIGRATION_FUZZ_SEED'] ?? 8101);
const FUZZ_MS = Number(process.env['MIGRATION_FUZZ_MS'] ?? 40_000);
const SETTLE_MS = 150_000;

jest.setTimeout(FUZZ_MS + 300_000);

let cluster: DevCluster;

beforeAll(async () => {
  cluster = await DevCluster.start({ nodes: 4, routers: 2, coordinators: 2 });
  await cluster.untilRedundant();
}, START_MS);

afterAll(() => cluster?.stop(), STOP_MS);

/** Reasons for which something that is asked for may be refused, and with which it may be unknown whether it was done. */
const REFUSALS: ReadonlySet<string> = new Set(['INVALID_ARGUMENT', 'MIGRATION_CONFLICT', 'MIGRATION_NOT_FOUND', 'CAPACITY_SHORT', 'METADATA_CONFLICT', 'METADATA_UNAVAILABLE', 'NOT_COORDINATOR', 'PEER_UNAVAILABLE', 'DEADLINE_EXCEEDED']);

class Fuzzer {
  /** What was done, for people. */
  readonly story: string[] = [];
  readonly #random: SeededRandom;
  readonly #nodes: readonly string[];
  #drained: string | undefined;
  #moves = 0;

  constructor(seed: number) {
    this.#random = new SeededRandom(seed);
    this.#nodes = cluster.up.storageNodes.map(({ id }) => id);
  }

  /** How many moves were begun. */
  get moves(): number {
    return this.#moves;
  }

  async step(): Promise<void> {
    const dice = randomBelow(this.#random, 100);
    // Drawn in any case: what a seed tries does not depend on what it meets.
    const [from, to] = this.#pair();
    const draw = this.#random.nextUint32();
    if (dice < 45) await this.#try(`move ${draw % 4 === 0 ? 'all' : 'some'} from ${from} to ${to}`, () => this.#move(from, to, draw));
    else if (dice < 57) await this.#onJob(draw, 'cancel', (id) => cluster.cancelMigration(id));
    else if (dice < 67) await this.#onJob(draw, 'pause', (id) => cluster.pauseMigration(id));
    else if (dice < 79) await this.#onJob(draw, 'resume', (id) => cluster.resumeMigration(id, 0));
    else if (dice < 89) await this.#drain(from);
    else await this.#restart(from, draw % 2 === 0 ? 'terminate' : 'kill');
  }

  /** Everybody is there, nothing is drained, and every job has ended. */
  async settle(): Promise<void> {
    if (this.#drained !== undefined) await this.#drain(this.#drained);
    await eventually(
      'every job has ended',
      async () => {
        const active = (await cluster.migrations().catch(() => undefined))?.filter(({ endedAtMs }) => endedAtMs === 0);
        for (const { id } of active ?? []) await cluster.resumeMigration(id, 0).catch(() => undefined);
        return active?.length === 0;
      },
      SETTLE_MS,
    );
    await cluster.untilRedundant();
  }

  /** Two nodes; the second one is not being drained. */
  #pair(): readonly [string, string] {
    const count = this.#nodes.length;
    const first = randomBelow(this.#random, count);
    const others = [1, 2, 3].map((step) => this.#nodes[(first + step) % count]!);
    const second = randomBelow(this.#random, others.length);
    return [this.#nodes[first]!, others[second] === this.#drained ? others[(second + 1) % others.length]! : others[second]!];
  }

  async #move(from: string, to: string, draw: number): Promise<void> {
    const movable = (await cluster.partitions()).filter(({ inSync }) => inSync.includes(from) && !inSync.includes(to)).map(({ id }) => id);
    const start = draw % (movable.length || 1);
    const partitions = draw % 4 === 0 ? [] : movable.slice(start, start + 1 + (draw % 12));
    await cluster.startMigration({ from, to, partitions, bytesPerSecond: draw % 3 === 0 ? 2_000_000 : 0, fullVerify: draw % 5 === 0 });
    this.#moves += 1;
  }

  async #onJob(draw: number, what: string, act: (id: string) => Promise<void>): Promise<void> {
    await this.#try(what, async () => {
      const active: Migration[] = (await cluster.migrations()).filter(({ endedAtMs }) => endedAtMs === 0);
      if (active.length > 0) await act(active[draw % active.length]!.id);
    });
  }

  /** One node at a time: the second time it is wanted back. */
  async #drain(node: string): Promise<void> {
    const drained = this.#drained;
    await this.#try(drained === undefined ? `drain ${node}` : `want ${drained} back`, async () => {
      await cluster.drainNode(drained ?? node, drained !== undefined);
      this.#drained = drained === undefined ? node : undefined;
    });
  }

  /** Only while every partition is safe elsewhere: two failures at a time lose data, and are to. */
  async #restart(node: string, how: 'terminate' | 'kill'): Promise<void> {
    const isSafe = await cluster.partitions().then((partitions) => partitions.every(({ inSync }) => inSync.length >= 2), () => false);
    this.story.push(isSafe ? `${how} ${node}` : `no ${how} of ${node}: a replica is missing`);
    if (!isSafe) return;
    await cluster[how](node);
    await cluster.startProcess(node);
  }

  async #try(what: string, act: () => Promise<void>): Promise<void> {
    try {
      await act();
      this.story.push(what);
    } catch (error) {
      const failures = error instanceof AggregateError ? (error.errors as unknown[]) : [error];
      const unexpected = failures.find((failure) => !isAtollError(failure) || !REFUSALS.has(failure.reason));
      if (unexpected !== undefined) throw unexpected;
      this.story.push(`${what}: refused (${String(failures.find((failure) => isAtollError(failure) && failure.reason !== 'NOT_COORDINATOR') ?? failures[0]).slice(0, 120)})`);
    }
  }
}

it(`seed ${SEED}: whatever is moved, cancelled, drained and restarted for ${FUZZ_MS / 1000} s, nothing is lost and nobody notices`, async () => {
  process.stderr.write(`migration fuzzer: MIGRATION_FUZZ_SEED=${SEED} MIGRATION_FUZZ_MS=${FUZZ_MS}\n`);
  const fuzzer = new Fuzzer(SEED);
  const chaos = new ChaosClients({ clients: [cluster.client(), cluster.client()], seed: SEED, workers: 8, keys: 128, pauseMs: 8 });
  const big = new BigValues({ client: cluster.client(), seed: SEED });
  try {
    const endsMs = performance.now() + FUZZ_MS;
    while (performance.now() < endsMs) {
      await fuzzer.step();
      await chaos.progress(60);
    }
    await fuzzer.settle();
    const harm = await harmOf(cluster, chaos);
    expect({ ...harm, big: await big.verify() }).toEqual({ ...NO_HARM, big: [] });
    process.stderr.write(`migration fuzzer: ${fuzzer.story.length} things tried, ${fuzzer.moves} moves begun, ${Math.round(big.acknowledgedBytes / 1e6)} MB of big values\n`);
    expect(fuzzer.moves).toBeGreaterThan(0);
    expect(big.acknowledgedBytes).toBeGreaterThan(4_000_000);
  } catch (error) {
    throw new Error(`seed ${SEED}:\n  ${fuzzer.story.join('\n  ')}\n${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
});
