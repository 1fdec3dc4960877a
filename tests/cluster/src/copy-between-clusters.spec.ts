// A keyspace of one cluster is copied into another one, through the routers of the first, while clients write to it and while a
// router and nodes of both clusters are killed (R37).
import { jest } from '@jest/globals';
import { MigrationMethod, MigrationState, MigrationStep } from '@atoll/contracts/atoll/v1/migration';
import { isAtollError } from '@atoll/core-errors';
import { eventually } from '@atoll/platform-etcd/testing';
import { SteadyWriter, differingKeys, keyOf } from './copied-keys.ts';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';
import { OtlpCollector } from './otlp-collector.ts';

jest.setTimeout(300_000);

const KEYS = 3000;
const EXPIRING = 200;
const BATCH = 500;
const SOURCE = 'orders';
const TARGET = 'orders-wide';
const END_MS = 60_000;
const LONG = { deadlineMs: 30_000 };

let collector: OtlpCollector;
let from: DevCluster;
let to: DevCluster;
beforeAll(async () => {
  collector = await OtlpCollector.start();
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint, ATOLL_TRACE_RATIO: '0' };
  from = await DevCluster.start({ nodes: 2, routers: 2, env: { ...env, ROUTER_COPY_SOURCES: 'on' } });
  to = await DevCluster.start({ nodes: 2, env });
  await from.createKeyspace({ name: SOURCE, partitionCount: 8, replicationFactor: 2 });
  await from.untilRedundant(SOURCE);
}, 2 * START_MS);
afterAll(async () => {
  await to?.stop();
  await from?.stop();
  collector?.stop();
}, 2 * STOP_MS);

const expiringOf = (index: number): string => `expiring-${index}`;

const differing = (): Promise<string[]> => differingKeys(from.client({ keyspace: SOURCE }), to.client({ keyspace: TARGET }), KEYS);

const followed = (what: string): Promise<unknown> =>
  eventually(
    what,
    async () => {
      const { migration, partitions } = await to.migration('c');
      return migration.copy?.following === true && migration.copy.lagSeq === 0 && migration.problem === '' && partitions.every(({ step, problem }) => step === MigrationStep.MIGRATION_STEP_FOLLOW && problem === '');
    },
    END_MS,
  );

it('is whole and follows, also when routers and nodes of both are killed; takes nothing from a keyspace that was made again; is gone when cancelled', async () => {
  const client = from.client({ keyspace: SOURCE });
  const fill = async (keys: readonly string[], value: string, ttlMs?: number): Promise<void> => {
    for (let start = 0; start < keys.length; start += BATCH) {
      const entries = keys.slice(start, start + BATCH).map((key) => ({ key, value: `${key} ${value}`.padEnd(300), ...(ttlMs !== undefined && { ttlMs }) }));
      expect((await client.setMany(entries, LONG)).filter(({ ok }) => !ok)).toEqual([]);
    }
  };
  const all = Array.from({ length: KEYS }, (_, index) => keyOf(index));
  const short = Array.from({ length: EXPIRING }, (_, index) => expiringOf(index));
  await fill(all, 'first');
  await fill(short, 'short', 20_000);
  const sourceRouters = from.up.routers.map(({ address }) => address);
  const request = { id: 'c', method: MigrationMethod.MIGRATION_METHOD_COPY, keyspace: SOURCE, sourceRouters, target: { name: TARGET, partitionCount: 16, replicationFactor: 2, minInSync: 1 } };
  const { migration } = await to.startMigration(request);
  expect(migration).toMatchObject({ state: MigrationState.MIGRATION_STATE_RUNNING, partitionsTotal: 16, copy: { source: SOURCE, target: TARGET, sourceRouters } });
  expect(migration!.copy!.sourceCluster).not.toBe('');

  // Somebody writes and deletes all the time.
  const writer = new SteadyWriter(client, KEYS);
  await eventually('some partitions are copied', async () => (await to.migration('c')).migration.entries > 0, END_MS);
  // A router of the source: the other one is asked.
  await from.kill('router-2');
  await followed('it goes on by the other router');
  // A leader of the source, while that is the only router.
  await from.kill('node-1');
  await followed('it goes on at the next leader of its source');
  await from.startProcess('node-1');
  await from.untilRedundant(SOURCE);
  await from.startProcess('router-2');
  await from.kill('router-1');
  // A leader of its own.
  await to.kill('node-2');
  await followed('it goes on at its own next leader');
  await to.startProcess('node-2');
  await to.untilRedundant(TARGET);

  const pausedAt = writer.written;
  await to.pauseMigration('c');
  await eventually('writers go on meanwhile', () => writer.hasWritten(200, pausedAt), END_MS);
  expect((await to.migration('c')).migration.state).toBe(MigrationState.MIGRATION_STATE_PAUSED);
  await to.resumeMigration('c');
  await writer.stop();
  expect(writer.failures).toEqual([]);
  await followed('it has caught up');
  await eventually('source and copy say the same of every key', async () => (await differing()).length === 0, 20_000);
  const compared = await eventually('every partition was compared since its leader leads', async () => {
    const { copy } = (await to.migration('c')).migration;
    return copy?.comparedEntries === undefined ? undefined : copy;
  }, END_MS);
  expect(compared.differing).toBe(0);
  expect(compared.comparedEntries).toBeGreaterThan(KEYS / 2);
  // Expiries came with the entries, and went by the copy's own time (I7).
  const copy = to.client({ keyspace: TARGET });
  await eventually('what expires is gone at both', async () => (await Promise.all([client, copy].map((one) => one.getMany(short, LONG)))).flat().every((outcome) => outcome.ok && outcome.value === undefined), END_MS);

  const refused = await copy.set('mine', 'x', LONG).then(
    () => 'taken',
    (error: unknown) => (isAtollError(error) ? error.reason : String(error)),
  );
  expect(refused).toBe('KEYSPACE_COPYING');

  // A keyspace of the same name and another life is another one: it is noticed, and nothing of it is mixed in.
  const held = await copy.getMany(all, LONG);
  await from.deleteKeyspace(SOURCE);
  await eventually('it can be made again', () => from.createKeyspace({ name: SOURCE, partitionCount: 8, replicationFactor: 2 }).then(() => true, () => false), END_MS);
  await eventually('there is a new one', async () => (await client.setMany([{ key: keyOf(0), value: 'another life' }], LONG)).every(({ ok }) => ok), END_MS);
  const problem = await eventually('the job says so', async () => (await to.migration('c')).migration.problem || undefined, END_MS);
  expect(problem).toMatch(/^KEYSPACE_NOT_FOUND: router 127\.0\.0\.1:\d+: |PEER_UNAVAILABLE: router /);
  const textOf = (outcomes: typeof held) => outcomes.map((outcome) => (outcome.ok ? outcome.value?.value.toString() : 'failed'));
  expect(textOf(await copy.getMany(all, LONG))).toEqual(textOf(held));

  await to.cancelMigration('c');
  const ended = await eventually('it has ended', async () => {
    const now = (await to.migration('c')).migration;
    return now.endedAtMs > 0 ? now : undefined;
  }, END_MS);
  expect(ended.state).toBe(MigrationState.MIGRATION_STATE_CANCELLED);
  // One trace through both clusters: the job, the streams of its nodes, and who served them there.
  await collector.until('the trace of the copy', () => {
    const spans = collector.trace(ended.traceId);
    const has = (service: string, name: string): boolean => spans.some((span) => span.service === `atoll-${service}` && span.name === name);
    return has('coordinator', 'atoll.migration') && has('coordinator', 'atoll.migration.end') && has('storage-node', 'atoll.copy.fill') && has('storage-node', 'atoll.copy.stream') && has('router', 'atoll.v1.Copy/FollowSource') && has('storage-node', 'atoll.v1.Copy/FollowSource');
  });
  expect(collector.trace(ended.traceId).some(({ name, isError }) => name === 'atoll.copy.stream' && isError)).toBe(true);
  await eventually('nothing is left of it', async () => (await Promise.all(['node-1', 'node-2'].map((node) => to.replicas(node)))).flat().every(({ keyspace }) => keyspace !== TARGET), END_MS);
});
