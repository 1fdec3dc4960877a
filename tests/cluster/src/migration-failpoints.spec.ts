// Whoever takes part in a migration is killed, or etcd is taken away, at every named failpoint: just before and just
// behind the write that brings an operator to a step. One round for each of them: operators of one job are brought to
// all of the failpoints at once, one partition each, and stand there; then it happens, and everybody goes on. Whatever
// happens, the job ends, every partition is done or back, and no client notices (I8).
import { jest } from '@jest/globals';
import { MigrationState, MigrationStep, type PartitionMigration } from '@atoll/contracts/atoll/v1/migration';
import { eventually } from '@atoll/platform-etcd/testing';
import { ChaosClients } from './chaos-clients.ts';
import { NO_HARM, harmOf } from './chaos-harm.ts';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';
import { FailpointFiles, type Failpoint } from './failpoint-files.ts';

jest.setTimeout(120_000);

const SEED = Number(process.env['CHAOS_SEED'] ?? 7901);
const REACH_MS = 30_000;
const END_MS = 60_000;
const ETCD_AWAY_MS = 4000;
/** Entries of some hundred bytes: each partition holds a few dozen. */
const FILL_KEYS = 2000;

/** A partition for each. Behind the end of an operator there is none that could be held. */
const FORWARD = [...(['ADD', 'CATCH_UP', 'VERIFY', 'TRANSFER', 'REMOVE'] as const).flatMap((step) => (['before', 'after'] as const).map((place) => ({ step, place }))), { step: 'DONE', place: 'before' } as const];
/** Taken back from two places: a replica that is not compared yet, and one that leads already. */
const BACKWARD = (['VERIFY', 'REMOVE'] as const).flatMap((from) => ([['ROLL_BACK', 'before'], ['ROLL_BACK', 'after'], ['ROLLED_BACK', 'before']] as const).map(([step, place]) => ({ from, step, place })));

let cluster: DevCluster;
let files: FailpointFiles;
let chaos: ChaosClients;
let round = 0;

beforeAll(async () => {
  files = await FailpointFiles.make();
  cluster = await DevCluster.start({ nodes: 4, routers: 2, coordinators: 2, env: { COORDINATOR_FAILPOINTS_DIR: files.directory, COORDINATOR_LEARNERS_PER_NODE_MAX: String(FORWARD.length + BACKWARD.length) } });
  await cluster.untilRedundant();
  const entries = Array.from({ length: FILL_KEYS }, (_, index) => ({ key: `fill-${index}`, value: `${index} ${'v'.repeat(300)}` }));
  const refused = (await cluster.client().setMany(entries, { deadlineMs: 30_000 })).filter(({ ok }) => !ok);
  if (refused.length > 0) throw new Error(`${refused.length} entries were refused`);
}, START_MS);

afterAll(async () => {
  await cluster?.stop();
  await files?.remove();
}, STOP_MS);

afterEach(() => files.release());

interface Held {
  readonly from: string;
  readonly to: string;
  /** Jobs: the first one goes forward, the second one was cancelled. */
  readonly jobs: readonly [string, string];
}

/** The move for which most partitions are led by the source. */
async function moves(): Promise<{ readonly from: string; readonly to: string; readonly partitions: readonly number[] }> {
  const records = await cluster.partitions();
  const nodes = cluster.up.storageNodes.map(({ id }) => id);
  const pairs = nodes.flatMap((from) => nodes.filter((to) => to !== from).map((to) => ({ from, to })));
  const found = pairs.map(({ from, to }) => {
    const movable = records.filter(({ inSync }) => inSync.includes(from) && !inSync.includes(to));
    const led = movable.filter(({ leader }) => leader === from);
    return { from, to, led: led.length, partitions: [...led, ...movable.filter(({ leader }) => leader !== from)].map(({ id }) => id) };
  });
  return found.filter(({ partitions }) => partitions.length >= FORWARD.length + BACKWARD.length).toSorted((a, b) => b.led - a.led)[0]!;
}

/** Brings an operator to each failpoint. */
async function hold(): Promise<Held> {
  await eventually('no migration runs', async () => (await cluster.migrations()).every(({ endedAtMs }) => endedAtMs > 0), END_MS);
  await cluster.untilRedundant();
  round += 1;
  chaos = new ChaosClients({ clients: [cluster.client(), cluster.client()], seed: SEED + 100 * round, keys: 160, workers: 8, pauseMs: 8 });
  const { from, to, partitions } = await moves();
  // Those that the source leads go where an office changes hands: to TRANSFER and REMOVE, and back from there.
  const order = [...BACKWARD.filter(({ from: at }) => at === 'REMOVE'), ...FORWARD.toReversed(), ...BACKWARD.filter(({ from: at }) => at === 'VERIFY')];
  const placed = order.map((point, index) => ({ ...point, partition: partitions[index]! }));
  const back = placed.flatMap((point): (Failpoint & { readonly from: 'VERIFY' | 'REMOVE' })[] => ('from' in point ? [point] : []));
  const forth = placed.flatMap((point): Failpoint[] => ('from' in point ? [] : [point]));
  const turning = back.map(({ partition, from: step }): Failpoint => ({ partition, step, place: 'before' }));
  await files.hold([...forth, ...turning, ...back]);
  const jobs = [`forth-${round}`, `back-${round}`] as const;
  await cluster.startMigration({ id: jobs[1], from, to, partitions: back.map(({ partition }) => partition) });
  await cluster.startMigration({ id: jobs[0], from, to, partitions: forth.map(({ partition }) => partition) });
  await files.untilReached(turning, REACH_MS);
  await cluster.cancelMigration(jobs[1]);
  await files.untilReached([...forth, ...back], REACH_MS);
  await chaos.progress(100);
  return { from, to, jobs };
}

async function ended(id: string): Promise<readonly PartitionMigration[]> {
  await eventually(`${id} has ended`, async () => ((await cluster.migration(id).catch(() => undefined))?.migration.endedAtMs ?? 0) > 0, END_MS);
  return (await cluster.migration(id)).partitions;
}

/** Partitions of the jobs that are neither done nor back, or do not stand in the records as they should. */
async function misplaced({ from, to, jobs }: Held): Promise<string[]> {
  const partitions = [...(await ended(jobs[0])), ...(await ended(jobs[1]))];
  await cluster.untilRedundant();
  const records = new Map((await cluster.partitions()).map((record) => [record.id, record]));
  return partitions.flatMap(({ partition, step, problem }) => {
    const { inSync } = records.get(partition)!;
    const isRight = step === MigrationStep.MIGRATION_STEP_DONE ? !inSync.includes(from) && inSync.includes(to) : step === MigrationStep.MIGRATION_STEP_ROLLED_BACK && !inSync.includes(to);
    return isRight ? [] : [`${partition}, ${from} to ${to}: step ${step}, in sync on ${inSync.join(', ')} ${problem}`];
  });
}

const ENDED_AS_ASKED = [MigrationState.MIGRATION_STATE_SUCCEEDED, MigrationState.MIGRATION_STATE_CANCELLED];
const statesOf = ({ jobs }: Held): Promise<readonly MigrationState[]> => Promise.all(jobs.map(async (job) => (await cluster.migration(job)).migration.state));

async function expectUnharmed(held: Held): Promise<void> {
  expect(await misplaced(held)).toEqual([]);
  expect(await harmOf(cluster, chaos)).toEqual(NO_HARM);
  const kept = await cluster.client().getMany(Array.from({ length: FILL_KEYS }, (_, index) => `fill-${index}`), { deadlineMs: 30_000 });
  expect(kept.filter((outcome, index) => !outcome.ok || !outcome.value?.value.toString().startsWith(`${index} `))).toEqual([]);
}

it('nobody fails: what stood at the failpoints goes on', async () => {
  const held = await hold();
  await files.release();
  await expectUnharmed(held);
  expect(await statesOf(held)).toEqual(ENDED_AS_ASKED);
});

it('SIGKILL of the coordinator at each failpoint: the other one ends both jobs as they were to end', async () => {
  const held = await hold();
  const elected = await cluster.electedCoordinator();
  await cluster.kill(elected);
  await files.release();
  await expectUnharmed(held);
  expect(await statesOf(held)).toEqual(ENDED_AS_ASKED);
  await cluster.startProcess(elected);
});

it.each(['from', 'to'] as const)('SIGKILL of the node that partitions go %s, at each failpoint', async (end) => {
  const held = await hold();
  await cluster.kill(held[end]);
  await files.release();
  await chaos.progress();
  await cluster.startProcess(held[end]);
  await expectUnharmed(held);
  const { MIGRATION_STATE_SUCCEEDED: succeeded, MIGRATION_STATE_FAILED: failed, MIGRATION_STATE_CANCELLED: cancelled } = MigrationState;
  for (const state of await statesOf(held)) expect([succeeded, failed, cancelled]).toContain(state);
});

it('SIGKILL of a router at each failpoint', async () => {
  const held = await hold();
  await cluster.kill('router-1');
  await files.release();
  await chaos.progress(50);
  await cluster.startProcess('router-1');
  await expectUnharmed(held);
  expect(await statesOf(held)).toEqual(ENDED_AS_ASKED);
});

it.each([
  ['stands still', 'pause', 'resume'],
  ['is killed and started again', 'kill', 'startProcess'],
] as const)('etcd %s at each failpoint: the steps that are under way are written later, or not at all (R7)', async (_, away, back) => {
  const held = await hold();
  await cluster[away]('etcd');
  await files.release();
  const awayMs = performance.now();
  while (performance.now() - awayMs < ETCD_AWAY_MS) await chaos.progress(50);
  await cluster[back]('etcd');
  await expectUnharmed(held);
  expect(await statesOf(held)).toEqual(ENDED_AS_ASKED);
});
