import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreateBackupRequest } from '@atoll/contracts/atoll/v1/backup';
import { AtollError } from '@atoll/core-errors';
import { ensureClusterId } from '@atoll/platform-etcd';
import { InMemoryMetadataStore, eventually } from '@atoll/platform-etcd/testing';
import { createLogger, startTelemetry, type Reading } from '@atoll/platform-telemetry';
import { SpanStatusCode } from '@opentelemetry/api';
import { InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { KnownRepository } from '../repository/known-repository.ts';
import { RepositoryAccess } from '../repository/repository-access.ts';
import { createBackup } from '../handlers/create-backup.ts';
import { cancelBackupJob } from '../handlers/jobs.ts';
import { JobDesk } from './job-desk.ts';
import type { JobKind, JobOutcome, JobRun } from './job-kind.ts';
import { JobMeter } from './job-meter.ts';
import { JobMetrics } from './job-metrics.ts';
import type { JobRecord } from './job-record.ts';
import { startJobs, type JobService } from './job-service.ts';
import { deleteJob } from './maintenance-jobs.ts';
import { patiently } from './patience.ts';

/** A kind whose runs end when the test says so. */
class Steered implements JobKind {
  readonly kind = 'VERIFY';
  readonly runs: { readonly run: JobRun; readonly end: PromiseWithResolvers<JobOutcome> }[] = [];
  readonly takenBack: string[] = [];

  async run(run: JobRun): Promise<JobOutcome> {
    const end = Promise.withResolvers<JobOutcome>();
    run.signal.addEventListener('abort', () => end.reject(run.signal.reason), { once: true });
    this.runs.push({ run, end });
    return end.promise;
  }

  async takeBack(run: JobRun): Promise<void> {
    run.signal.throwIfAborted();
    this.takenBack.push(run.job.id);
  }
}

describe('jobs of the backup service', () => {
  let directory: string;
  let stops: (() => Promise<unknown>)[];
  let store: InMemoryMetadataStore;
  let exporter: InMemorySpanExporter;

  beforeEach(async () => {
    exporter = new InMemorySpanExporter();
    directory = await mkdtemp(join(tmpdir(), 'atoll-jobs-'));
    stops = [() => rm(directory, { recursive: true, force: true })];
    store = new InMemoryMetadataStore();
    await ensureClusterId(store, () => 'test');
  });

  afterEach(async () => {
    for (const stop of stops.reverse()) await stop();
  });

  async function start(kinds: readonly JobKind[], own = store): Promise<{ desk: JobDesk; service: JobService }> {
    const telemetry = await startTelemetry({ service: 'backup', instanceId: 'b', version: '0', traceRatio: 0, spanProcessors: [new SimpleSpanProcessor(exporter)] });
    const logger = createLogger({ service: 'backup', instanceId: 'b', level: 'silent', format: 'json' });
    const access = new RepositoryAccess({ location: { kind: 'directory', path: directory }, keys: [], known: new KnownRepository(own) });
    const desk = new JobDesk({ store: own, tracing: telemetry.tracing });
    const service = startJobs({ store: own, clusterId: undefined, desk, kinds, access, owner: 'b', lockTtlMs: 1000, logger, telemetry });
    stops.push(() => telemetry.shutdown(), () => service.stop());
    return { desk, service };
  }

  const verify = (desk: JobDesk, id: string): Promise<JobRecord> => desk.submit({ kind: 'VERIFY', id, archive: 'a', keyspaces: [], ask: {} });

  it('runs those of one kind one after the other, and shows how they end', async () => {
    const kind = new Steered();
    const { desk } = await start([kind]);
    await verify(desk, 'one');
    await verify(desk, 'two');
    await eventually('the first runs', () => kind.runs.length === 1);
    expect((await desk.require('two')).state).toBe('PENDING');
    kind.runs[0]!.run.meter.bytesDone = 7;
    kind.runs[0]!.end.resolve({ summary: 'all is well', result: { chunks: 3 } });
    await eventually('the second runs', () => kind.runs.length === 2);
    expect(await desk.require('one')).toMatchObject({ state: 'SUCCEEDED', summary: 'all is well', result: { chunks: 3 }, problem: '', figures: { bytesDone: 7 } });
    kind.runs[1]!.end.reject(new AtollError('ARCHIVE_DAMAGED', 'a chunk is missing'));
    await eventually('it failed', async () => (await desk.require('two')).state === 'FAILED');
    expect(await desk.require('two')).toMatchObject({ problem: 'a chunk is missing' });
    expect(kind.takenBack).toEqual(['two']);
    const run = await eventually('its span has ended', () => exporter.getFinishedSpans().find(({ name, attributes }) => name === 'atoll.backup.verify' && attributes['atoll.job'] === 'two'));
    expect(run).toMatchObject({ status: { code: SpanStatusCode.ERROR, message: 'a chunk is missing' }, attributes: { 'error.type': 'ARCHIVE_DAMAGED', 'atoll.state': 'FAILED' } });
  });

  it('answers a request that is repeated with the job that stands, and refuses what cannot be asked for, naming the field', async () => {
    const { desk } = await start([]);
    const first = await verify(desk, 'same');
    expect(await verify(desk, 'same')).toEqual(first);
    await expect(desk.submit({ kind: 'RESTORE', id: 'same', archive: 'a', keyspaces: [], ask: {} })).rejects.toMatchObject({ reason: 'BACKUP_JOB_CONFLICT' });
    await expect(verify(desk, 'no id')).rejects.toMatchObject({ reason: 'INVALID_ARGUMENT', metadata: { field: 'id' } });
    const backup = CreateBackupRequest.fromPartial({});
    await eventually('etcd was read', () => desk.view);
    await expect(createBackup(desk, { ...backup, keyspaces: ['none'] })).rejects.toMatchObject({ reason: 'KEYSPACE_NOT_FOUND', metadata: { field: 'keyspaces', keyspace: 'none' } });
    await expect(createBackup(desk, { ...backup, keyspaces: ['k'.repeat(65)] })).rejects.toMatchObject({ reason: 'INVALID_ARGUMENT', metadata: { field: 'keyspaces' } });
    await expect(createBackup(desk, { ...backup, parent: 'p', keyspaces: [] })).rejects.toMatchObject({ metadata: { field: 'parent' } });
    await expect(createBackup(desk, { ...backup, compressionLevel: 20, keyspaces: [] })).rejects.toMatchObject({ metadata: { field: 'compression_level' } });
    await expect(desk.require('none')).rejects.toMatchObject({ reason: 'BACKUP_JOB_NOT_FOUND' });
  });

  it('cancels one that waits at once, and one that runs when it has let go', async () => {
    const kind = new Steered();
    const { desk } = await start([kind]);
    await verify(desk, 'runs');
    await eventually('it runs', () => kind.runs.length === 1);
    await verify(desk, 'waits');
    await cancelBackupJob(desk, { id: 'waits' });
    expect((await desk.require('waits')).state).toBe('CANCELLED');
    await cancelBackupJob(desk, { id: 'runs' });
    await eventually('it is cancelled', async () => (await desk.require('runs')).state === 'CANCELLED');
    expect(kind.takenBack).toEqual(['runs']);
    await cancelBackupJob(desk, { id: 'runs' });
    expect(kind.runs).toHaveLength(1);
  });

  it('has another service go on from the checkpoint when one stops; only one is on duty', async () => {
    const [left, right] = [new Steered(), new Steered()];
    const first = await start([left]);
    await eventually('it is on duty', () => first.desk.runner !== undefined);
    const second = await start([right], new InMemoryMetadataStore({ etcd: store.etcd }));
    await verify(second.desk, 'goes-on');
    await eventually('it runs', () => left.runs.length === 1);
    await left.runs[0]!.run.enter('READ');
    await left.runs[0]!.run.checkpoint({ at: 5 });
    expect(right.runs).toHaveLength(0);
    await first.service.stop();
    await eventually('it is taken up', () => right.runs.length === 1);
    expect(right.runs[0]!.run.job).toMatchObject({ checkpoint: { at: 5 }, takeUps: 1, phase: 'READ' });
    expect(right.runs[0]!.run.duty.lock.fencingToken).toBeGreaterThan(left.runs[0]!.run.duty.lock.fencingToken);
    expect(left.takenBack).toEqual([]);
  });

  it('takes a job back that was to be cancelled when its service died', async () => {
    const { desk, service } = await start([new Steered()]);
    await verify(desk, 'dies');
    await eventually('it runs', async () => (await desk.require('dies')).state === 'RUNNING');
    await service.stop();
    await desk.update('dies', (job) => ({ ...job, state: 'CANCELLING' }));
    const kind = new Steered();
    await start([kind], new InMemoryMetadataStore({ etcd: store.etcd }));
    await eventually('it is cancelled', async () => (await desk.require('dies')).state === 'CANCELLED');
    expect([kind.runs.length, kind.takenBack]).toEqual([0, ['dies']]);
  });

  it('are told by how long the last one took that succeeded', async () => {
    const telemetry = await startTelemetry({ service: 'backup', instanceId: 'b', version: '0', traceRatio: 0 });
    stops.push(() => telemetry.shutdown());
    const gauges = new Map<string, () => Iterable<Reading>>();
    const { metrics } = telemetry;
    const told = new JobMetrics({ counterFamily: metrics.counterFamily.bind(metrics), gauge: metrics.gauge.bind(metrics), gaugeFamily: (name, _, read) => void gauges.set(name, read) }, () => undefined);
    const seconds = (): unknown => [...gauges.get('atoll_backup_job_duration_seconds')!()];
    expect(seconds()).toEqual([]);
    told.ended({ kind: 'DRILL', state: 'SUCCEEDED', startedMs: 1000, endedMs: 3500 });
    told.ended({ kind: 'DRILL', state: 'FAILED', startedMs: 1000, endedMs: 9000 });
    expect(seconds()).toEqual([{ labels: { kind: 'DRILL' }, value: 2.5 }]);
  });

  it('fails a removal of what is not there', async () => {
    const { desk } = await start([deleteJob]);
    await desk.submit({ kind: 'DELETE', id: 'del', archive: 'none', keyspaces: [], ask: { archives: ['none'] } });
    await eventually('it failed', async () => (await desk.require('del')).state === 'FAILED');
    expect((await desk.require('del')).problem).toBe('there is no archive none');
  });

  it('waits for what may pass, says so, and fails for what does not', async () => {
    const problems: string[] = [];
    const run = { signal: new AbortController().signal, waitsFor: (problem: string) => void problems.push(problem) };
    let calls = 0;
    const attempt = async (): Promise<string> => {
      calls += 1;
      if (calls === 1) throw new AtollError('REPOSITORY_UNAVAILABLE', 'away');
      return 'there';
    };
    await expect(patiently(run, attempt)).resolves.toBe('there');
    expect(problems).toEqual(['away', '']);
    for (const reason of ['REPOSITORY_FULL', 'REPOSITORY_READ_ONLY', 'ARCHIVE_KEY_WRONG'] as const) {
      await expect(patiently(run, () => Promise.reject(new AtollError(reason, 'no')))).rejects.toMatchObject({ reason });
    }
  });

  it('tells the rate of the last seconds and the time that is left', () => {
    const meter = new JobMeter();
    meter.bytesTotal = 10_000;
    meter.figures(0);
    meter.bytesDone = 2000;
    expect(meter.figures(1000)).toMatchObject({ bytesPerSecond: 2000, remainingMs: 4000 });
    for (let second = 2; second <= 20; second += 1) meter.figures(second * 1000);
    expect(meter.figures(21_000)).toMatchObject({ bytesPerSecond: 0, remainingMs: undefined });
  });
});
