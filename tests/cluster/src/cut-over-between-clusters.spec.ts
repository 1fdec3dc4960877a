// A keyspace moves from one cluster to another one, by the cut-over of its copy there, while clients write to it and coordinators of
// either cluster die in the middle (R37).
import { jest } from '@jest/globals';
import { isAtollError, type AtollClient } from '@atoll/client';
import { MigrationMethod, MigrationState, type Migration } from '@atoll/contracts/atoll/v1/migration';
import { eventually } from '@atoll/platform-etcd/testing';
import { AcknowledgedWriter } from './acknowledged-writer.ts';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';
import { FailpointFiles } from './failpoint-files.ts';

jest.setTimeout(240_000);

const KEYS = 400;
const END_MS = 60_000;
const REACH_MS = 30_000;
const LONG = { deadlineMs: 20_000 };
const { MIGRATION_STATE_SUCCEEDED: SUCCEEDED, MIGRATION_STATE_RUNNING: RUNNING, MIGRATION_STATE_CUTTING_OVER: CUTTING_OVER, MIGRATION_STATE_CANCELLED: CANCELLED } = MigrationState;

let files: FailpointFiles;
let from: DevCluster;
let to: DevCluster;
beforeAll(async () => {
  files = await FailpointFiles.make();
  from = await DevCluster.start({ nodes: 2, routers: 2, env: { ROUTER_COPY_SOURCES: 'on', ROUTER_COPY_CUT_OVERS: 'on' } });
  to = await DevCluster.start({ nodes: 2, env: { COORDINATOR_FAILPOINTS_DIR: files.directory } });
}, 2 * START_MS);
afterAll(async () => {
  await to?.stop();
  await from?.stop();
  await files?.remove();
}, 2 * STOP_MS);
afterEach(() => files.release());

interface Copied {
  readonly id: string;
  readonly name: string;
  readonly target: string;
  readonly writer: AcknowledgedWriter;
  readonly source: AtollClient;
  readonly copy: AtollClient;
}

const untilReady = (id: string): Promise<unknown> =>
  eventually(
    'the copy follows, is near its source, and was found equal',
    async () => {
      const { copy } = (await to.migration(id)).migration;
      return copy?.following === true && copy.comparedEntries !== undefined && copy.differing === 0 && (copy.lagMs ?? Infinity) < 500;
    },
    END_MS,
  );

/** A keyspace under load, and a copy of other partitions in the other cluster that follows it and was found equal. */
async function copied(name: string): Promise<Copied> {
  await from.createKeyspace({ name, partitionCount: 8, replicationFactor: 2, minInSync: 1 });
  await from.untilRedundant(name);
  const source = from.client({ keyspace: name });
  const writer = new AcknowledgedWriter({ client: source, keys: KEYS, workers: 8 });
  await eventually('every key was written', () => writer.acknowledged.size === KEYS, END_MS);
  const id = `move-${name}`;
  const target = `${name}-wide`;
  await to.startMigration({ id, method: MigrationMethod.MIGRATION_METHOD_COPY, keyspace: name, sourceRouters: from.up.routers.map(({ address }) => address), target: { name: target, partitionCount: 16, replicationFactor: 2, minInSync: 1 } });
  await untilReady(id);
  return { id, name, target, writer, source, copy: to.client({ keyspace: target }) };
}

const stateOf = async (id: string): Promise<Migration> => (await to.migration(id)).migration;
const errorOf = (call: Promise<unknown>): Promise<unknown> => call.then(() => 'done', (error: unknown) => (isAtollError(error) ? error.reason : String(error)));

/** A cut-over that stands still; its answer comes later, or none where the coordinator is killed. */
async function heldCutOver({ name, id }: Copied, place: 'before' | 'after', maxPauseMs: number): Promise<{ readonly answer: Promise<PromiseSettledResult<Migration>> }> {
  await files.holdCutOver(name, place);
  const answer = Promise.allSettled([to.cutOverMigration(id, maxPauseMs)]).then(([settled]) => settled);
  await files.untilCutOver(name, place, REACH_MS);
  return { answer };
}

/** The source takes no writes and says where it went, and the copy has all that was ever acknowledged, and takes writes. */
async function hasMoved({ name, target, writer, source, copy }: Copied): Promise<void> {
  await eventually('writers at the source are told that it went', () => writer.refused('KEYSPACE_MOVED') > 20, END_MS);
  await writer.stop();
  // Before anybody writes to the copy: nothing that was acknowledged at the source is missing.
  expect(await writer.lost(copy)).toEqual([]);
  expect([...writer.refusals.keys()].filter((reason) => reason !== 'WRITE_IN_DOUBT')).toEqual(['KEYSPACE_MOVED']);
  const left = await from.keyspace(name);
  expect(left.freeze).toMatchObject({ movedToKeyspace: target });
  expect(await source.set('late', 'x', LONG).catch((error: unknown) => isAtollError(error) && [error.reason, error.metadata['moved_to_keyspace'], error.metadata['moved_to_cluster']])).toEqual(['KEYSPACE_MOVED', target, left.freeze!.movedToCluster]);
  expect((await copy.set('mine', 'v', LONG)).applied).toBe(true);
  // It is read as it was when it went.
  expect(await writer.lost(source)).toEqual([]);
  expect((await source.get('mine', LONG))?.value).toBeUndefined();
}

/** Writers went on at the source, and the copy is a copy still. */
async function hasStayed({ id, writer, copy, name }: Copied): Promise<void> {
  const before = writer.writes;
  await eventually('writers go on at the source', () => writer.writes > before + 200, END_MS);
  expect(await errorOf(copy.set('mine', 'x', LONG))).toBe('KEYSPACE_COPYING');
  expect((await from.keyspace(name)).freeze).toBeUndefined();
  expect([...writer.refusals.keys()].filter((reason) => reason !== 'WRITE_IN_DOUBT')).toEqual([]);
  await untilReady(id);
}

describe('a keyspace that moves to another cluster', () => {
  it('all that was acknowledged is there, the source takes nothing more and says where it went; an operator may reopen it', async () => {
    const moving = await copied('orders');
    const job = await to.cutOverMigration(moving.id);
    expect([job.state, job.problem]).toEqual([SUCCEEDED, '']);
    expect(job.pauseMsMax).toBeLessThanOrEqual(2000);
    expect(job.copy!.pausesMs).toHaveLength(8);
    await hasMoved(moving);
    // Once more is the same as once.
    expect(await to.cutOverMigration(moving.id)).toMatchObject({ state: SUCCEEDED, pauseMsMax: job.pauseMsMax });
    expect((await from.events('KEYSPACE_MOVED')).map(({ keyspace }) => keyspace)).toEqual(['orders']);
    // A version of the source is never one of the copy.
    expect(Math.min(...(await to.partitions(moving.target)).map(({ generation }) => generation))).toBeGreaterThan(1000);
    await from.kill('node-1');
    await eventually('others lead', async () => (await from.partitions('orders')).every(({ leader }) => leader === 'node-2'), END_MS);
    expect(await errorOf(moving.source.set('late', 'x', LONG))).toBe('KEYSPACE_MOVED');
    await from.startProcess('node-1');
    await from.untilRedundant('orders');
    expect(await errorOf(from.unfreezeKeyspace('orders'))).toBe('KEYSPACE_MOVED');
    await from.unfreezeKeyspace('orders', true);
    expect((await moving.source.set('late', 'x', LONG)).applied).toBe(true);
  });

  it('the coordinator of the copy is killed before it has asked for the keyspace: the source takes writes again by itself, and the next coordinator gives it up; then it succeeds', async () => {
    const moving = await copied('carts');
    await heldCutOver(moving, 'before', 4000);
    await to.kill('coordinator-1');
    await files.release();
    await hasGoneOn(moving);
    await to.startProcess('coordinator-1');
    const given = await eventually('it is given up', async () => {
      const job = await stateOf(moving.id).catch(() => undefined);
      return job?.state === RUNNING ? job : undefined;
    }, END_MS);
    expect(given.problem).toBe('the cut-over was given up: another coordinator was elected meanwhile');
    await hasStayed(moving);
    expect(await to.cutOverMigration(moving.id)).toMatchObject({ state: SUCCEEDED });
    await hasMoved(moving);
  });

  it('the coordinator of the copy is killed when the keyspace was moved: nobody takes writes until the next one has the copy take them', async () => {
    const moving = await copied('users');
    await heldCutOver(moving, 'after', 10_000);
    expect((await stateOf(moving.id)).state).toBe(CUTTING_OVER);
    expect(await errorOf(to.cancelMigration(moving.id))).toBe('MIGRATION_CONFLICT');
    await to.kill('coordinator-1');
    await eventually('writers at the source are told that it went', () => moving.writer.refused('KEYSPACE_MOVED') > 20, END_MS);
    expect(await errorOf(moving.copy.set('early', 'x', LONG))).toBe('KEYSPACE_COPYING');
    await files.release();
    await to.startProcess('coordinator-1');
    await eventually('the next one ends it', async () => (await stateOf(moving.id).catch(() => undefined))?.state === SUCCEEDED, END_MS);
    await hasMoved(moving);
  });

  it('the coordinator of the source is killed while writes are held back: the next one has them taken again, and the cut-over is given up', async () => {
    const moving = await copied('items');
    const { answer } = await heldCutOver(moving, 'before', 60_000);
    await from.kill('coordinator-1');
    await from.startProcess('coordinator-1');
    await hasGoneOn(moving);
    await files.release();
    expect(await answer).toMatchObject({ value: { state: RUNNING, problem: 'the cut-over was given up: the cluster of the source took writes again before the keyspace was moved' } });
    await hasStayed(moving);
    // Cancelled with its writes held back: they are taken again, and the copy goes.
    await heldCutOver(moving, 'before', 60_000);
    await to.cancelMigration(moving.id);
    await files.release();
    await hasGoneOn(moving);
    await eventually('it is cancelled', async () => (await stateOf(moving.id)).state === CANCELLED, END_MS);
    await moving.writer.stop();
    expect(await moving.writer.lost(moving.source)).toEqual([]);
  });

  it('the etcd of the copy goes away: before the keyspace is asked for the source takes writes again by itself, behind that nobody does until it is back', async () => {
    const moving = await copied('notes');
    await heldCutOver(moving, 'before', 3000);
    await to.kill('etcd');
    // HOLD and DRAIN: bounded by the source's own clock, whatever becomes of the other cluster.
    await hasGoneOn(moving);
    await files.release();
    await to.startProcess('etcd');
    await eventually('it is given up', async () => (await stateOf(moving.id).catch(() => undefined))?.state === RUNNING, END_MS);
    await hasStayed(moving);
    // MOVE is done, OPEN is not.
    await heldCutOver(moving, 'after', 10_000);
    await to.kill('etcd');
    await files.release();
    await eventually('writers at the source are told that it went', () => moving.writer.refused('KEYSPACE_MOVED') > 20, END_MS);
    expect(await errorOf(moving.copy.set('early', 'x', LONG))).toBe('KEYSPACE_COPYING');
    await to.startProcess('etcd');
    await eventually('it is opened', async () => (await stateOf(moving.id).catch(() => undefined))?.state === SUCCEEDED, END_MS);
    await hasMoved(moving);
  });

  it('the etcd of the source goes away: while it is not known whether the keyspace was moved neither takes writes; once it was, the copy does without it', async () => {
    const moving = await copied('bills');
    // So long that the hold does not end by time: nothing but etcd can have writes taken again.
    await heldCutOver(moving, 'before', 60_000);
    await from.kill('etcd');
    await files.release();
    await eventually('the job says what it waits for', async () => (await stateOf(moving.id)).problem.startsWith('whether bills was moved is not known'), END_MS);
    const { writes } = moving.writer;
    expect(await errorOf(moving.copy.set('early', 'x', LONG))).toBe('KEYSPACE_COPYING');
    expect(await errorOf(to.cancelMigration(moving.id))).toBe('MIGRATION_CONFLICT');
    expect(moving.writer.writes).toBe(writes);
    await from.startProcess('etcd');
    const ended = await eventually('it is known', async () => {
      const { state } = await stateOf(moving.id);
      return state === CUTTING_OVER ? undefined : state;
    }, END_MS);
    // The hold ended with its coordinator's office, unless etcd was back before that.
    if (ended === SUCCEEDED) return hasMoved(moving);
    await hasStayed(moving);
    await heldCutOver(moving, 'after', 10_000);
    await from.kill('etcd');
    await files.release();
    await eventually('the copy is opened', async () => (await stateOf(moving.id)).state === SUCCEEDED, END_MS);
    expect((await moving.copy.set('first', 'v', LONG)).applied).toBe(true);
    await from.startProcess('etcd');
    await hasMoved(moving);
  });
});

/** Writes that were held back are taken again. */
async function hasGoneOn({ writer }: Copied): Promise<void> {
  const before = writer.writes;
  await eventually('writers go on at the source', () => writer.writes > before + 100, END_MS);
}
