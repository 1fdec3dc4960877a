import { credentials } from '@grpc/grpc-js';
import { createClient, type AtollClient } from '@atoll/client';
import { AdminClient, CreateKeyspaceRequest } from '@atoll/contracts/atoll/v1/admin';
import { CreateStandbyRequest, PromoteStandbyRequest, StandbyClient, StandbyState, type StandbyStatus } from '@atoll/contracts/atoll/v1/standby';
import { callUnary, createChannelOptions } from '@atoll/platform-grpc';
import { DevCluster } from '../../cluster/dev-cluster.ts';
import { Latencies } from '../../latencies.ts';
import type { Check } from '../contest.ts';
import { pause } from '../failover/rounds.ts';
import { WriteProbe, type ProbeTarget } from '../failover/write-probe.ts';
import type { Section } from '../section.ts';

const WRITES_PER_SECOND = 2000;
const VALUE_BYTES = 100;
const PARTITIONS = 16;
const WARM_UP_MS = { full: 5000, quick: 2000 } as const;
const LOAD_MS = { full: 20_000, quick: 5000 } as const;
/** Both clusters offer their keyspaces to the other one, as `docs/operating/disaster-recovery.md` has it. */
const OFFERED = { ROUTER_COPY_SOURCES: 'on', ROUTER_COPY_CUT_OVERS: 'on' } as const;
const CALL = { deadlineMs: 30_000 };
const SETTLE_MS = 60_000;
const POLL_MS = 50;
const TARGETS = { lagP99Ms: 500, promotionMs: 3000 } as const;

/** The keyspace that is watched and lost, and one that is promoted while its primary is there. */
const [LOST, MOVED] = ['orders', 'users'] as const;

/** A keyspace of another cluster that follows: how far it is behind, and how soon it takes the place of its primary. */
export const standbySection: Section = async ({ isQuick, print, cleanUp, signal }) => {
  const size = isQuick ? 'quick' : 'full';
  const [east, west] = [await startCluster(), await startCluster()];
  async function startCluster(): Promise<DevCluster> {
    const cluster = await DevCluster.start({ nodes: 2, env: OFFERED, signal });
    cleanUp.add(() => cluster.stop());
    return cluster;
  }
  const admin = new AdminClient(east.coordinators[0]!.address, credentials.createInsecure(), createChannelOptions());
  const keyspace = (name: string) => CreateKeyspaceRequest.fromPartial({ keyspace: { name, partitionCount: PARTITIONS, replicationFactor: 2 } });
  for (const name of [LOST, MOVED]) await callUnary(admin, 'createKeyspace', keyspace(name), CALL);
  admin.close();
  const standbys = new Standbys(west, signal);
  const [{ primaryCluster }] = (await standbys.create(east.router, [LOST, MOVED])) as [StandbyStatus];
  for (const name of [LOST, MOVED]) await standbys.untilFollowing(name);

  const primary = createClient({ routers: [east.router], keyspace: LOST });
  const standby = createClient({ routers: [west.router], keyspace: LOST });
  const follower = new Follower(primary, standby);
  await follower.ready;
  const load = async (prefix: string, durationMs: number): Promise<WriteProbe> => {
    const probe = new WriteProbe({ target: follower, writesPerSecond: WRITES_PER_SECOND, prefix }).start();
    await pause(durationMs);
    await probe.stop();
    return probe;
  };
  await load('warm', WARM_UP_MS[size]);
  const probe = await load('key', LOAD_MS[size]);
  await follower.untilTold('key', probe.acknowledged, signal);
  const { p50, p99, max } = follower.lag('key').summary();
  const lagText = [p50, p99, max].map((ms) => ms.toFixed(0)).join(', ');
  print(`${probe.acknowledged} writes at ${WRITES_PER_SECOND} a second, values of ${VALUE_BYTES} bytes, from sending to being told by a watch at the standby: p50, p99, highest ${lagText} ms; ${probe.failureCount} failed`);

  const movedMs = await promotion(standbys, west, { keyspace: MOVED });
  print(`${MOVED}, whose primary is there: it takes writes ${movedMs.toFixed(0)} ms after it was asked`);
  await Promise.all([east.routerProcess, ...east.nodes, ...east.coordinators].map(({ id }) => east.killProcess(id)));
  const lostMs = await promotion(standbys, west, { keyspace: LOST, primaryIsStopped: primaryCluster });
  const lost = await probe.countLost();
  print(`${LOST}, all of whose primary was killed: it takes writes ${lostMs.toFixed(0)} ms after it was asked; ${lost} of ${probe.acknowledged} writes that were acknowledged and replicated are lost`);
  follower.close();
  standbys.close();
  await west.stop();
  await east.stop();

  const withinMs = (name: string, value: number, most: number): Check => ({ name, value, text: `${value.toFixed(0)} ms`, target: `<= ${most} ms`, passed: value <= most });
  const none = (name: string, value: number): Check => ({ name, value, text: String(value), target: '0', passed: value === 0 });
  return {
    checks: [
      withinMs(`standby, ${WRITES_PER_SECOND} writes a second: lag, p99`, p99, TARGETS.lagP99Ms),
      none('the same: failed writes', probe.failureCount),
      withinMs('promotion with the primary, until a write is taken', movedMs, TARGETS.promotionMs),
      withinMs('promotion without it, until a write is taken', lostMs, TARGETS.promotionMs),
      none('acknowledged and replicated writes that are lost', lost),
    ],
    details: { lag: { p50, p99, max }, movedMs, lostMs, acknowledged: probe.acknowledged, lost },
  };
};

/** Ms from the request until a client's write was acknowledged there. */
async function promotion(standbys: Standbys, { router }: DevCluster, request: Partial<PromoteStandbyRequest> & { keyspace: string }): Promise<number> {
  const client = createClient({ routers: [router], keyspace: request.keyspace });
  const startMs = performance.now();
  await standbys.promote(request);
  await client.set('behind the promotion', 'v', CALL);
  const tookMs = performance.now() - startMs;
  client.close();
  return tookMs;
}

/** Writes at a primary, and hears of them at its standby. */
class Follower implements ProbeTarget {
  readonly #primary: AtollClient;
  readonly #standby: AtollClient;
  readonly #sentMs = new Map<string, number>();
  readonly #toldMs = new Map<string, number>();
  readonly #abort = new AbortController();
  readonly ready: Promise<void>;

  constructor(primary: AtollClient, standby: AtollClient) {
    this.#primary = primary;
    this.#standby = standby;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.ready = promise;
    this.#watch(resolve).catch((error: unknown) => {
      if (!this.#abort.signal.aborted) reject(error);
    });
  }

  async #watch(onReady: () => void): Promise<void> {
    for await (const change of this.#standby.watch({ signal: this.#abort.signal, onReady })) {
      if (change.kind !== 'PUT') continue;
      const key = change.key.toString();
      if (!this.#toldMs.has(key)) this.#toldMs.set(key, performance.now());
    }
  }

  slotOf(): number {
    return 0;
  }

  async write(key: string, value: string): Promise<void> {
    this.#sentMs.set(key, performance.now());
    await this.#primary.set(key, value.padEnd(VALUE_BYTES, ' '), CALL);
  }

  async read(key: string): Promise<string | undefined> {
    return (await this.#standby.get(key, CALL))?.value.toString().trimEnd();
  }

  #told(prefix: string): string[] {
    return [...this.#toldMs.keys()].filter((key) => key.startsWith(`${prefix}-`));
  }

  /** Resolves when so many keys of the prefix were told. */
  async untilTold(prefix: string, count: number, signal: AbortSignal): Promise<void> {
    const deadlineMs = performance.now() + SETTLE_MS;
    while (this.#told(prefix).length < count) {
      signal.throwIfAborted();
      if (performance.now() > deadlineMs) throw new Error(`the standby has told ${this.#told(prefix).length} of ${count} writes within ${SETTLE_MS / 1000} s`);
      await pause(POLL_MS);
    }
  }

  /** From sending. */
  lag(prefix: string): Latencies {
    const lags = new Latencies();
    for (const key of this.#told(prefix)) lags.add(this.#toldMs.get(key)! - this.#sentMs.get(key)!);
    return lags;
  }

  close(): void {
    this.#abort.abort();
    this.#primary.close();
    this.#standby.close();
  }
}

/** What is asked of the standbys' cluster. */
class Standbys {
  readonly #client: StandbyClient;
  readonly #signal: AbortSignal;

  constructor({ coordinators }: DevCluster, signal: AbortSignal) {
    this.#client = new StandbyClient(coordinators[0]!.address, credentials.createInsecure(), createChannelOptions());
    this.#signal = signal;
  }

  async create(router: string, keyspaces: string[]): Promise<readonly StandbyStatus[]> {
    return (await callUnary(this.#client, 'createStandby', CreateStandbyRequest.fromPartial({ sourceRouters: [router], keyspaces }), CALL)).standbys;
  }

  /** It has all keys and was found equal. */
  async untilFollowing(keyspace: string): Promise<void> {
    const deadlineMs = performance.now() + SETTLE_MS;
    for (;;) {
      this.#signal.throwIfAborted();
      const { state, comparedEntries, problem } = (await callUnary(this.#client, 'listStandbys', { keyspace }, CALL)).standbys[0]!;
      if (state === StandbyState.STANDBY_STATE_FOLLOWING && comparedEntries !== undefined) return;
      if (performance.now() > deadlineMs) throw new Error(`${keyspace} does not follow its primary after ${SETTLE_MS / 1000} s: ${problem}`);
      await pause(POLL_MS);
    }
  }

  async promote(request: Partial<PromoteStandbyRequest>): Promise<void> {
    const { standby } = await callUnary(this.#client, 'promoteStandby', PromoteStandbyRequest.fromPartial(request), CALL);
    if (standby?.state !== StandbyState.STANDBY_STATE_PROMOTED) throw new Error(`${request.keyspace} was not promoted: ${standby?.problem}`);
  }

  close(): void {
    this.#client.close();
  }
}
