// A copy takes the place of its source while clients write to it, and while something goes wrong in the middle (R37).
import { jest } from '@jest/globals';
import { MigrationMethod, MigrationState, type Migration } from '@atoll/contracts/atoll/v1/migration';
import { eventually } from '@atoll/platform-etcd/testing';
import { ChaosClients } from './chaos-clients.ts';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';
import { FailpointFiles } from './failpoint-files.ts';

jest.setTimeout(240_000);

const SEED = 20_261_122;
const END_MS = 60_000;
const REACH_MS = 30_000;
const NODES = ['node-1', 'node-2', 'node-3', 'node-4'];
const { MIGRATION_STATE_SUCCEEDED: SUCCEEDED, MIGRATION_STATE_RUNNING: RUNNING, MIGRATION_STATE_CANCELLED: CANCELLED, MIGRATION_STATE_CUTTING_OVER: CUTTING_OVER } = MigrationState;

let cluster: DevCluster;
let files: FailpointFiles;
beforeAll(async () => {
  files = await FailpointFiles.make();
  cluster = await DevCluster.start({ nodes: NODES.length, routers: 2, coordinators: 2, env: { COORDINATOR_FAILPOINTS_DIR: files.directory } });
}, START_MS);
afterAll(async () => {
  await cluster?.stop();
  await files?.remove();
}, STOP_MS);
afterEach(() => files.release());

/** A source with something in it, under load, and a copy of other partitions that follows it and was found equal. */
async function copied(name: string, seed: number): Promise<{ readonly chaos: ChaosClients; readonly id: string; readonly target: string }> {
  await cluster.createKeyspace({ name, partitionCount: 8, replicationFactor: 2, minInSync: 1 });
  await cluster.untilRedundant(name);
  const chaos = new ChaosClients({ clients: [cluster.client(), cluster.client()], seed, keyspace: name, pauseMs: 8 });
  const id = `copy-${name}`;
  const target = `${name}-wide`;
  await cluster.startMigration({ id, method: MigrationMethod.MIGRATION_METHOD_COPY, keyspace: name, target: { name: target, partitionCount: 16, replicationFactor: 2, minInSync: 1 } });
  await chaos.progress();
  await untilReady(id);
  return { chaos, id, target };
}

const untilReady = (id: string): Promise<unknown> =>
  eventually(
    'the copy follows, is near its source, and was found equal',
    async () => {
      const { copy } = (await cluster.migration(id)).migration;
      return copy?.following === true && copy.comparedEntries !== undefined && copy.differing === 0 && (copy.lagMs ?? Infinity) < 500;
    },
    END_MS,
  );

const sourceGone = (name: string): Promise<unknown> =>
  eventually('nothing is left of the source', async () => (await Promise.all(NODES.map((node) => cluster.replicas(node)))).flat().every(({ keyspace }) => keyspace !== name), END_MS);

const unharmed = async (chaos: ChaosClients, known: Readonly<Record<string, number>> = {}): Promise<void> => expect({ history: await chaos.verify(), failures: chaos.failures }).toEqual({ history: [], failures: known });

/** Leads most partitions of the keyspace; not one of the others. */
async function busiestLeader(keyspace: string, others: readonly string[] = []): Promise<string> {
  const byLeader = Map.groupBy(await cluster.partitions(keyspace), ({ leader }) => leader);
  return [...byLeader].filter(([node]) => !others.includes(node)).toSorted((a, b) => b[1].length - a[1].length)[0]![0];
}

/** A cut-over that stands still with all writes held back, just before the transaction; its answer comes later, or none where the coordinator is killed. */
async function heldCutOver(name: string, id: string, maxPauseMs: number): Promise<{ readonly answer: Promise<PromiseSettledResult<Migration>> }> {
  await files.holdCutOver(name, 'before');
  const answer = Promise.allSettled([cluster.cutOverMigration(id, maxPauseMs)]).then(([settled]) => settled);
  await files.untilCutOver(name, 'before', REACH_MS);
  return { answer };
}

describe(`a copy that takes the place of its source (seed ${SEED})`, () => {
  it('clients that go on under the old name meet no error, no write is lost or done twice, and the source is deleted', async () => {
    const { chaos, id, target } = await copied('orders', SEED);
    const { version: before } = await cluster.client().set('read-before', 'v', { keyspace: 'orders' });
    const job = await cluster.cutOverMigration(id);
    expect(job).toMatchObject({ state: SUCCEEDED, problem: '', partitionsDone: 16 });
    expect(job.copy!.pausesMs).toHaveLength(8);
    expect(job.pauseMsMax).toBeLessThanOrEqual(2000);
    expect(job.copy!.comparedEntries).toBeGreaterThan(0);
    expect(job.entries).toBeGreaterThan(0);
    await chaos.progress(400);
    expect({ history: await chaos.verify(), failures: chaos.failures }).toEqual({ history: [], failures: {} });
    await sourceGone('orders');
    // Once more is the same as once.
    expect(await cluster.cutOverMigration(id)).toMatchObject({ state: SUCCEEDED, pauseMsMax: job.pauseMsMax });
    const client = cluster.client();
    await client.set('by-the-old-name', 'v', { keyspace: 'orders' });
    expect((await client.get('by-the-old-name', { keyspace: target }))?.value.toString()).toBe('v');
    expect(await cluster.partitions('orders')).toEqual(await cluster.partitions(target));
    // A version of the source is never one of the copy.
    expect((await client.set('read-before', 'w', { keyspace: 'orders', ifVersion: before })).applied).toBe(false);
    expect(Math.min(...(await cluster.partitions(target)).map(({ generation }) => generation))).toBeGreaterThan(1000);
  });

  it('a leader of the source that is killed while writes are held back: its successor holds them back as well (valkey#2724)', async () => {
    const { chaos, id } = await copied('carts', SEED + 1);
    const held = await heldCutOver('carts', id, 60_000);
    const killed = await busiestLeader('carts');
    const led = (await cluster.partitions('carts')).filter(({ leader }) => leader === killed).length;
    expect(led).toBeGreaterThan(0);
    const acknowledged = chaos.acknowledged;
    await cluster.kill(killed);
    await eventually('others lead', async () => (await cluster.partitions('carts')).every(({ leader }) => leader !== '' && leader !== killed), END_MS);
    expect((await cluster.migration(id)).migration.state).toBe(CUTTING_OVER);
    // Whoever leads, nothing was written meanwhile.
    expect(chaos.acknowledged - acknowledged).toBeLessThan(20);
    await files.release();
    expect(await held.answer).toMatchObject({ value: { state: SUCCEEDED } });
    await cluster.startProcess(killed);
    await chaos.progress();
    await unharmed(chaos);
    await sourceGone('carts');
  });

  it('a coordinator that is killed while writes are held back: the next one gives the cut-over up and has them taken again; the one after that succeeds', async () => {
    const { chaos, id } = await copied('users', SEED + 2);
    await heldCutOver('users', id, 60_000);
    const killed = await cluster.electedCoordinator();
    await cluster.kill(killed);
    const given = await eventually('it is given up', async () => {
      const job = await cluster.migration(id).then(({ migration }) => migration, () => undefined);
      return job?.state === RUNNING ? job : undefined;
    }, END_MS);
    expect(given.problem).toBe('the cut-over was given up: another coordinator was elected meanwhile');
    await chaos.progress();
    await files.release();
    await cluster.startProcess(killed);
    await untilReady(id);
    expect(await cluster.cutOverMigration(id, 10_000)).toMatchObject({ state: SUCCEEDED, problem: '' });
    await chaos.progress();
    await unharmed(chaos);
    await sourceGone('users');
  });

  it('that cannot be done in time, since leaders of the copy stand still, is given up: the source is written to as before', async () => {
    const { chaos, id } = await copied('items', SEED + 3);
    const paused = await busiestLeader('items-wide');
    const { pid } = (await cluster.status()).storageNodes.find((node) => node.id === paused)!;
    process.kill(pid!, 'SIGSTOP');
    const job = await cluster.cutOverMigration(id, 300).finally(() => process.kill(pid!, 'SIGCONT'));
    expect(job).toMatchObject({ state: RUNNING, problem: expect.stringMatching(/^the cut-over was given up: writes were held for \d+ ms, of at most 300: /) });
    await chaos.progress();
    await untilReady(id);
    expect(await cluster.cutOverMigration(id, 10_000)).toMatchObject({ state: SUCCEEDED });
    await chaos.progress();
    await unharmed(chaos);
  });

  it('is cancelled while writes are held back: the copy goes, and the source is written to as before', async () => {
    const { chaos, id, target } = await copied('lists', SEED + 4);
    const held = await heldCutOver('lists', id, 60_000);
    await cluster.cancelMigration(id);
    expect(await held.answer).not.toMatchObject({ value: { state: SUCCEEDED } });
    await eventually('it has ended', async () => (await cluster.migration(id)).migration.state === CANCELLED, END_MS);
    await chaos.progress();
    await unharmed(chaos);
    await sourceGone(target);
    expect((await cluster.partitions('lists')).length).toBe(8);
  });

  it('a source that was kept by a coordinator that died behind the transaction is deleted by the next one', async () => {
    const { chaos, id } = await copied('notes', SEED + 5);
    await files.holdCutOver('notes', 'after');
    expect(await cluster.cutOverMigration(id, 10_000)).toMatchObject({ state: SUCCEEDED });
    await files.untilCutOver('notes', 'after', REACH_MS);
    const killed = await cluster.electedCoordinator();
    await cluster.kill(killed);
    await files.release();
    await chaos.progress();
    await sourceGone('notes');
    await cluster.startProcess(killed);
    await unharmed(chaos);
  });

  it('etcd goes away while writes are held back: they wait until it is back, and then for what is left of the time at most (R12)', async () => {
    const { chaos, id } = await copied('bills', SEED + 6);
    const held = await heldCutOver('bills', id, 60_000);
    await cluster.kill('etcd');
    await files.release();
    const acknowledged = chaos.acknowledged;
    // Whoever elected is, or is not, any more: nothing but the record has writes taken again.
    expect(await cluster.client().set('waiting', 'v', { keyspace: 'bills', deadlineMs: 3000 }).then(() => 'done', () => 'not done')).toBe('not done');
    expect(chaos.acknowledged - acknowledged).toBeLessThan(20);
    await cluster.startProcess('etcd');
    await held.answer;
    const { state } = await eventually('it is done, or given up', async () => {
      const job = await cluster.migration(id).then(({ migration }) => migration, () => undefined);
      return job === undefined || job.state === CUTTING_OVER ? undefined : job;
    }, END_MS);
    await chaos.progress();
    if (state === RUNNING) await untilReady(id);
    // Once more is the same as once, where it is done.
    expect(await cluster.cutOverMigration(id, 10_000)).toMatchObject({ state: SUCCEEDED });
    await chaos.progress();
    // Nothing is lost or done twice; whose deadline ended meanwhile was told so plainly.
    expect(await chaos.verify()).toEqual([]);
    expect(Object.keys(chaos.failures).filter((failure) => !/^write (PARTITION_UNAVAILABLE|RETRY_BUDGET_EXHAUSTED|DEADLINE_EXCEEDED)/.test(failure))).toEqual([]);
    await sourceGone('bills');
  });

  it('is refused while the copy does not follow, and says what lacks', async () => {
    await cluster.createKeyspace({ name: 'idle', partitionCount: 4, replicationFactor: 2, minInSync: 1 });
    await cluster.startMigration({ id: 'copy-idle', method: MigrationMethod.MIGRATION_METHOD_COPY, keyspace: 'idle', target: { name: 'idle-wide', partitionCount: 4, replicationFactor: 2, minInSync: 1 } });
    await cluster.pauseMigration('copy-idle');
    const refusal = await cluster.cutOverMigration('copy-idle').then(() => 'taken', (error: unknown) => error);
    expect(String(refusal)).toContain('is PAUSED and cannot be cut over');
    await cluster.cancelMigration('copy-idle');
  });
});
