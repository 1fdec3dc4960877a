// A cluster follows another one, takes its place when all of it was killed, and gives the place back, with nothing transferred but
// what differs (R37). So do the nodes of a pool of one cluster for those of another pool; there nobody has to say that these are
// stopped (R15).
import { jest } from '@jest/globals';
import { isAtollError, type AtollClient } from '@atoll/client';
import { Durability } from '@atoll/contracts/atoll/v1/admin';
import { StandbyState } from '@atoll/contracts/atoll/v1/standby';
import { eventually } from '@atoll/platform-etcd/testing';
import { AcknowledgedWriter } from './acknowledged-writer.ts';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';
import { Prometheus, hasPrometheus, targetsOf } from './prometheus.ts';
import { StandbyCalls } from './standby-calls.ts';

jest.setTimeout(240_000);

const KEYS = 2000;
const VALUE_BYTES = 500;
const REACH_MS = 60_000;
const FIRES_MS = 45_000;
const OF_STANDBYS = new Set(['AtollStandbyLag', 'AtollStandbyNotFollowing', 'AtollPrimaryNotFenced']);
const LONG = { deadlineMs: 20_000 };
const SERVICES = ['node-1', 'node-2', 'router-1', 'coordinator-1'];
const FENCE_AFTER_MS = 4000;
const OFFERED = { ROUTER_COPY_SOURCES: 'on', ROUTER_COPY_CUT_OVERS: 'on', STORAGE_NODE_FENCE_AFTER_MS: '3000', COORDINATOR_FENCE_AFTER_MS: String(FENCE_AFTER_MS) };
const { STANDBY_STATE_PROMOTED: PROMOTED, STANDBY_STATE_FOLLOWING: FOLLOWING } = StandbyState;

let east: DevCluster;
let west: DevCluster;
let inEast: StandbyCalls;
let inWest: StandbyCalls;
/** Of the west, with the alerts of infra; undefined where there is none. */
let prometheus: Prometheus | undefined;
beforeAll(async () => {
  east = await DevCluster.start({ nodes: 2, env: OFFERED });
  west = await DevCluster.start({ nodes: 2, env: OFFERED });
  inEast = new StandbyCalls(east);
  inWest = new StandbyCalls(west);
  if (hasPrometheus) prometheus = await Prometheus.start(targetsOf({ coordinator: west.up.coordinators }));
}, 2 * START_MS);
afterAll(async () => {
  inEast?.close();
  inWest?.close();
  await prometheus?.stop();
  await west?.stop();
  await east?.stop();
}, 2 * STOP_MS);

const routersOf = (cluster: DevCluster): string[] => cluster.up.routers.map(({ address }) => address);
const reasonOf = (call: Promise<unknown>): Promise<unknown> => call.then(() => 'done', (error: unknown) => (isAtollError(error) ? error.reason : String(error)));
const textOf = async (client: AtollClient, key: string): Promise<string | undefined> => (await client.get(key, LONG))?.value?.toString();
const sentBy = async (cluster: DevCluster): Promise<number> => (await cluster.metrics('router-1')).sum('atoll_router_copy_bytes_total');

/** Alerts in the west, as far as they are of standbys. Where there is no Prometheus nobody is asked. */
async function untilFiring(...alerts: readonly string[]): Promise<void> {
  if (prometheus === undefined) return;
  let firing: string[] = [];
  await eventually('alerts fire', async () => {
    firing = (await prometheus!.firing()).filter((alert) => OF_STANDBYS.has(alert));
    return alerts.every((alert) => firing.includes(alert)) && (alerts.length > 0 || firing.length === 0);
  }, FIRES_MS).catch((error: unknown) => {
    throw new Error(`wanted: ${alerts.join(', ')}; firing: ${firing.join(', ')}`, { cause: error });
  });
}

async function fill(client: AtollClient): Promise<void> {
  for (let from = 0; from < KEYS; from += 500) {
    const entries = Array.from({ length: 500 }, (_, index) => ({ key: `bulk-${from + index}`, value: `${from + index} `.padEnd(VALUE_BYTES, 'x') }));
    const outcomes = await client.setMany(entries, LONG);
    expect(outcomes.every(({ ok }) => ok)).toBe(true);
  }
}

describe('a standby in another cluster', () => {
  it('takes the place of a primary that was killed, with all that was replicated; the old primary is closed when it comes back, and becomes the standby by what differs alone', async () => {
    await east.createKeyspace({ name: 'orders', partitionCount: 8, replicationFactor: 2, durability: Durability.DURABILITY_SYNC });
    await east.untilRedundant('orders');
    const atEast = east.client({ keyspace: 'orders' });
    const atWest = west.client({ keyspace: 'orders' });
    await fill(atEast);
    const [created] = await inWest.create({ sourceRouters: routersOf(east), keyspaces: ['orders'] });
    const eastId = created!.primaryCluster;
    // The same again changes nothing.
    expect((await inWest.create({ sourceRouters: routersOf(east), keyspaces: ['orders'] }))[0]!.id).toBe(created!.id);
    const writer = new AcknowledgedWriter({ client: atEast, keys: 300, workers: 4 });
    await eventually('writers have written', () => writer.writes > 1000, REACH_MS);
    expect(await reasonOf(atWest.set('mine', 'x', LONG))).toBe('KEYSPACE_COPYING');
    await writer.stop();
    const followed = await inWest.untilFollowing('orders');
    const { text } = await west.metrics('coordinator-1');
    for (const metric of ['lag_seconds', 'lag_entries', 'following']) expect(text).toMatch(new RegExp(`^atoll_standby_${metric}\\{[^}]*keyspace="orders"`, 'm'));
    expect(followed).toMatchObject({ partitions: 8, following: 8, problem: '', entries: KEYS + writer.acknowledged.size });
    expect(await reasonOf(inWest.promote({ keyspace: 'orders', primaryIsStopped: eastId }))).toBe('INVALID_ARGUMENT');
    await untilFiring();

    // What is told of the lag is up to half a second old: it may be of before the last writes.
    await eventually('all that was acknowledged is there', async () => (await writer.lost(atWest)).length === 0, REACH_MS);
    // Written at the primary while nothing is taken from there: never replicated.
    await west.pauseMigration(created!.id);
    const pausedAtMs = Date.now();
    await eventually('nothing is taken any more', async () => (await inWest.show('orders')).lagSeq === undefined, REACH_MS);
    const lost = ['lost-1', 'lost-2', 'lost-3', 'bulk-7'];
    for (const key of lost) await atEast.set(key, 'never replicated', LONG);
    await Promise.all(SERVICES.map((id) => east.kill(id)));
    await untilFiring('AtollStandbyLag', 'AtollStandbyNotFollowing');

    expect(await reasonOf(inWest.promote({ keyspace: 'orders' }))).toBe('SOURCE_UNREACHABLE');
    expect(await reasonOf(inWest.promote({ keyspace: 'orders', primaryIsStopped: 'another' }))).toBe('INVALID_ARGUMENT');
    const askedMs = performance.now();
    const promoted = await inWest.promote({ keyspace: 'orders', primaryIsStopped: eastId });
    expect((await atWest.set('since-0', 'v', LONG)).applied).toBe(true);
    expect(performance.now() - askedMs).toBeLessThan(3000);
    expect([promoted.state, promoted.promotion!.forced, promoted.promotion!.incomplete, promoted.promotion!.primaryFenced]).toEqual([PROMOTED, true, 0, false]);
    expect(promoted.promotion!.partitions).toHaveLength(8);
    expect(promoted.promotion!.ageMs).toBeGreaterThanOrEqual(promoted.promotion!.atMs - pausedAtMs - 100);
    expect(await writer.lost(atWest)).toEqual([]);
    expect([await textOf(atWest, 'lost-1'), (await textOf(atWest, 'bulk-7'))?.trimEnd()]).toEqual([undefined, '7 '.padEnd(VALUE_BYTES, 'x')]);
    expect((await west.events('STANDBY_PROMOTED')).map(({ keyspace }) => keyspace)).toEqual(['orders']);

    await untilFiring('AtollPrimaryNotFenced');
    await Promise.all(SERVICES.map((id) => east.startProcess(id)));
    await eventually('the old primary is told that it is none any more', async () => (await inWest.show('orders')).promotion?.primaryFenced, REACH_MS);
    expect(await reasonOf(atEast.set('late', 'x', LONG))).toBe('KEYSPACE_MOVED');
    expect(await textOf(atEast, 'lost-1')).toBe('never replicated');
    await untilFiring();
    await failBack({ lost, writer, atEast, atWest });
  });

  it('of everything that there is; `default` is served by its own name once its standby is promoted', async () => {
    await east.client().set('k', 'of the east', LONG);
    const created = await inWest.create({ sourceRouters: routersOf(east), all: true });
    expect(created.map(({ keyspace }) => keyspace)).toEqual(['default-standby', 'orders']);
    await inWest.untilFollowing('default');
    expect((await inWest.show('default')).keyspace).toBe('default-standby');
    expect((await inWest.promote({ keyspace: 'default' })).promotion).toMatchObject({ forced: false, missingKnown: 0 });
    expect(await textOf(west.client(), 'k')).toBe('of the east');
    expect((await west.client().set('k', 'of the west', LONG)).applied).toBe(true);
    expect(await reasonOf(east.client().set('k', 'late', LONG))).toBe('KEYSPACE_MOVED');
  });

  it('that is removed is gone, and its primary is as before', async () => {
    await east.createKeyspace({ name: 'users', partitionCount: 4 });
    await inWest.create({ sourceRouters: routersOf(east), keyspaces: ['users'] });
    await inWest.untilFollowing('users');
    await inWest.remove('users');
    await eventually('it is gone', async () => (await reasonOf(west.keyspace('users'))) === 'KEYSPACE_NOT_FOUND', REACH_MS);
    // The job ends when the keyspace is gone.
    await eventually('so is the standby', async () => (await reasonOf(inWest.show('users'))) === 'STANDBY_NOT_FOUND', REACH_MS);
    expect((await east.client({ keyspace: 'users' }).set('k', 'v', LONG)).applied).toBe(true);
  });
});

describe('a standby on another pool of the same cluster', () => {
  it('takes the place of a primary of which every node was killed, with all that was replicated; clients go on under the old name, and the way back loses nothing', async () => {
    await west.addNode('standby');
    await west.addNode('standby');
    expect((await west.nodes()).map(({ pool }) => pool)).toEqual(['main', 'main', 'standby', 'standby']);
    await west.createKeyspace({ name: 'carts', partitionCount: 8, replicationFactor: 2, durability: Durability.DURABILITY_SYNC });
    await west.untilRedundant('carts');
    const carts = west.client({ keyspace: 'carts' });
    await fill(carts);
    const [created] = await inWest.create({ pool: 'standby', keyspaces: ['carts'] });
    expect(created).toMatchObject({ keyspace: 'carts-standby', pool: 'standby', primary: 'carts', primaryPool: 'main' });
    const writer = new AcknowledgedWriter({ client: carts, keys: 300, workers: 4 });
    await eventually('writers have written', () => writer.writes > 500, REACH_MS);
    await writer.stop();
    expect(await inWest.untilFollowing('carts')).toMatchObject({ keyspace: 'carts-standby', following: 8, problem: '' });
    const nodesOf = async (keyspace: string): Promise<string[]> => [...new Set((await west.partitions(keyspace)).flatMap(({ inSync }) => inSync))].sort();
    expect(await nodesOf('carts-standby')).toEqual(['node-3', 'node-4']);
    const atStandby = west.client({ keyspace: 'carts-standby' });
    await eventually('all that was acknowledged is there', async () => (await writer.lost(atStandby)).length === 0, REACH_MS);
    expect(await reasonOf(atStandby.set('mine', 'x', LONG))).toBe('KEYSPACE_COPYING');
    expect(await reasonOf(inWest.promote({ keyspace: 'carts', withoutPrimary: true }))).toBe('INVALID_ARGUMENT');

    await Promise.all(['node-1', 'node-2'].map((id) => west.kill(id)));
    expect(await reasonOf(inWest.promote({ keyspace: 'carts' }))).toBe('SOURCE_UNREACHABLE');
    const askedMs = performance.now();
    const promoted = await inWest.promote({ keyspace: 'carts', withoutPrimary: true });
    // Nobody says that they are dead: it is certain when who may live has stopped.
    expect(performance.now() - askedMs).toBeGreaterThan(FENCE_AFTER_MS);
    expect(promoted).toMatchObject({ state: PROMOTED, promotion: { forced: true, incomplete: 0, missingKnown: 0, primaryFenced: true } });
    expect((await carts.set('since', 'v', LONG)).applied).toBe(true);
    expect(await writer.lost(carts)).toEqual([]);

    await Promise.all(['node-1', 'node-2'].map((id) => west.startProcess(id)));
    const [back] = await inWest.create({ pool: 'main', keyspaces: ['carts'], resync: true });
    expect(back).toMatchObject({ keyspace: 'carts', pool: 'main', primary: 'carts-standby', primaryPool: 'standby' });
    await inWest.untilFollowing('carts');
    expect(await nodesOf('carts-standby')).toEqual(['node-3', 'node-4']);
    const again = new AcknowledgedWriter({ client: carts, keys: 300, workers: 4 });
    await eventually('writers have written', () => again.writes > 300, REACH_MS);
    await eventually('it is promoted', async () => (await inWest.promote({ keyspace: 'carts' }).catch(() => undefined))?.state === PROMOTED, REACH_MS);
    const before = again.writes;
    await eventually('writers go on', () => again.writes > before + 100, REACH_MS);
    await again.stop();
    expect((await inWest.show('carts')).promotion).toMatchObject({ forced: false, missingKnown: 0 });
    expect([await again.lost(carts), await textOf(carts, 'since'), again.refusals.size]).toEqual([[], 'v', 0]);
    const { name, pool, aliases } = await west.keyspace('carts');
    expect([name, pool, aliases]).toEqual(['carts', 'main', []]);
    await inWest.remove('carts');
    await eventually('the former primary goes', async () => (await reasonOf(west.keyspace('carts-standby'))) === 'KEYSPACE_NOT_FOUND', REACH_MS);
    expect(await again.lost(carts)).toEqual([]);
  });
});

async function failBack({ lost, writer, atEast, atWest }: { lost: readonly string[]; writer: AcknowledgedWriter; atEast: AtollClient; atWest: AtollClient }): Promise<void> {
  for (let index = 0; index < 20; index += 1) await atWest.set(`since-${index}`, 'v', LONG);
  await atWest.delete('bulk-9', LONG);
  expect(await reasonOf(inEast.create({ sourceRouters: routersOf(west), keyspaces: ['orders'] }))).toBe('KEYSPACE_EXISTS');
  const before = await sentBy(west);
  await inEast.create({ sourceRouters: routersOf(west), keyspaces: ['orders'], resync: true });
  await inEast.untilFollowing('orders');
  // Of a megabyte: 25 keys differ, each with some entries beside it.
  expect((await sentBy(west)) - before).toBeLessThan((KEYS * VALUE_BYTES) / 4);
  expect([await textOf(atEast, 'lost-1'), await textOf(atEast, 'bulk-9'), await textOf(atEast, 'since-19')]).toEqual([undefined, undefined, 'v']);
  const discards = await eventually('it is told what was discarded', async () => {
    const events = await east.events('DATA_DISCARDED');
    return lost.every((key) => events.some(({ message }) => message.includes(key))) && events;
  }, REACH_MS);
  expect(discards.every(({ keyspace }) => keyspace === 'orders')).toBe(true);

  // Back, with the other one there: nothing is lost.
  const again = new AcknowledgedWriter({ client: atWest, keys: 300, workers: 4 });
  await eventually('writers have written', () => again.writes > 500, REACH_MS);
  await eventually('it is promoted', async () => (await inEast.promote({ keyspace: 'orders' }).catch(() => undefined))?.state === PROMOTED, REACH_MS);
  expect((await inEast.show('orders')).promotion).toMatchObject({ forced: false, missingKnown: 0 });
  await eventually('writers are told that it went', () => again.refused('KEYSPACE_MOVED') > 20, REACH_MS);
  await again.stop();
  expect(await again.lost(atEast)).toEqual([]);
  expect(writer.acknowledged.size).toBe(again.acknowledged.size);
  expect((await atEast.set('home', 'v', LONG)).applied).toBe(true);

  // And the other one stands by again.
  await inWest.create({ sourceRouters: routersOf(east), keyspaces: ['orders'], resync: true });
  expect((await inWest.untilFollowing('orders')).state).toBe(FOLLOWING);
  await eventually('it has what was written since', async () => (await textOf(atWest, 'home')) === 'v', REACH_MS);
  expect(await again.lost(atWest)).toEqual([]);
}
