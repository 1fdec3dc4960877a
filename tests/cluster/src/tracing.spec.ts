// One write through the router is one trace: the caller, the router, the leader, each follower. Traces hold no keys
// and no values of users, and neither do logs.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import type { AtollClient } from '@atoll/client';
import { Ack, GetRequest, IncrementRequest, SetRequest, type CacheClient } from '@atoll/contracts/atoll/v1/cache';
import { MIB } from '@atoll/core-runtime';
import { callUnary } from '@atoll/platform-grpc';
import { runWithSpan, startTelemetry, traceparentOf, type Span, type Telemetry } from '@atoll/platform-telemetry';
import { BackupCalls } from './backup-calls.ts';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';
import { OtlpCollector, type CollectedSpan } from './otlp-collector.ts';
import { ROOT } from './run-command.ts';

jest.setTimeout(60_000);

/** Of this release, as the top package.json has it. */
const VERSION = '0.1.0';
const MARKER_KEY = 'marker-of-a-key-7d1f';
const MARKER_VALUE = 'marker-of-a-value-93ab';
const key = (name: string): Buffer => Buffer.from(`${MARKER_KEY}-${name}`);
const value = Buffer.from(MARKER_VALUE);
const WRITE_TIMES = ['atoll.write.local_ms', 'atoll.write.sync_wait_ms', 'atoll.write.transfer_ms'] as const;

let collector: OtlpCollector;
let cluster: DevCluster;
let telemetry: Telemetry;
let client: AtollClient;
let raw: CacheClient;

beforeAll(async () => {
  collector = await OtlpCollector.start();
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint, ATOLL_TRACE_RATIO: '0', ATOLL_LOG_LEVEL: 'trace' };
  cluster = await DevCluster.start({ nodes: 3, env });
  await cluster.createKeyspace({ name: 'traced', partitionCount: 2, replicationFactor: 3 });
  await cluster.untilRedundant('traced', 3);
  telemetry = await startTelemetry({ service: 'spec', instanceId: 'spec-1', version: '0', otlpEndpoint: collector.endpoint, traceRatio: 1 });
  client = cluster.client({ keyspace: 'traced', deadlineMs: 15_000, traceparent: () => traceparentOf() });
  raw = cluster.rawClient();
}, START_MS);

afterAll(async () => {
  await telemetry?.shutdown();
  await cluster?.stop();
  collector?.stop();
}, STOP_MS);

/** What an application does: a span of its own around its calls. Resolves with the trace's id. */
async function traced(name: string, action: (traceparent: string) => Promise<unknown>): Promise<string> {
  const span = telemetry.tracing.startSpan(name) as Span;
  await runWithSpan(span, () => action(traceparentOf(span) as string)).finally(() => span.end());
  return span.spanContext().traceId;
}

const isAppend = (span: CollectedSpan): boolean => span.name === 'atoll.replica.append';
const ofService = (spans: readonly CollectedSpan[], service: string): CollectedSpan[] => spans.filter((span) => span.service === `atoll-${service}` && !isAppend(span));

/**
 * Caller, router in and out, leader, two followers. A router that sends a request again, as it may on a machine as busy
 * as one that runs all specs, has spans of the refused attempts too: these say why, and are left out here.
 */
const untilWhole = (traceId: string): Promise<CollectedSpan[]> =>
  collector.until(`the whole trace ${traceId}`, () => {
    const all = collector.trace(traceId);
    const refused = new Set(all.filter(({ isError, attributes }) => isError && attributes['error.type'] !== undefined).map(({ spanId }) => spanId));
    const trace = all.filter(({ spanId }) => !refused.has(spanId));
    return trace.length >= 6 && trace.some(({ parentSpanId }) => parentSpanId === '') && trace;
  });

/** Checks parents, services and attributes of a write's trace; returns the leader's span. */
function expectOneWrite(trace: readonly CollectedSpan[], names: { readonly atRouter: string; readonly atLeader: string }): CollectedSpan {
  expect(trace.map(({ service, name, kind, message }) => `${service} ${name} ${kind} ${message}`.trim()).sort()).toEqual(
    [
      'atoll-spec an application saves INTERNAL',
      `atoll-router ${names.atRouter} SERVER`,
      `atoll-router ${names.atLeader} CLIENT`,
      `atoll-storage-node ${names.atLeader} SERVER`,
      'atoll-storage-node atoll.replica.append SERVER',
      'atoll-storage-node atoll.replica.append SERVER',
    ].sort(),
  );
  const [caller] = ofService(trace, 'spec');
  const atRouter = ofService(trace, 'router');
  const received = atRouter.find(({ kind }) => kind === 'SERVER');
  const sent = atRouter.find(({ kind }) => kind === 'CLIENT');
  const [leader] = ofService(trace, 'storage-node');
  const appends = trace.filter(isAppend);
  expect(caller?.parentSpanId).toBe('');
  expect(received).toMatchObject({ name: names.atRouter, parentSpanId: caller?.spanId, instance: 'router-1' });
  expect(sent).toMatchObject({ name: names.atLeader, parentSpanId: received?.spanId });
  expect(leader).toMatchObject({ name: names.atLeader, kind: 'SERVER', parentSpanId: sent?.spanId });
  for (const append of appends) expect(append).toMatchObject({ kind: 'SERVER', parentSpanId: leader?.spanId, service: 'atoll-storage-node' });
  expect(new Set([leader, ...appends].map((span) => span?.instance))).toEqual(new Set(['node-1', 'node-2', 'node-3']));
  for (const span of [sent, leader, ...appends]) expect(span?.attributes).toMatchObject({ 'atoll.keyspace': 'traced', 'atoll.partition': expect.any(Number) });
  expect(new Set([sent, leader, ...appends].map((span) => span?.attributes['atoll.partition'])).size).toBe(1);
  return leader as CollectedSpan;
}

/** T = Tw + Ts + Td: the least of the three, and what share of the span they leave out. */
function timesOf(span: CollectedSpan): { readonly least: number; readonly unexplained: number } {
  const times = WRITE_TIMES.map((name) => Number(span.attributes[name]));
  const sum = times.reduce((total, time) => total + time, 0);
  // Encoding the answer and ending the span lie outside the three, and the machine may be busy just then.
  return { least: Math.min(...times), unexplained: Math.abs(sum - span.durationMs) / Math.max(20, span.durationMs) };
}

describe('a write through the router', () => {
  it('of the SDK is one trace, with the times of the write on the leader', async () => {
    const traceId = await traced('an application saves', () => client.set(key('sdk'), value));
    const leader = expectOneWrite(await untilWhole(traceId), { atRouter: 'atoll.v1.Cache/Execute set', atLeader: 'atoll.v1.Cache/Execute set' });
    expect(timesOf(leader).least).toBeGreaterThanOrEqual(0);
    expect(timesOf(leader).unexplained).toBeLessThan(0.25);
    expect(Number(leader.attributes['atoll.write.sync_wait_ms'])).toBeGreaterThan(0);
  });

  it('of a client that has nothing but the proto is one trace', async () => {
    const request = SetRequest.fromPartial({ keyspace: 'traced', key: key('unary'), value });
    const traceId = await traced('an application saves', (traceparent) => callUnary(raw, 'set', request, { deadlineMs: 15_000, traceparent }));
    const leader = expectOneWrite(await untilWhole(traceId), { atRouter: 'atoll.v1.Cache/Set', atLeader: 'atoll.v1.Cache/Execute set' });
    expect(timesOf(leader).least).toBeGreaterThanOrEqual(0);
    expect(timesOf(leader).unexplained).toBeLessThan(0.25);
  });

  it('is one trace also where the value travels in parts', async () => {
    const large = Buffer.alloc(3 * MIB, MARKER_VALUE);
    const traceId = await traced('an application saves', () => client.set(key('large'), large));
    const leader = expectOneWrite(await untilWhole(traceId), { atRouter: 'atoll.v1.Cache/Execute set', atLeader: 'atoll.v1.Cache/Execute set' });
    expect(timesOf(leader).least).toBeGreaterThanOrEqual(0);
    expect(timesOf(leader).unexplained).toBeLessThan(0.25);
  });

  it('is one trace also where the leader answers ahead of its followers', async () => {
    const request = SetRequest.fromPartial({ keyspace: 'traced', key: key('ahead'), value, ack: Ack.ACK_LEADER });
    const traceId = await traced('an application saves', (traceparent) => callUnary(raw, 'set', request, { deadlineMs: 15_000, traceparent }));
    const leader = expectOneWrite(await untilWhole(traceId), { atRouter: 'atoll.v1.Cache/Set', atLeader: 'atoll.v1.Cache/Execute set' });
    expect(timesOf(leader).least).toBeGreaterThanOrEqual(0);
    expect(timesOf(leader).unexplained).toBeLessThan(0.25);
    expect(leader.attributes['atoll.write.sync_wait_ms']).toBe(0);
  });
});

describe('a failure', () => {
  it('at the leader stands on its span and on those above it, with the reason', async () => {
    await client.set(key('text'), value);
    const request = IncrementRequest.fromPartial({ keyspace: 'traced', key: key('text'), delta: 1n });
    const traceId = await traced('an application counts', (traceparent) => callUnary(raw, 'increment', request, { deadlineMs: 15_000, traceparent }).catch(() => undefined));
    const trace = await collector.until('the failed trace', () => {
      const spans = collector.trace(traceId);
      return spans.length === 4 && spans;
    });
    for (const span of trace.filter(({ service }) => service !== 'atoll-spec')) {
      expect(span).toMatchObject({ isError: true, attributes: { 'error.type': 'VALUE_NOT_INTEGER' } });
    }
  });

  it('at the router stands on its span', async () => {
    const request = GetRequest.fromPartial({ keyspace: 'nowhere', key: key('text') });
    const traceId = await traced('an application reads', (traceparent) => callUnary(raw, 'get', request, { deadlineMs: 15_000, traceparent }).catch(() => undefined));
    const [span] = await collector.until('the failed trace', () => {
      const spans = ofService(collector.trace(traceId), 'router');
      return spans.length === 1 && spans;
    });
    expect(span).toMatchObject({ name: 'atoll.v1.Cache/Get', isError: true, attributes: { 'error.type': 'KEYSPACE_NOT_FOUND' } });
  });
});

it('exports no span of a request that is not sampled', async () => {
  const unsampled = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00';
  const begun = collector.spans.length;
  for (let index = 0; index < 50; index += 1) {
    await client.set(key(`unsampled-${index}`), value);
    await callUnary(raw, 'get', GetRequest.fromPartial({ keyspace: 'traced', key: key(`unsampled-${index}`) }), { deadlineMs: 15_000, traceparent: unsampled });
  }
  for await (const page of client.scan({ keyspace: 'traced' })) void page;
  // Each process exports in order: when these are here from all of them, nothing of the others is on its way.
  const traceId = await traced('an application saves', () => client.set(key('sampled'), value));
  await untilWhole(traceId);
  const requests = collector.spans.slice(begun).filter((span) => span.traceId !== traceId && span.service !== 'atoll-spec' && !isJob(span.name));
  expect(requests).toEqual([]);
});

/** Jobs are traced whoever asks for them, and a busy machine makes a failover or a hand-over of its own. */
const isJob = (name: string): boolean => name.startsWith('coordinator.') || (name.startsWith('atoll.') && !name.startsWith('atoll.v1.') && name !== 'atoll.replica.append');

describe('jobs', () => {
  it('are traced without being asked: decisions of the coordinator', async () => {
    const span = await collector.until('a decision', (spans) => spans.find(({ name }) => name === 'coordinator.decisions'));
    expect(span).toMatchObject({ service: 'atoll-coordinator', parentSpanId: '', attributes: { 'atoll.actions': expect.any(Number) } });
  });

  it('are traced without being asked: the full sync of a new replica', async () => {
    const { id } = await cluster.addNode();
    const span = await collector.until('an install', (spans) => spans.find(({ name, instance }) => name === 'atoll.replica.install' && instance === id));
    expect(span).toMatchObject({
      service: 'atoll-storage-node',
      isError: false,
      attributes: { 'atoll.keyspace': 'default', 'atoll.partition': expect.any(Number), 'atoll.entries': expect.any(Number) },
    });
  });
});

describe('a backup', () => {
  let backups: BackupCalls;
  beforeAll(() => {
    backups = new BackupCalls(cluster.up.backups[0]!.address);
  });
  afterAll(() => backups.close());

  it('is one trace: the job, its run, and the nodes that were read', async () => {
    const job = await backups.create({ archive: 'traced', keyspaces: ['traced'] }).then((each) => backups.succeeded(each));
    const run = await collector.until('the run of the job', (spans) => spans.find(({ name, attributes }) => name === 'atoll.backup.backup' && attributes['atoll.job'] === job.id));
    expect(run).toMatchObject({ service: 'atoll-backup', isError: false, traceId: job.traceId, attributes: { 'atoll.state': 'SUCCEEDED', 'atoll.entries': expect.any(Number) } });
    const asked = await collector.until('what was asked for', (spans) => spans.find(({ spanId }) => spanId === run.parentSpanId));
    expect(asked).toMatchObject({ name: 'atoll.backup.job', parentSpanId: '', attributes: { 'atoll.kind': 'BACKUP' } });
    await collector.until('a node that was read', () => collector.trace(run.traceId).find(({ service }) => service === 'atoll-storage-node'));
  });

  it('is restored in one trace: the job, the copy that it is at the coordinator, its streams at the nodes', async () => {
    const job = await backups.restore({ archive: 'traced', target: 'traced-before', keyspaces: ['traced'] }).then((each) => backups.succeeded(each));
    const copy = await collector.until('the copy', () => collector.trace(job.traceId).find(({ name }) => name === 'atoll.migration'));
    expect(copy).toMatchObject({ service: 'atoll-coordinator', attributes: { 'atoll.method': 'COPY', 'atoll.target': 'traced-before' } });
    await collector.until('a stream of it', () => collector.trace(job.traceId).find(({ name, service, parentSpanId }) => name === 'atoll.copy.stream' && service === 'atoll-storage-node' && parentSpanId === copy.spanId));
    await cluster.deleteKeyspace('traced-before');
  });
});

describe('a failover', () => {
  it('is one trace: the decision, each partition with the reason, and its new leader taking office', async () => {
    const victim = (await cluster.partitions('traced'))[0]!.leader;
    const led = (await cluster.partitions('traced')).filter(({ leader }) => leader === victim);
    await cluster.kill(victim);
    const failovers = await collector.until('spans of the failover', (spans) => {
      const found = spans.filter(({ name, attributes }) => name === 'atoll.failover' && attributes['atoll.keyspace'] === 'traced' && attributes['atoll.from'] === victim);
      return found.length >= led.length && found;
    });
    for (const failover of failovers) {
      expect(failover).toMatchObject({ service: 'atoll-coordinator', isError: false, attributes: { 'atoll.partition': expect.any(Number), 'atoll.epoch': expect.any(Number), 'atoll.reason': 'PROMOTE' } });
      expect(failover.attributes['atoll.verdict']).toMatch(/^DOWN: /);
      const taken = await collector.until('the office that was taken', (spans) => spans.find(({ name, parentSpanId }) => name === 'atoll.replica.take_office' && parentSpanId === failover.spanId));
      expect(taken).toMatchObject({ traceId: failover.traceId, instance: failover.attributes['atoll.to'], service: 'atoll-storage-node', attributes: { 'atoll.keyspace': 'traced', 'atoll.epoch': failover.attributes['atoll.epoch'] } });
      expect(taken.durationMs).toBeLessThan(30_000);
      const round = await collector.until('the round of decisions', (spans) => spans.find(({ spanId }) => spanId === failover.parentSpanId));
      expect(round).toMatchObject({ name: 'coordinator.decisions', parentSpanId: '' });
    }
  });
});

describe('docs/operating/traces.md', () => {
  it('names spans and attributes that are there, by services with a name, a version and an instance', async () => {
    // A node that stops hands over; what moves then is a migration's.
    const [node] = (await cluster.status()).storageNodes.filter(({ pid }) => pid !== null);
    await cluster.terminate(node!.id);
    const text = await readFile(join(ROOT, 'docs/operating/traces.md'), 'utf8');
    const rows = [...text.matchAll(/^\| `([\w./ ]+)` \| `(atoll-[\w-]+)` \| (.*) \|$/gm)].map(([, name, service, attributes]) => ({ name, service, attributes: [...attributes!.matchAll(/`([\w.]+)`/g)].map(([, each]) => each!) }));
    expect(rows.length).toBeGreaterThan(10);
    for (const { name, service, attributes } of rows) {
      const span = await collector.until(`${name} of ${service} with ${attributes.join(', ')}`, (spans) => spans.find((each) => each.name === name && each.service === service && attributes.every((attribute) => attribute in each.attributes)));
      expect(span.version).toBe(VERSION);
      expect(span.instance).not.toBe('');
    }
  });
});

it('an office that was handed over stands in no trace of the failover before it', () => {
  const failovers = new Map(collector.spans.filter(({ name }) => name === 'atoll.failover').map((span) => [span.spanId, span]));
  const taken = collector.spans.filter(({ name }) => name === 'atoll.replica.take_office');
  expect(taken.length).toBeGreaterThan(0);
  for (const { parentSpanId, attributes } of taken) expect(failovers.get(parentSpanId)?.attributes).toMatchObject({ 'atoll.epoch': attributes['atoll.epoch'], 'atoll.partition': attributes['atoll.partition'] });
});

it('no key and no value of a user stands in a span or in a log, not even at level trace', async () => {
  const exported = Buffer.concat(collector.received).toString('latin1');
  const logs = await Promise.all(cluster.services.map(({ id }) => cluster.logLines(id)));
  expect(exported).toContain('atoll.write.local_ms');
  expect(logs.every((lines) => lines.length > 1)).toBe(true);
  const everything = [exported, ...logs.flat()].join('\n');
  for (const marker of [MARKER_KEY, MARKER_VALUE]) {
    const bytes = Buffer.from(marker);
    // As text, and as loggers print bytes. Base64 without its last characters: they depend on what follows.
    for (const form of [marker, bytes.toString('hex'), bytes.toString('base64').slice(0, -4), bytes.join(',')]) {
      expect(everything.includes(form)).toBe(false);
    }
  }
});
