// Data requests that meet a planned transfer link to its trace, and the transfers of a migration are in the migration's.
import { setTimeout as pause } from 'node:timers/promises';
import { jest } from '@jest/globals';
import type { AtollClient } from '@atoll/client';
import { MigrationMethod, MigrationState } from '@atoll/contracts/atoll/v1/migration';
import { eventually } from '@atoll/platform-etcd/testing';
import { runWithSpan, startTelemetry, traceparentOf, type Span, type Telemetry } from '@atoll/platform-telemetry';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';
import { OtlpCollector, type CollectedSpan } from './otlp-collector.ts';

jest.setTimeout(120_000);

const END_MS = 60_000;
const WRITERS = 16;
const WRITE_EVERY_MS = 5;
const ROUNDS_MAX = 12;
/** Services export their spans every second. */
const EXPORTED_MS = 3000;

let collector: OtlpCollector;
let cluster: DevCluster;
let telemetry: Telemetry;

beforeAll(async () => {
  collector = await OtlpCollector.start();
  cluster = await DevCluster.start({ nodes: 3, env: { OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint, ATOLL_TRACE_RATIO: '0' } });
  await cluster.untilRedundant();
  telemetry = await startTelemetry({ service: 'spec', instanceId: 'spec-1', version: '0', otlpEndpoint: collector.endpoint, traceRatio: 1 });
}, START_MS);

afterAll(async () => {
  await telemetry?.shutdown();
  await cluster?.stop();
  collector?.stop();
}, STOP_MS);

/**
 * Traced writes to a keyspace while `action` runs: many enough for a transfer to be met, few enough for the collector,
 * which decodes several spans of each in this process. Exporters drop what it does not take in time.
 */
async function whileWriting<T>(keyspace: string, action: () => Promise<T>): Promise<T> {
  const writing = new AbortController();
  const writer = cluster.client({ keyspace, deadlineMs: 15_000, traceparent: () => traceparentOf() });
  const writers = Array.from({ length: WRITERS }, (_, index) => write(writer, `w${index}`, writing.signal));
  try {
    return await action();
  } finally {
    writing.abort();
    await Promise.all(writers);
    writer.close();
  }
}

async function write(client: AtollClient, name: string, signal: AbortSignal): Promise<void> {
  for (let count = 0; !signal.aborted; count += 1) {
    const span = telemetry.tracing.startSpan('an application saves') as Span;
    await runWithSpan(span, () => client.set(`${name}-${count % 500}`, 'v')).finally(() => span.end());
    await pause(WRITE_EVERY_MS);
  }
}

interface Met {
  /** The write. */
  readonly met: CollectedSpan;
  /** Of the migration. */
  readonly traceId: string;
  readonly from: string;
  readonly to: string;
}

/** Moves the partition of `met` to another node, beside writes. Its transfer takes some milliseconds, in which no write may happen to come: then it is moved again. */
async function untilMet(round: number): Promise<Met> {
  const from = await eventually('it is led', async () => (await cluster.partitions('met'))[0]?.leader || undefined);
  const to = ['node-1', 'node-2', 'node-3'].find((node) => node !== from)!;
  const { state, traceId } = await whileWriting('met', async () => {
    const { migration } = await cluster.startMigration({ keyspace: 'met', from, to });
    await eventually('the migration has ended', async () => (await cluster.migration(migration!.id)).migration.endedAtMs > 0, END_MS);
    return (await cluster.migration(migration!.id)).migration;
  });
  expect(state).toBe(MigrationState.MIGRATION_STATE_SUCCEEDED);
  const find = collector.until('a span that links to the migration', (spans) => spans.find(({ links }) => links.some((link) => link.traceId === traceId)), EXPORTED_MS);
  const met = await (round < ROUNDS_MAX ? find.catch(() => undefined) : find);
  return met === undefined ? untilMet(round + 1) : { met, traceId, from, to };
}

it('a write that met the transfer of a migration leads from its own trace to that of the migration', async () => {
  await cluster.createKeyspace({ name: 'met', partitionCount: 1, replicationFactor: 1, minInSync: 1 });
  const { met, traceId, from, to } = await untilMet(1);
  expect(met).toMatchObject({ name: 'atoll.v1.Cache/Execute set', kind: 'SERVER', service: 'atoll-storage-node' });
  expect(met.traceId).not.toBe(traceId);
  const [link] = met.links;
  const handOver = await collector.until('the transfer itself', (spans) => spans.find(({ spanId }) => spanId === link!.spanId));
  expect(handOver).toMatchObject({ traceId, name: 'atoll.hand_over', service: 'atoll-coordinator', attributes: { 'atoll.keyspace': 'met', 'atoll.from': from, 'atoll.to': to, 'atoll.partition': 0 } });
  expect(handOver.attributes['atoll.pause_ms']).toBeGreaterThan(0);
  const partition = await collector.until('the partition of the migration', () => collector.trace(traceId).find(({ spanId }) => spanId === handOver.parentSpanId));
  expect(partition.name).toBe('atoll.migration.partition');
});

it('a write that met the cut-over of a copy leads from its own trace to that of the copy', async () => {
  await cluster.startMigration({ id: 'c', method: MigrationMethod.MIGRATION_METHOD_COPY, target: { name: 'wider', partitionCount: 128, replicationFactor: 2, minInSync: 1 } });
  await eventually('the copy follows and was compared', async () => {
    const { copy } = (await cluster.migration('c')).migration;
    return copy?.following === true && copy.comparedEntries !== undefined && copy.lagMs !== undefined && copy.lagMs < 1000;
  }, END_MS);
  const cutOver = await whileWriting('default', () =>
    eventually('it is cut over', async () => {
      const migration = await cluster.cutOverMigration('c', 10_000).catch(() => undefined);
      return migration?.state === MigrationState.MIGRATION_STATE_SUCCEEDED ? migration : undefined;
    }, END_MS),
  );
  const met = await collector.until('a span that links to the copy', (spans) => spans.find(({ links }) => links.some((link) => link.traceId === cutOver.traceId)));
  expect(met).toMatchObject({ name: 'atoll.v1.Cache/Execute set', kind: 'SERVER', service: 'atoll-storage-node', attributes: { 'atoll.keyspace': 'default' } });
  expect(met.traceId).not.toBe(cutOver.traceId);
  const span = await collector.until('the cut-over itself', (spans) => spans.find(({ spanId }) => spanId === met.links[0]!.spanId));
  expect(span).toMatchObject({ traceId: cutOver.traceId, name: 'atoll.copy.cut_over', service: 'atoll-coordinator', attributes: { 'atoll.migration': 'c' } });
});
