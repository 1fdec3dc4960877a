// Cold backups of a cluster that is written to, with every process that takes part killed in the middle (R39). What an archive says is
// read back chunk by chunk and compared with what clients know.
import { join } from 'node:path';
import { jest } from '@jest/globals';
import type { AtollClient } from '@atoll/client';
import { ArchiveKind, BackupJobState, type BackupJob, type BackupResult } from '@atoll/contracts/atoll/v1/backup';
import { foldPartition, planRestore } from '@atoll/core-archive';
import { MIB } from '@atoll/core-runtime';
import { callUnary } from '@atoll/platform-grpc';
import { eventually, freePort, itWith } from '@atoll/platform-etcd/testing';
import { Repository, isAny, listSessions, nodeArchiveCodec, openFileObjectStore, progressPrefix } from '@atoll/platform-repository';
import { BackupCalls } from './backup-calls.ts';
import { DevCluster, START_MS, STOP_MS, type DevProcess } from './dev-cluster.ts';
import { runCommand } from './run-command.ts';
import { startService, type RunningService } from './service-process.ts';

jest.setTimeout(180_000);

const JOB_MS = 90_000;
const CALL = { deadlineMs: 15_000 };
const LONG = { deadlineMs: 40_000 };
/** Of the keyspace that takes some seconds to be read. */
const LARGE_KEYS = 800;
const LARGE_BYTES = 16_384;
const SLOWLY = 2_500_000;
const PAIRS = 12;

let cluster: DevCluster;
let backup: BackupCalls;
let client: AtollClient;
beforeAll(async () => {
  cluster = await DevCluster.start({ nodes: 3, env: { BACKUP_LOCK_TTL_MS: '2s' } });
  backup = new BackupCalls(cluster.up.backups[0]!.address);
  client = cluster.client({ deadlineMs: 30_000 });
  await cluster.createKeyspace({ name: 'pairs', partitionCount: 16, replicationFactor: 2, minInSync: 1 });
  await cluster.createKeyspace({ name: 'large', partitionCount: 8, replicationFactor: 2, minInSync: 1 });
  const values = Array.from({ length: LARGE_KEYS }, (_, index) => ({ key: `large-${index}`, value: Buffer.alloc(LARGE_BYTES, `value ${index} `) }));
  for (let at = 0; at < LARGE_KEYS; at += 100) await client.setMany(values.slice(at, at + 100), { keyspace: 'large', ...LONG });
}, START_MS);
afterAll(async () => {
  backup?.close();
  await cluster?.stop();
}, STOP_MS);

function resultOf({ result }: BackupJob): BackupResult {
  if (result?.$case !== 'backup') throw new Error('the job has no result');
  return result.value;
}

/** Some partitions were read, and what was read of them is saved; others were not. */
const isUnderWay = ({ progress }: BackupJob): boolean => (progress?.partitionsDone ?? 0) >= 3;

/** At once: asking the supervisor takes as long as the rest of a job. */
const strike = ({ pid }: DevProcess): void => void process.kill(pid!, 'SIGKILL');

async function openRepository(): Promise<Repository> {
  return Repository.open({ store: await openFileObjectStore(join(cluster.dataDir, 'backup')), codec: nodeArchiveCodec }, { newId: 'x', nowMs: 0 });
}

/** What an archive and those that it goes on from say of a keyspace. */
async function restored(archive: string, keyspace: string): Promise<Map<string, string>> {
  const repository = await openRepository();
  const manifests = await Promise.all((await repository.listManifests()).map((stored) => repository.readListed(stored)));
  const last = manifests.find((manifest) => manifest?.id === archive)!.keyspaces.find(({ name }) => name === keyspace)!;
  const plan = planRestore({ manifests: manifests.filter((manifest) => manifest !== undefined), archive, keyspace, targetPartitions: last.partitionCount });
  const entries = new Map<string, string>();
  for (const source of plan.groups.flatMap(({ sources }) => sources)) {
    const read = async (step: (typeof source.steps)[number]): Promise<Buffer> => (await repository.readChunk(step.chunk)).plain;
    let count = 0;
    for await (const slice of foldPartition({ source, read, belongs: () => true, overlayBytesMax: 1e8, slice: { entriesMax: 1000, bytesMax: 1e7 } })) {
      for (const { key, value } of slice.entries) {
        entries.set(key.toString(), value.toString());
        count += 1;
      }
    }
    // What replicas said that they held at the marker.
    const { versions } = last.ranges.find(({ partition }) => partition === source.partition)!;
    if (versions !== undefined && versions.entries !== count) throw new Error(`partition ${source.partition} has ${count} entries, and replicas held ${versions.entries}`);
  }
  return entries;
}

async function held(keyspace: string): Promise<Map<string, string>> {
  const entries = new Map<string, string>();
  for await (const { key, value } of client.scan({ keyspace })) entries.set(key.toString(), value.toString());
  return entries;
}

/** Increments A, waits for the answer, then B, over and over: in no moment is B above A, or A more than one above B. */
class PairWriter {
  readonly acknowledged = new Map<string, number>();
  readonly #stop = new AbortController();
  readonly #writing: Promise<unknown>;

  constructor() {
    this.#writing = Promise.all(Array.from({ length: PAIRS }, (_, pair) => this.#write(pair)));
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#writing;
  }

  async #write(pair: number): Promise<void> {
    for (let round = 1; !this.#stop.signal.aborted; round += 1) {
      for (const side of ['a', 'b']) await this.#increment(`${side}-${pair}`);
      await client.set(`last-${pair}-${round % 50}`, String(round), { keyspace: 'pairs', ttlMs: 3000 });
      if (round % 3 === 0) await client.delete(`last-${pair}-${(round * 7) % 50}`, { keyspace: 'pairs' });
    }
  }

  async #increment(key: string): Promise<void> {
    const { value } = await client.increment(key, 1, { keyspace: 'pairs' });
    this.acknowledged.set(key, Number(value));
  }
}

function expectConsistent(entries: ReadonlyMap<string, string>, before: ReadonlyMap<string, number>): void {
  for (let pair = 0; pair < PAIRS; pair += 1) {
    const [a, b] = [Number(entries.get(`a-${pair}`) ?? 0), Number(entries.get(`b-${pair}`) ?? 0)];
    expect([a - b === 0 || a - b === 1, pair, a, b]).toEqual([true, pair, a, b]);
    // Whatever was acknowledged before it was asked for is in it.
    expect(a).toBeGreaterThanOrEqual(before.get(`a-${pair}`) ?? 0);
    expect(b).toBeGreaterThanOrEqual(before.get(`b-${pair}`) ?? 0);
  }
}

it('cuts are consistent over partitions while clients write; increments go on from them, to the very state that clients read', async () => {
  const writer = new PairWriter();
  await eventually('every pair was written', () => writer.acknowledged.size === 2 * PAIRS);
  let parent = '';
  for (const kind of [ArchiveKind.ARCHIVE_KIND_FULL, ArchiveKind.ARCHIVE_KIND_INCREMENTAL, ArchiveKind.ARCHIVE_KIND_INCREMENTAL]) {
    const before = new Map(writer.acknowledged);
    const job = await backup.succeeded(await backup.create({ kind, keyspaces: ['pairs'] }));
    expect(resultOf(job)).toMatchObject({ archive: { kind, parent }, partitionsWhole: 0 });
    expectConsistent(await restored(job.archive, 'pairs'), before);
    parent = job.archive;
  }
  await writer.stop();
  await eventually('what has a time to live is gone', async () => [...(await held('pairs')).keys()].every((key) => !key.startsWith('last-')), 30_000);
  const last = await backup.succeeded(await backup.create({ kind: ArchiveKind.ARCHIVE_KIND_INCREMENTAL, keyspaces: ['pairs'] }));
  const now = await held('pairs');
  const inArchive = await restored(last.archive, 'pairs');
  // What has expired and was not removed yet is in both, and shown by none.
  for (const key of inArchive.keys()) if (key.startsWith('last-')) inArchive.delete(key);
  expect(inArchive).toEqual(now);
});

const itWithTool = itWith(process.platform === 'linux' && process.getuid?.() === 0, 'a file system of its own needs root on Linux');
/** Of a repository: some of the archive fits. */
const SMALL_BYTES = 8 * MIB;

const refusal = (): Promise<unknown> => client.set('large-0', 'x', { keyspace: 'large' }).catch((error: unknown) => error);
/** As the coordinator tells Prometheus; 0: it is not. */
const frozenSeconds = async (): Promise<number> => (await cluster.metrics('coordinator-1')).sum('atoll_cluster_keyspace_frozen_seconds', 'keyspace="large"');
const archives = async (): Promise<string[]> => (await callUnary(backup.client, 'listArchives', {}, CALL)).archives.map(({ id }) => id);
/** As it runs now. */
async function fresh(id: string): Promise<DevProcess> {
  return (await cluster.status()).backups.find((one) => one.id === id)!;
}

describe('a backup that takes some seconds', () => {
  let second: RunningService;
  let other: BackupCalls;
  beforeAll(async () => {
    const address = `127.0.0.1:${await freePort()}`;
    const settings = { ATOLL_ID: 'backup-2', ATOLL_LISTEN: address, ATOLL_HTTP_LISTEN: 'off', ATOLL_ETCD: cluster.up.etcd, BACKUP_REPOSITORY: join(cluster.dataDir, 'backup'), BACKUP_LOCK_TTL_MS: '2s' };
    second = startService('backup', settings);
    other = new BackupCalls(address);
    await eventually('the second service answers', () => callUnary(other.client, 'listBackupJobs', { kind: 0, active: false }, CALL).then(() => true, () => false), 30_000);
  }, START_MS);
  afterAll(async () => {
    other?.close();
    await second?.stop();
  });

  it('goes on in another service when that on duty is killed, with what it had', async () => {
    const job = await backup.create({ keyspaces: ['large'], bytesPerSecond: SLOWLY });
    // Any service takes the request and tells of it; one does it.
    expect((await other.create({ id: job.id, keyspaces: ['large'] })).id).toBe(job.id);
    // Rows that were read are not saved yet, those of the first partitions hardly ever one after the other.
    const { store } = await openRepository();
    await eventually('something of it is saved', () => isAny(store, progressPrefix(job.id)), JOB_MS);
    strike(cluster.process('backup-1'));
    const end = await other.succeeded(job);
    expect(end.takeUps).toBe(1);
    const { writtenBytes, archive } = resultOf(end);
    expect(writtenBytes).toBeLessThan(archive!.storedBytes);
    expect(await restored(end.archive, 'large')).toEqual(await held('large'));
    await cluster.startProcess('backup-1');
  });

  it('goes on from other replicas when a node is killed, and over an outage of etcd', async () => {
    const job = await other.create({ keyspaces: ['large'], bytesPerSecond: SLOWLY });
    await other.until(job, 'is under way', isUnderWay);
    strike(cluster.process('node-3'));
    strike(cluster.up.etcdProcess);
    await cluster.startProcess('etcd');
    const end = await other.succeeded(job);
    expect(await restored(end.archive, 'large')).toEqual(await held('large'));
    await cluster.startProcess('node-3');
    await cluster.untilRedundant('large');
  });

  it('goes on while a node joins and partitions move to it', async () => {
    const job = await other.create({ keyspaces: ['large'], bytesPerSecond: SLOWLY });
    await other.until(job, 'is under way', isUnderWay);
    await cluster.addNode();
    const end = await other.succeeded(job);
    expect(await restored(end.archive, 'large')).toEqual(await held('large'));
  });

  it('that is offline has its keyspace frozen until its end, also where its service is killed: then another one goes on with it and thaws', async () => {
    const isSecond = (await callUnary(other.client, 'getLogArchiving', {}, CALL)).onDuty;
    const victim = isSecond ? second.pid : (await fresh('backup-1')).pid!;
    const job = await other.create({ keyspaces: ['large'], bytesPerSecond: SLOWLY, offline: true });
    await other.until(job, 'is under way', isUnderWay);
    expect(await refusal()).toMatchObject({ reason: 'KEYSPACE_FROZEN' });
    process.kill(victim, 'SIGKILL');
    // Whoever goes on with it, or nobody: an operator sees that it is frozen, for how long, and by whom.
    expect((await cluster.keyspace('large')).freeze).toMatchObject({ note: `backup ${job.id}` });
    expect(await frozenSeconds()).toBeGreaterThan(0);
    expect(await refusal()).toMatchObject({ reason: 'KEYSPACE_FROZEN' });
    const end = await (isSecond ? backup : other).succeeded(job);
    expect(end.takeUps).toBe(1);
    await client.set('large-0', 'x', { keyspace: 'large' });
    expect(await frozenSeconds()).toBe(0);
    // From here on that of the cluster is alone.
    if (isSecond) return;
    await second.stop();
    await cluster.startProcess('backup-1');
  });

  it('whose freeze an operator lifts takes no writes away again: it fails and says so', async () => {
    const killed = await fresh('backup-1');
    const job = await backup.create({ keyspaces: ['large'], bytesPerSecond: SLOWLY, offline: true });
    await backup.until(job, 'is under way', isUnderWay);
    // As where no service comes back: the next one finds the keyspace open.
    strike(killed);
    await cluster.unfreezeKeyspace('large');
    await client.set('large-0', 'y', { keyspace: 'large' });
    await cluster.startProcess('backup-1');
    const end = await backup.ended(job);
    expect(end).toMatchObject({ state: BackupJobState.BACKUP_JOB_STATE_FAILED, problem: 'keyspace large was unfrozen before its offline backup was done: ask for another one' });
    await client.set('large-0', 'z', { keyspace: 'large' });
    expect(await archives()).not.toContain(job.archive);
  });

  it('that is cancelled thaws its keyspace and leaves nothing; one that is offline waits for a coordinator', async () => {
    const job = await backup.create({ keyspaces: ['large'], bytesPerSecond: SLOWLY, offline: true });
    await backup.until(job, 'is under way', isUnderWay);
    await backup.cancel(job);
    expect((await backup.ended(job)).state).toBe(BackupJobState.BACKUP_JOB_STATE_CANCELLED);
    await client.set('large-0', 'x', { keyspace: 'large' });
    expect(await archives()).not.toContain(job.archive);
    const repository = await openRepository();
    expect(await listSessions(repository)).toEqual([]);
    await cluster.kill('coordinator-1');
    const again = await backup.create({ keyspaces: ['large'], offline: true });
    await backup.until(again, 'waits for a coordinator', ({ phase, problem }) => phase === 'FREEZE' && problem !== '');
    await cluster.startProcess('coordinator-1');
    const end = await backup.succeeded(again);
    const manifest = await repository.readManifest(end.archive);
    // Nothing was written meanwhile, so rows alone make it up, and its digests are known.
    expect(manifest.keyspaces[0]!.ranges.every(({ digest, chunks }) => digest !== undefined && chunks.every(({ kind }) => kind === 'ROWS'))).toBe(true);
    await client.set('large-0', 'y', { keyspace: 'large' });
  });

  itWithTool('whose repository fills up, or is read-only, fails with the numbers; no half archive is there; the next one goes on with the chunks', async () => {
    const disk = join(cluster.dataDir, 'backup');
    const must = async (file: string, ...args: readonly string[]): Promise<void> => {
      const { code, stderr } = await runCommand(file, args);
      if (code !== 0) throw new Error(`${file}: ${stderr}`);
    };
    const mount = (options: string): Promise<void> => must('mount', '-t', 'tmpfs', '-o', options, 'tmpfs', disk);
    /** Chunks of 4 MiB that are not compressed. */
    const attempt = async (): Promise<BackupJob> => backup.ended(await backup.create({ keyspaces: ['large'], compressionLevel: 0 }));
    await backup.succeeded(await backup.create({ keyspaces: ['pairs'] }));
    await cluster.terminate('backup-1');
    await mount(`size=${SMALL_BYTES}`);
    try {
      await cluster.startProcess('backup-1');
      // It is not the volume that the cluster's archives are on.
      await expect(archives()).rejects.toMatchObject({ reason: 'REPOSITORY_MISMATCH', message: expect.stringContaining('BACKUP_REPOSITORY') });
      await callUnary(backup.client, 'acceptRepository', { id: '' }, CALL);
      const full = await attempt();
      expect(full.state).toBe(BackupJobState.BACKUP_JOB_STATE_FAILED);
      expect(full.problem).toMatch(new RegExp(`: \\S+: no space is left \\(ENOSPC\\) for \\d+ bytes; \\d+ of ${SMALL_BYTES} bytes are free$`));
      expect(await archives()).toEqual([]);
      await mount(`remount,ro,size=${SMALL_BYTES}`);
      const denied = await attempt();
      expect(denied.problem).toMatch(/: the file system is read-only \(EROFS\)$/);
      await mount(`remount,rw,size=${8 * SMALL_BYTES}`);
      const end = await backup.succeeded(await attempt());
      const { writtenBytes, archive } = resultOf(end);
      expect(writtenBytes).toBeLessThan(archive!.storedBytes);
      expect(await archives()).toEqual([end.archive]);
      expect(await restored(end.archive, 'large')).toEqual(await held('large'));
    } finally {
      await cluster.terminate('backup-1');
      await must('umount', disk);
    }
  });
});
