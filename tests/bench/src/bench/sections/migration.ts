import { KIB } from '@atoll/core-runtime';
import type { PartitionMigration } from '@atoll/contracts/atoll/v1/migration';
import { MigrationStep } from '@atoll/contracts/atoll/v1/migration';
import { Latencies } from '../../latencies.ts';
import { tableText } from '../../output/text.ts';
import type { Check } from '../contest.ts';
import { atLeast, atMost } from '../contest.ts';
import { hasRedisCluster } from '../failover/redis-cluster.ts';
import { FilledCluster, entriesPerSecond, megabytesPerSecond, type Moved } from '../migration/filled-cluster.ts';
import { MixedLoad } from '../migration/mixed-load.ts';
import { RedisRebalance, type Rebalanced } from '../migration/redis-rebalance.ts';
import type { BenchContext, Section } from '../section.ts';

interface Shape {
  readonly name: string;
  readonly valueBytes: number;
  readonly entries: { readonly full: number; readonly quick: number };
  /** Rate against that of Redis: of what, and how much more it is to be. */
  readonly rate: (moved: Pick<Moved, 'entries' | 'bytes' | 'elapsedMs'>) => number;
  readonly unit: string;
  readonly ratioMin: number;
}

const SMALL: Shape = { name: 'values of 100 bytes', valueBytes: 100, entries: { full: 1_000_000, quick: 100_000 }, rate: entriesPerSecond, unit: 'entries/s', ratioMin: 8 };
const LARGE: Shape = { name: 'values of 16 KiB', valueBytes: 16 * KIB, entries: { full: 131_072, quick: 13_107 }, rate: megabytesPerSecond, unit: 'MB/s', ratioMin: 3 };

/** As fast as the nodes can, but for clients. */
const UNLIMITED = { STORAGE_NODE_SYNC_BYTES_PER_SECOND: '0', STORAGE_NODE_SYNCS_MAX: '64', COORDINATOR_LEARNERS_PER_NODE_MAX: '64', COORDINATOR_MIGRATIONS_MAX: '64' };
const IMPACT_DEFAULT = '2';
/** Values of STORAGE_NODE_SYNC_MAX_IMPACT beside the default; 0: clients slow nothing down. */
const IMPACTS = { full: ['1.2', '4', '0'], quick: ['0'] } as const;

const OPERATIONS_PER_SECOND = 2000;
const BEFORE_MS = { full: 15_000, quick: 5000 } as const;
const WARM_UP_MS = { full: 10_000, quick: 5000 } as const;
const P99_FACTOR_MAX = 3;
const PAUSE_P99_MAX_MS = 50;
const SHARE_OF_IDLE_MIN = 0.2;

/** A node is filled in about so long where a coordinator is killed meanwhile. */
const SLOW_FILL_MS = { full: 16_000, quick: 8000 } as const;
const EXTRA_MAX_MS = 10_000;
const SEED = 11;

/** Replicas that go to a fourth node: how fast, what clients feel of it, and what a coordinator that dies costs. */
export const migrationSection: Section = async (context) => {
  const checks: Check[] = [];
  const details: Record<string, unknown> = {};
  const curve: LoadedMove[] = [];
  for (const shape of [SMALL, LARGE]) {
    const { idle, loaded } = await atollMoves(context, shape);
    details[`${shape.name}, idle`] = figuresOf(idle);
    details[`${shape.name}, under load`] = { ...loaded, moved: figuresOf(loaded.moved) };
    const peer = await redisMoves(context, shape);
    if (peer !== undefined) {
      details[`${shape.name}, redis`] = peer;
      context.print(`${shape.name}, redis-cli --cluster rebalance: ${rateText(peer)}`);
      checks.push(atLeast(`migration, ${shape.name}, idle: ${shape.unit} against redis-cli`, shape.rate(idle) / shape.rate(peer), shape.ratioMin));
    }
    checks.push(...loadedChecks(shape, idle, loaded));
    if (shape === SMALL) curve.push(loaded);
  }
  for (const impact of IMPACTS[context.isQuick ? 'quick' : 'full']) curve.push(await loadedAtImpact(context, impact));
  context.print(curveText(curve));
  details['curve'] = curve.map((each) => ({ ...each, moved: figuresOf(each.moved) }));
  const killed = await coordinatorKilled(context);
  details['coordinator killed'] = killed;
  checks.push(
    { name: 'migration: what SIGKILL of the coordinator in the middle costs', value: killed.extraMs, text: `${(killed.extraMs / 1000).toFixed(1)} s`, target: `<= ${EXTRA_MAX_MS / 1000} s`, passed: killed.extraMs <= EXTRA_MAX_MS },
    { name: 'and bytes that were copied again', value: killed.copiedAgain, text: String(killed.copiedAgain), target: '0', passed: killed.copiedAgain === 0 && killed.touched === 0 },
  );
  return { checks, details };
};

/** What a migration did beside clients, and they beside it. */
interface LoadedMove {
  readonly impact: string;
  readonly moved: Moved;
  readonly beforeP99Ms: number;
  readonly duringP99Ms: number;
  readonly operations: number;
  readonly failures: Readonly<Record<string, number>>;
  readonly failureCount: number;
  readonly wrong: number;
  /** Of writes at changes of leaders: of this migration, and of one that takes everything from a node. */
  readonly pauses: number;
  readonly pauseP99Ms: number;
}

async function atollMoves(context: BenchContext, shape: Shape): Promise<{ readonly idle: Moved; readonly loaded: LoadedMove }> {
  const entries = entriesOf(context, shape);
  const filled = await FilledCluster.start(context, { entries, valueBytes: shape.valueBytes, env: UNLIMITED });
  const idle = await filled.join();
  context.print(`${shape.name}, a fourth node joins: ${rateText(idle)}, ${idle.partitions.length} partitions`);
  const loaded = await underLoad(context, filled, shape, IMPACT_DEFAULT);
  await filled.stop();
  return { idle, loaded };
}

/** The fourth node, emptied before, is filled again while clients go on. */
async function underLoad(context: BenchContext, filled: FilledCluster, shape: Shape, impact: string): Promise<LoadedMove> {
  const { isQuick, print, signal, cleanUp } = context;
  const { name, valueBytes } = shape;
  const size = isQuick ? 'quick' : 'full';
  await filled.empty();
  const load = new MixedLoad({ router: filled.cluster.router, keys: entriesOf(context, shape), valueBytes, operationsPerSecond: OPERATIONS_PER_SECOND, seed: SEED });
  cleanUp.add(() => load.close());
  load.start();
  await pause(WARM_UP_MS[size]);
  const fromMs = performance.now();
  await pause(BEFORE_MS[size]);
  const toMs = performance.now();
  const moved = await filled.refill();
  const taken = await filled.takeOver();
  await load.stop();
  const wrong = await load.countWrong(signal);
  load.close();
  const pauses = pausesOf([...moved.partitions, ...taken.partitions]);
  const result: LoadedMove = {
    impact,
    moved,
    beforeP99Ms: load.latencies(fromMs, toMs).percentile(99),
    duringP99Ms: load.latencies(moved.beganMs, moved.beganMs + moved.elapsedMs).percentile(99),
    operations: load.operations,
    failures: load.failures,
    failureCount: load.failureCount,
    wrong,
    pauses: pauses.count,
    pauseP99Ms: pauses.percentile(99),
  };
  print(
    `${name}, ${OPERATIONS_PER_SECOND} operations/s, impact ${impact}: ${rateText(moved)}; p99 ${result.beforeP99Ms.toFixed(1)} ms before, ${result.duringP99Ms.toFixed(1)} ms meanwhile; ` +
      `${pauses.count} pauses, p99 ${result.pauseP99Ms.toFixed(1)} ms; failed of ${result.operations} operations: ${JSON.stringify(result.failures)}, wrong keys: ${wrong}`,
  );
  return result;
}

async function loadedAtImpact(context: BenchContext, impact: string): Promise<LoadedMove> {
  const filled = await FilledCluster.start(context, { entries: entriesOf(context, SMALL), valueBytes: SMALL.valueBytes, env: { ...UNLIMITED, STORAGE_NODE_SYNC_MAX_IMPACT: impact } });
  await filled.join();
  const loaded = await underLoad(context, filled, SMALL, impact);
  await filled.stop();
  return loaded;
}

function loadedChecks(shape: Shape, idle: Moved, loaded: LoadedMove): Check[] {
  const count = (what: string, value: number): Check => ({ name: `migration, ${shape.name}, under load: ${what}`, value, text: String(value), target: '0', passed: value === 0 });
  return [
    count('failed operations', loaded.failureCount),
    count('keys lost or rolled back', loaded.wrong),
    atMost(`migration, ${shape.name}: p99 meanwhile, to that before`, loaded.duringP99Ms / loaded.beforeP99Ms, P99_FACTOR_MAX),
    { name: `migration, ${shape.name}: pauses of writes at the change of leader, p99`, value: loaded.pauseP99Ms, text: `${loaded.pauseP99Ms.toFixed(1)} ms`, target: `<= ${PAUSE_P99_MAX_MS} ms`, passed: loaded.pauseP99Ms <= PAUSE_P99_MAX_MS },
    atLeast(`migration, ${shape.name}: rate under load, to the idle one`, shape.rate(loaded.moved) / shape.rate(idle), SHARE_OF_IDLE_MIN),
  ];
}

async function redisMoves(context: BenchContext, shape: Shape): Promise<Rebalanced | undefined> {
  const { print, cleanUp, signal } = context;
  if (!hasRedisCluster()) {
    print('no redis-server and redis-cli on PATH (Debian: apt-get install redis-server): Atoll alone was measured');
    return undefined;
  }
  const redis = new RedisRebalance();
  cleanUp.add(() => redis.stop());
  const size = { entries: entriesOf(context, shape), valueBytes: shape.valueBytes, signal };
  await redis.load(size);
  const moved = await redis.rebalance(size);
  await redis.stop();
  return moved;
}

/** The elected one of two dies when a part is done: how much longer it takes, and whether anything is copied again. */
async function coordinatorKilled(context: BenchContext) {
  const { isQuick, print } = context;
  const entries = entriesOf(context, SMALL);
  const perNode = Math.ceil(((entries / 2) * (SMALL.valueBytes + 10)) / 3 / (SLOW_FILL_MS[isQuick ? 'quick' : 'full'] / 1000));
  const filled = await FilledCluster.start(context, { entries, valueBytes: SMALL.valueBytes, coordinators: 2, env: { ...UNLIMITED, STORAGE_NODE_SYNC_BYTES_PER_SECOND: String(perNode), COORDINATOR_LEARNERS_PER_NODE_MAX: '8' } });
  const undisturbed = await filled.join();
  await filled.empty();
  const installedBefore = await filled.installedBytes();
  let doneBefore: readonly PartitionMigration[] | undefined;
  const disturbed = await filled.refill(async (partitions) => {
    const done = partitions.filter(isDone);
    if (doneBefore !== undefined || done.length < partitions.length / 3 || done.length === partitions.length) return;
    doneBefore = done;
    await filled.cluster.killProcess(await filled.admin.elected());
  });
  if (doneBefore === undefined) throw new Error('the migration ended before its coordinator was killed');
  const installed = (await filled.installedBytes()) - installedBefore;
  // What arrived beyond what the job says, and, by the job, of partitions of which more arrived than there is.
  const twice = disturbed.partitions.filter(({ entries: copied, entriesTotal }) => copied > entriesTotal).reduce((sum, { bytes }) => sum + bytes, 0);
  const copiedAgain = Math.max(0, installed - disturbed.bytes) + twice;
  const after = new Map(disturbed.partitions.map((partition) => [partition.partition, partition]));
  const touched = doneBefore.filter(({ partition, bytes }) => after.get(partition)?.bytes !== bytes).length;
  await filled.stop();
  const extraMs = disturbed.elapsedMs - undisturbed.elapsedMs;
  print(
    `SIGKILL of the coordinator with ${doneBefore.length} of ${disturbed.partitions.length} partitions done: ${(disturbed.elapsedMs / 1000).toFixed(1)} s, ${(undisturbed.elapsedMs / 1000).toFixed(1)} s undisturbed; ` +
      `${installed} bytes arrived, ${disturbed.bytes} by the job, ${copiedAgain} again; ${touched} of the done partitions were touched again`,
  );
  return { extraMs, copiedAgain, touched, undisturbed: figuresOf(undisturbed), disturbed: figuresOf(disturbed) };
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const entriesOf = ({ isQuick }: BenchContext, { entries }: Shape): number => entries[isQuick ? 'quick' : 'full'];
const isDone = ({ step }: PartitionMigration): boolean => step === MigrationStep.MIGRATION_STEP_DONE;

function pausesOf(partitions: readonly PartitionMigration[]): Latencies {
  const pauses = new Latencies();
  for (const { pauseMs } of partitions) if (pauseMs !== undefined) pauses.add(pauseMs);
  return pauses;
}

const figuresOf = ({ entries, bytes, elapsedMs, partitions }: Moved) => ({ entries, bytes, elapsedMs, partitions: partitions.length, pauseP99Ms: pausesOf(partitions).percentile(99) });

const rateText = (moved: Pick<Moved, 'entries' | 'bytes' | 'elapsedMs'>): string =>
  `${moved.entries} entries, ${(moved.bytes / 1e6).toFixed(0)} MB in ${(moved.elapsedMs / 1000).toFixed(2)} s, ${Math.round(entriesPerSecond(moved))} entries/s, ${megabytesPerSecond(moved).toFixed(1)} MB/s`;

function curveText(curve: readonly LoadedMove[]): string {
  const rows = curve.map(({ impact, moved, beforeP99Ms, duringP99Ms }) => [impact, Math.round(entriesPerSecond(moved)), megabytesPerSecond(moved).toFixed(1), beforeP99Ms.toFixed(1), duringP99Ms.toFixed(1), `${(duringP99Ms / beforeP99Ms).toFixed(2)} x`]);
  return `\n${tableText(['STORAGE_NODE_SYNC_MAX_IMPACT', 'entries/s', 'MB/s', 'p99 before, ms', 'p99 meanwhile, ms', ''], rows)}`;
}
