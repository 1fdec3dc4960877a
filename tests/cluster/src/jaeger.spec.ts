// What services export, in a real Jaeger: the searches of docs/operating/traces.md find what they say, and what happened reads as
// one trace each. Skipped where JAEGER_BIN names none.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import { IncrementRequest } from '@atoll/contracts/atoll/v1/cache';
import { describeWith, eventually, itWith } from '@atoll/platform-etcd/testing';
import { callUnary } from '@atoll/platform-grpc';
import { BackupCalls } from './backup-calls.ts';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';
import { Jaeger, missingJaeger, type JaegerSearch, type JaegerSpan } from './jaeger.ts';
import { Load } from './load.ts';
import { Prometheus, hasPrometheus } from './prometheus.ts';
import { ROOT } from './run-command.ts';

jest.setTimeout(120_000);

const SEED = 20_261_122;
const SOON_MS = 30_000;
const VERSION = '0.1.0';
const LONG = { deadlineMs: 20_000 };
const itWithTool = itWith(hasPrometheus, 'Prometheus is not installed (PROMETHEUS_BIN names one)');
/** As docs/operating/traces.md has them. */
const NAMED = { keyspace: 'orders', partition: 7, migration: 'move-acebed0d', backup: 'backup-5d0c19f2a7b3e846', archive: 'before-upgrade', node: 'storage-node-2', address: 'storage-node-2:7410' };

let prometheus: Prometheus | undefined;
let jaeger: Jaeger;
let cluster: DevCluster;
let backups: BackupCalls;
/** It led the partition that is looked for, and was killed. */
let victim: string;

/** One line of the table of searches. */
interface DocumentedSearch {
  readonly what: string;
  readonly service: string;
  readonly operation: string | undefined;
  readonly tags: Readonly<Record<string, string>>;
}

async function documentedSearches(): Promise<DocumentedSearch[]> {
  const text = await readFile(join(ROOT, 'docs/operating/traces.md'), 'utf8');
  const [table = ''] = text.split('## Searches')[1]!.split('\n## ', 1);
  return Array.from(table.matchAll(/^\| ([^|]+) \| (atoll-[\w-]+|any) \| `([^`]*=[^`]*)`(?:, operation `([^`]+)`)? \|$/gm), ([, what, service, tags, operation]) => ({
    what: what!,
    service: service!,
    operation,
    tags: Object.fromEntries(tags!.split(' ').map((tag) => tag.split('=') as [string, string])),
  }));
}

/** The example of the table, as it is called here. */
function here(tags: Readonly<Record<string, string>>): Record<string, string> {
  const names: Readonly<Record<string, string>> = { [NAMED.node]: victim, [NAMED.address]: cluster.process(victim).address };
  return Object.fromEntries(Object.entries(tags).map(([key, value]) => [key, names[value] ?? value]));
}

const hasAll = (span: JaegerSpan, { service, operation, tags = {} }: JaegerSearch): boolean => span.service === service && (operation === undefined || span.operation === operation) && Object.entries(tags).every(([key, value]) => span.tags[key] === value);

/** The first trace that a search finds in which `isWhole`. */
const traceOf = (search: JaegerSearch, isWhole: (trace: readonly JaegerSpan[]) => boolean = () => true): Promise<JaegerSpan[]> =>
  eventually(`a trace by ${JSON.stringify(search)}`, async () => (await jaeger.find(search)).find(isWhole), SOON_MS);

/** Each span is below another one of the trace, but for one. */
function expectOneTree(trace: readonly JaegerSpan[]): void {
  const ids = new Set(trace.map(({ spanId }) => spanId));
  expect(trace.filter(({ parentId }) => !ids.has(parentId)).map(({ operation, parentId }) => `${operation} below ${parentId || 'nothing'}`)).toHaveLength(1);
}

const shapeOf = (trace: readonly JaegerSpan[]): string[] => [...new Set(trace.map(({ service, operation }) => `${service} ${operation}`))].toSorted();

describeWith(missingJaeger())('in Jaeger', () => {
  beforeAll(async () => {
    const ports = await Jaeger.choosePorts();
    if (hasPrometheus) prometheus = await Prometheus.start([Jaeger.target(ports)]);
    jaeger = await Jaeger.start(ports, prometheus?.url ?? 'http://127.0.0.1:1');
    cluster = await DevCluster.start({ nodes: 3, env: { OTEL_EXPORTER_OTLP_ENDPOINT: jaeger.endpoint, ATOLL_TRACE_RATIO: '1', ATOLL_TRACES_PER_SECOND: '1000' } });
    backups = new BackupCalls(cluster.up.backups[0]!.address);
    await cluster.createKeyspace({ name: 'orders', partitionCount: 8, replicationFactor: 2 });
    await cluster.untilRedundant('orders');
    await live();
  }, START_MS + 60_000);

  afterAll(async () => {
    backups?.close();
    await cluster?.stop();
    await jaeger?.stop();
    await prometheus?.stop();
  }, STOP_MS);

  /** All that traces are made of, once. */
  async function live(): Promise<void> {
    const client = cluster.client({ keyspace: 'orders', ...LONG });
    await client.setMany(Array.from({ length: 100 }, (_, index) => ({ key: `k${index}`, value: 'text' })), LONG);
    await client.getMany(Array.from({ length: 100 }, (_, index) => `k${index}`), LONG);
    await callUnary(cluster.rawClient(), 'increment', IncrementRequest.fromPartial({ keyspace: 'orders', key: Buffer.from('k1'), delta: 1n }), LONG).catch(() => undefined);

    await backups.succeeded(await backups.create({ id: NAMED.backup, archive: NAMED.archive, keyspaces: ['orders'] }));
    await backups.succeeded(await backups.restore({ id: 'restore-as-another', archive: NAMED.archive, keyspaces: ['orders'], target: 'orders-before' }));
    // There is one of that name.
    await backups.ended(await backups.restore({ id: 'restore-refused', archive: NAMED.archive, keyspaces: ['orders'] }));

    await cluster.addNode();
    // Not before those of the join have ended.
    await eventually('the migration begins', async () => {
      if (!(await cluster.migrations()).some(({ endedAtMs }) => endedAtMs > 0)) return false;
      const { leader, inSync } = (await cluster.partitions('orders'))[NAMED.partition]!;
      const free = (await cluster.nodes()).map(({ id }) => id).find((id) => !inSync.includes(id))!;
      return cluster.startMigration({ id: NAMED.migration, keyspace: 'orders', from: leader, to: free }).catch(() => false as const);
    }, 60_000);
    await eventually('the migration has ended', async () => (await cluster.migration(NAMED.migration)).migration.endedAtMs > 0, 60_000);

    const load = new Load({ client, seed: SEED, ...LONG, pauseMs: 5 }).start();
    await load.progress(100);
    victim = (await cluster.partitions('orders'))[NAMED.partition]!.leader;
    await cluster.kill(victim);
    await eventually('another one leads', async () => !['', victim].includes((await cluster.partitions('orders'))[NAMED.partition]!.leader), SOON_MS);
    await load.progress(100);
    await load.stop();
    await cluster.startProcess(victim);
    await cluster.untilRedundant('orders');
  }

  it('services have their names, versions and instance ids', async () => {
    const services = ['atoll-backup', 'atoll-coordinator', 'atoll-router', 'atoll-storage-node'];
    await eventually('all services', async () => (await jaeger.services()).length >= services.length, SOON_MS);
    expect((await jaeger.services()).toSorted()).toEqual(services);
    for (const service of services) {
      const [trace] = await eventually(service, async () => {
        const found = await jaeger.find({ service });
        return found.length > 0 && found;
      }, SOON_MS);
      for (const span of trace!) {
        expect(span.version).toBe(VERSION);
        expect([...cluster.services.map(({ id }) => id), 'node-4']).toContain(span.instance);
      }
    }
  });

  it('every search of docs/operating/traces.md finds spans that have what was asked for', async () => {
    const searches = await documentedSearches();
    expect(searches.length).toBeGreaterThan(12);
    const empty: string[] = [];
    for (const { what, service, operation, tags } of searches) {
      const services = service === 'any' ? await jaeger.services() : [service];
      const asked = here(tags);
      // One trace at least, and in each that is found a span that has it all.
      const isFound = async (of: string): Promise<boolean> => {
        const search = { service: of, operation, tags: asked };
        const found = await jaeger.find(search);
        return found.length > 0 && found.every((trace) => trace.some((span) => hasAll(span, search)));
      };
      const found = await eventually(what, async () => (await Promise.all(services.map(isFound))).some(Boolean), 10_000).catch(() => false);
      if (!found) empty.push(`${what}: ${service} ${operation ?? ''} ${JSON.stringify(asked)}`);
    }
    expect(empty).toEqual([]);
  });

  it('a write is one trace through router, leader and followers', async () => {
    const search = { service: 'atoll-router', operation: 'atoll.v1.Cache/Execute set', tags: { 'atoll.keyspace': 'orders', 'atoll.partition': '7' } };
    const trace = await traceOf(search, (spans) => spans.length === 4);
    expectOneTree(trace);
    expect(trace.map(({ service, operation }) => `${service} ${operation}`).toSorted()).toEqual(['atoll-router atoll.v1.Cache/Execute set', 'atoll-router atoll.v1.Cache/Execute set', 'atoll-storage-node atoll.replica.append', 'atoll-storage-node atoll.v1.Cache/Execute set']);
  });

  it('a migration is one trace, by the id of the job and by the id that it tells', async () => {
    const isWhole = (spans: readonly JaegerSpan[]): boolean => spans.some(({ operation }) => operation === 'atoll.migration.end');
    const trace = await traceOf({ service: 'atoll-coordinator', tags: { 'atoll.migration': NAMED.migration } }, isWhole);
    expectOneTree(trace);
    expect(shapeOf(trace)).toEqual(expect.arrayContaining(['atoll-coordinator atoll.migration', 'atoll-coordinator atoll.migration.partition', 'atoll-coordinator atoll.migration.catch_up', 'atoll-coordinator atoll.migration.verify', 'atoll-coordinator atoll.hand_over', 'atoll-coordinator atoll.migration.end']));
    const { traceId } = (await cluster.migration(NAMED.migration)).migration;
    expect((await jaeger.trace(traceId)).map(({ spanId }) => spanId).toSorted()).toEqual(trace.map(({ spanId }) => spanId).toSorted());
  });

  it('a failover is one trace', async () => {
    const trace = await traceOf({ service: 'atoll-coordinator', operation: 'atoll.failover', tags: { 'atoll.keyspace': 'orders', 'atoll.partition': '7', 'atoll.from': victim } }, (spans) => spans.some(({ operation }) => operation === 'atoll.replica.take_office'));
    expectOneTree(trace);
    expect(shapeOf(trace)).toEqual(expect.arrayContaining(['atoll-coordinator coordinator.decisions', 'atoll-coordinator atoll.failover', 'atoll-storage-node atoll.replica.take_office']));
  });

  it('the sync of a replica is one trace with both nodes', async () => {
    const trace = await traceOf({ service: 'atoll-storage-node', operation: 'atoll.replica.install', tags: { 'atoll.keyspace': 'orders' } }, (spans) => spans.some(({ operation, instance }) => operation === 'atoll.replica.install' && instance === victim) && spans.some(({ operation }) => operation.endsWith('/FetchSnapshot')));
    expectOneTree(trace);
    expect(new Set(trace.filter(({ service }) => service === 'atoll-storage-node').map(({ instance }) => instance)).size).toBeGreaterThan(1);
  });

  it('a backup and a restore are one trace each, with what nodes and coordinator did for them', async () => {
    const ended = (spans: readonly JaegerSpan[]): boolean => spans.some(({ service, tags }) => service === 'atoll-backup' && tags['atoll.state'] === 'SUCCEEDED');
    const backup = await traceOf({ service: 'atoll-backup', tags: { 'atoll.job': NAMED.backup } }, ended);
    expectOneTree(backup);
    expect(new Set(backup.map(({ service }) => service))).toEqual(new Set(['atoll-backup', 'atoll-storage-node']));
    const restore = await traceOf({ service: 'atoll-backup', tags: { 'atoll.job': 'restore-as-another' } }, ended);
    expectOneTree(restore);
    expect(new Set(restore.map(({ service }) => service))).toEqual(new Set(['atoll-backup', 'atoll-coordinator', 'atoll-storage-node']));
  });

  it('what failed has its reason, in requests and in jobs', async () => {
    for (const [service, reason] of [['atoll-router', 'VALUE_NOT_INTEGER'], ['atoll-storage-node', 'VALUE_NOT_INTEGER'], ['atoll-backup', 'KEYSPACE_EXISTS']] as const) {
      const trace = await traceOf({ service, tags: { 'error.type': reason } });
      const failed = trace.find(({ tags }) => tags['error.type'] === reason)!;
      expect(failed.tags).toMatchObject({ error: 'true', 'otel.status_code': 'ERROR', 'otel.status_description': expect.stringMatching(/\w/) });
    }
  });

  itWithTool('the tab Monitor has rates, failures and durations by service and operation', async () => {
    const client = cluster.client({ keyspace: 'orders', ...LONG });
    const operation = 'atoll.v1.Cache/Execute set';
    let told: Record<string, number> = {};
    await eventually('a rate of writes', async () => {
      await client.set('k1', 'text');
      told = await jaeger.monitor('calls', 'atoll-storage-node');
      return told[operation]! > 0;
    }, SOON_MS).catch((error: unknown) => {
      throw new Error(JSON.stringify(told), { cause: error });
    });
    expect((await jaeger.monitor('latencies', 'atoll-storage-node'))[operation]).toBeGreaterThan(0);
    expect(Object.keys(await jaeger.monitor('errors', 'atoll-storage-node'))).toContain(operation);
  });
});
