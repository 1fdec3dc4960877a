// Partitions move between real processes while clients read and write, and while something is done to whoever takes
// part. Whatever happens: the job ends, the history of every key is linearizable, nothing acknowledged is lost, and no
// client sees an error (I8).
import { jest } from '@jest/globals';
import { MigrationMethod, MigrationState, MigrationStep, type Migration, type PartitionMigration } from '@atoll/contracts/atoll/v1/migration';
import type { Partition } from '@atoll/contracts/atoll/v1/admin';
import { eventually } from '@atoll/platform-etcd/testing';
import { ChaosClients } from './chaos-clients.ts';
import { NO_HARM, harmOf, type Harm } from './chaos-harm.ts';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';

jest.setTimeout(240_000);

const SEED = Number(process.env['CHAOS_SEED'] ?? 7301);
const { MIGRATION_METHOD_MOVE: MOVE, MIGRATION_METHOD_SHARDED: SHARDED } = MigrationMethod;
const END_MS = 120_000;
/** The bulk of the data: enough for a bounded copy to last for seconds. */
const FILL_KEYS = 4000;
const FILL_VALUE = 'v'.repeat(2000);
/** A copy of half of it takes some ten seconds. */
const SLOW_BYTES_PER_SECOND = 400_000;

let cluster: DevCluster;
let chaos: ChaosClients;
let round = 0;

beforeAll(async () => {
  cluster = await DevCluster.start({ nodes: 4, routers: 2, coordinators: 2 });
  await cluster.untilRedundant();
  const client = cluster.client();
  for (let start = 0; start < FILL_KEYS; start += 500) {
    const entries = Array.from({ length: 500 }, (_, index) => ({ key: `fill-${start + index}`, value: `${start + index} ${FILL_VALUE}` }));
    const refused = (await client.setMany(entries, { deadlineMs: 30_000 })).filter(({ ok }) => !ok);
    if (refused.length > 0) throw new Error(`${refused.length} entries were refused`);
  }
}, START_MS);

afterAll(() => cluster?.stop(), STOP_MS);

beforeEach(async () => {
  await eventually('no migration runs', async () => (await cluster.migrations()).every(({ endedAtMs }) => endedAtMs > 0), END_MS);
  await cluster.untilRedundant();
  round += 1;
  chaos = new ChaosClients({ clients: [cluster.client(), cluster.client()], seed: SEED + 100 * round });
  await chaos.progress();
});

/** What was done to clients, and to the bulk of the data, which nobody writes to. */
async function harm(): Promise<Harm & { readonly lost: readonly string[] }> {
  const done = await harmOf(cluster, chaos);
  const keys = Array.from({ length: FILL_KEYS }, (_, index) => `fill-${index}`);
  const kept = await cluster.client().getMany(keys, { deadlineMs: 30_000 });
  const isKept = (index: number): boolean => {
    const outcome = kept[index]!;
    return outcome.ok && outcome.value?.value.toString() === `${index} ${FILL_VALUE}`;
  };
  return { ...done, lost: keys.filter((_, index) => !isKept(index)) };
}

const UNHARMED = { ...NO_HARM, lost: [] };

const holdersOf = async (node: string): Promise<number> => (await cluster.partitions()).filter(({ inSync, learners }) => inSync.includes(node) || learners.includes(node)).length;

/** From the node that holds most to the one that holds least. */
async function ends(): Promise<{ from: string; to: string }> {
  const held = await Promise.all(cluster.up.storageNodes.map(async ({ id }) => ({ id, count: await holdersOf(id) })));
  const sorted = held.toSorted((a, b) => b.count - a.count);
  return { from: sorted[0]!.id, to: sorted.at(-1)!.id };
}

/** A slow move of all that can go, and the moment at which some of it is done and some is being copied. */
async function begunMove(): Promise<{ id: string; from: string; to: string; total: number; done: readonly PartitionMigration[] }> {
  const { from, to } = await ends();
  const { migration, partitions } = await cluster.startMigration({ from, to, bytesPerSecond: SLOW_BYTES_PER_SECOND });
  const id = migration!.id;
  expect(partitions.length).toBeGreaterThan(4);
  const isDone = ({ step }: PartitionMigration): boolean => step === MigrationStep.MIGRATION_STEP_DONE;
  const done = await eventually(`some partitions of ${id} are done, others are being copied`, async () => {
    const now = (await cluster.migration(id)).partitions;
    return now.some(isDone) && now.some(({ step }) => step === MigrationStep.MIGRATION_STEP_CATCH_UP) ? now.filter(isDone) : undefined;
  }, END_MS);
  return { id, from, to, total: partitions.length, done };
}

async function ended(id: string): Promise<{ migration: Migration; partitions: readonly PartitionMigration[] }> {
  await eventually(`${id} has ended`, async () => ((await cluster.migration(id).catch(() => undefined))?.migration.endedAtMs ?? 0) > 0, END_MS);
  return cluster.migration(id);
}

/** Lets the job copy as fast as the nodes like, as soon as somebody is elected; unless it has ended meanwhile. */
const unbound = (id: string): Promise<boolean> =>
  eventually(`${id} is not bounded any more`, () => cluster.resumeMigration(id, 0).then(() => true, () => cluster.migration(id).then(({ migration }) => migration.endedAtMs > 0, () => false)), END_MS);

const byPartition = (partitions: readonly PartitionMigration[]): Map<number, PartitionMigration> => new Map(partitions.map((partition) => [partition.partition, partition]));

it.each([
  { method: MOVE, shards: 0 },
  { method: SHARDED, shards: 3 },
])('a move under load ($method, $shards): every partition is compared before its source lets go, the source is left empty', async ({ method, shards }) => {
  const { from, to } = await ends();
  const id = `plain-${shards}`;
  const { migration, partitions } = await cluster.startMigration({ id, method, shards, from, to });
  expect((await cluster.startMigration({ id, method, shards, from, to })).migration!.createdAtMs).toBe(migration!.createdAtMs);
  const after = await ended(id);
  expect(after.migration).toMatchObject({ state: MigrationState.MIGRATION_STATE_SUCCEEDED, method, shards: shards || 1, partitionsDone: partitions.length, partitionsRolledBack: 0 });
  for (const { step, proof, from: sources, to: targets } of after.partitions) {
    expect({ step, sources, targets, equal: (proof?.equal ?? 0) + (proof?.repaired ?? 0) }).toEqual({ step: MigrationStep.MIGRATION_STEP_DONE, sources: [from], targets: [to], equal: 64 });
  }
  expect(after.partitions.reduce((sum, { entries }) => sum + entries, 0)).toBeGreaterThan(100);
  const moved = new Set(partitions.map(({ partition }) => partition));
  const stayed = (await cluster.partitions()).filter(({ id: partition, inSync }) => moved.has(partition) && (inSync.includes(from) || !inSync.includes(to)));
  expect(stayed).toEqual([]);
  expect(await harm()).toEqual(UNHARMED);
});

it('a move that compares each entry, beside clients and one key that is written without a pause: all of them are found equal', async () => {
  const { from, to } = await ends();
  const client = cluster.client();
  const writing = new AbortController();
  const writers = Array.from({ length: 32 }, async () => {
    for (let count = 0; !writing.signal.aborted; count += 1) await client.set('hot', `${count}`, { deadlineMs: 30_000 });
  });
  const { migration } = await cluster.startMigration({ from, to, fullVerify: true });
  const { migration: after, partitions } = await ended(migration!.id);
  writing.abort();
  await Promise.all(writers);
  expect(after).toMatchObject({ state: MigrationState.MIGRATION_STATE_SUCCEEDED, fullVerify: true });
  for (const { proof } of partitions) expect(proof!.comparedEntries).toBeGreaterThan(FILL_KEYS / 64 / 3);
  expect(await harm()).toEqual(UNHARMED);
});

it('SIGKILL of the coordinator in the middle: the other one goes on, and copies nothing again that was done', async () => {
  const { id, total, done } = await begunMove();
  const elected = await cluster.electedCoordinator();
  const killedMs = performance.now();
  await cluster.kill(elected);
  await eventually('the job is told of again', () => cluster.migration(id).then(() => true, () => false), END_MS);
  expect(performance.now() - killedMs).toBeLessThan(30_000);
  await unbound(id);
  const { migration, partitions } = await ended(id);
  expect(migration).toMatchObject({ state: MigrationState.MIGRATION_STATE_SUCCEEDED, partitionsDone: total });
  const after = byPartition(partitions);
  for (const before of done) expect(after.get(before.partition)).toEqual(before);
  await cluster.startProcess(elected);
  expect(await harm()).toEqual(UNHARMED);
});

it('SIGKILL of the target in the middle: what it cannot take goes back or is taken when it returns, and the job ends', async () => {
  const { id, to } = await begunMove();
  await cluster.kill(to);
  await chaos.progress();
  await cluster.startProcess(to);
  await unbound(id);
  const { migration } = await ended(id);
  expect(migration.partitionsDone + migration.partitionsRolledBack).toBe(migration.partitionsTotal);
  expect(await harm()).toEqual(UNHARMED);
});

it('SIGKILL of the source in the middle: others lead, and the job ends', async () => {
  const { id, from } = await begunMove();
  await cluster.kill(from);
  await chaos.progress();
  await cluster.startProcess(from);
  await unbound(id);
  const { migration } = await ended(id);
  expect(migration.partitionsDone + migration.partitionsRolledBack).toBe(migration.partitionsTotal);
  expect(await harm()).toEqual(UNHARMED);
});

it('SIGKILL of the source in the middle of a sharded move of one partition: the other replica in sync goes on with what is left of the sub-ranges', async () => {
  const client = cluster.client({ keyspace: 'one' });
  const keys = Array.from({ length: FILL_KEYS }, (_, index) => `one-${index}`);
  await cluster.createKeyspace({ name: 'one', partitionCount: 1, replicationFactor: 2 });
  await cluster.untilRedundant('one');
  for (let start = 0; start < FILL_KEYS; start += 500) {
    const outcomes = await client.setMany(keys.slice(start, start + 500).map((key) => ({ key, value: `${key} ${FILL_VALUE}` })), { deadlineMs: 30_000 });
    expect(outcomes.filter(({ ok }) => !ok)).toEqual([]);
  }
  const [{ leader: from, inSync }] = (await cluster.partitions('one')) as [Partition];
  const other = inSync.find((node) => node !== from)!;
  const to = cluster.up.storageNodes.map(({ id }) => id).find((id) => !inSync.includes(id))!;
  const sentBy = (nodes: readonly string[]): Promise<number[]> => Promise.all(nodes.map(async (node) => (await cluster.metrics(node)).sum('atoll_sync_sent_bytes_total')));
  const sentBefore = await sentBy([from, other]);
  // 8 MB, at most 1 MB a second from both senders together.
  const { migration } = await cluster.startMigration({ id: 'one', keyspace: 'one', from, to, method: SHARDED, shards: 4, bytesPerSecond: 1_000_000 });
  expect(migration).toMatchObject({ method: SHARDED, shards: 4 });
  const filling = await eventually('a quarter of it is there', async () => {
    const [now] = (await cluster.migration('one')).partitions;
    return now!.step === MigrationStep.MIGRATION_STEP_CATCH_UP && now!.progress > 0.25 ? now : undefined;
  }, END_MS);
  expect(filling.progress).toBeLessThan(1);
  const sent = await sentBy([from, other]);
  for (const [index, bytes] of sent.entries()) expect(bytes).toBeGreaterThan(sentBefore[index]!);
  // Every third key goes while its sub-range is there, or on its way, or still to come (I7).
  const isGone = (index: number): boolean => index % 3 === 0;
  const gone = keys.filter((_, index) => isGone(index));
  await Promise.all(gone.slice(0, gone.length / 2).map((key) => client.delete(key, { deadlineMs: 30_000 })));
  await cluster.kill(from);
  await Promise.all(gone.slice(gone.length / 2).map((key) => client.delete(key, { deadlineMs: 30_000 })));
  await client.set(keys[1]!, 'written since', { deadlineMs: 30_000 });
  await chaos.progress();
  await cluster.startProcess(from);
  await unbound('one');
  const { migration: after, partitions } = await ended('one');
  expect(after.partitionsDone + after.partitionsRolledBack).toBe(1);
  // What was there before was not sent again.
  expect(partitions[0]!.entries).toBeLessThan(FILL_KEYS + 4 * 150);
  await cluster.untilRedundant('one');
  const kept = await client.getMany(keys, { deadlineMs: 30_000 });
  const wrong = keys.filter((key, index) => {
    const outcome = kept[index]!;
    const value = outcome.ok ? outcome.value?.value.toString() : 'an error';
    return value !== (isGone(index) ? undefined : index === 1 ? 'written since' : `${key} ${FILL_VALUE}`);
  });
  expect(wrong).toEqual([]);
  expect((await cluster.compareReplicas('one')).problems).toEqual([]);
  expect(await harm()).toEqual(UNHARMED);
});

it('etcd away in the middle: reads and writes go on, and so does the job afterwards', async () => {
  const { id, total } = await begunMove();
  await cluster.pause('etcd');
  const awayMs = performance.now();
  // A partition whose leader has just given its office up waits for etcd (R29), and who asks for it with it: no longer than that.
  await chaos.progress(50);
  await eventually('five seconds have passed', () => performance.now() - awayMs > 5000);
  await cluster.resume('etcd');
  await unbound(id);
  expect((await ended(id)).migration).toMatchObject({ state: MigrationState.MIGRATION_STATE_SUCCEEDED, partitionsDone: total });
  expect(await harm()).toEqual(UNHARMED);
});

it('cancelled in the middle: what is not done is back at its source, and the target is cleaned of it', async () => {
  const { id, from, to } = await begunMove();
  await cluster.cancelMigration(id);
  await cluster.cancelMigration(id);
  const { migration, partitions } = await ended(id);
  expect(migration).toMatchObject({ state: MigrationState.MIGRATION_STATE_CANCELLED });
  expect(migration.partitionsRolledBack).toBeGreaterThan(0);
  const records = new Map((await cluster.partitions()).map((record) => [record.id, record]));
  for (const { partition, step } of partitions) {
    const members = [...records.get(partition)!.inSync, ...records.get(partition)!.learners];
    const isBack = step === MigrationStep.MIGRATION_STEP_ROLLED_BACK;
    expect({ partition, isOnSource: members.includes(from), isOnTarget: members.includes(to) }).toEqual({ partition, isOnSource: isBack, isOnTarget: !isBack });
  }
  expect(await harm()).toEqual(UNHARMED);
});

it('a node that is drained ends empty, can be stopped and removed, and nothing is lost', async () => {
  const { from } = await ends();
  await cluster.drainNode(from);
  await eventually(`${from} holds nothing`, async () => (await holdersOf(from)) === 0, END_MS);
  const drain = (await cluster.migrations()).find(({ reason }) => reason === 'DRAIN');
  expect(drain).toBeDefined();
  await ended(drain!.id);
  await cluster.terminate(from);
  await eventually(`${from} is removed`, () => cluster.removeNode(from).then(() => true, () => false));
  expect(await harm()).toEqual(UNHARMED);
});
