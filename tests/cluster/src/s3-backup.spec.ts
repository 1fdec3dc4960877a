// Backups in a bucket of a real S3-compatible server, a process of its own, which is killed in the middle of what is done with it. Left out
// where there is none.
import { randomBytes } from 'node:crypto';
import { jest } from '@jest/globals';
import type { AtollClient } from '@atoll/client';
import { ArchiveKind, BackupJobState, CollectGarbageRequest, DeleteArchiveRequest, DrillBackupRequest, VerifyBackupRequest, type BackupJob } from '@atoll/contracts/atoll/v1/backup';
import { eventually } from '@atoll/platform-etcd/testing';
import { callUnary } from '@atoll/platform-grpc';
import { describeWithS3, startS3Server, type TestS3Server } from '@atoll/platform-repository/testing';
import { BackupCalls } from './backup-calls.ts';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';
import { ownAddresses, startService, type RunningService } from './service-process.ts';

jest.setTimeout(180_000);

const CALL = { deadlineMs: 15_000 };
const LONG = { deadlineMs: 40_000 };
const END_MS = 60_000;
const KEYS = 1600;
const VALUE_BYTES = 16_384;
const SLOWLY = 2_500_000;

describeWithS3()('a repository in a bucket', () => {
  let server: TestS3Server;
  let cluster: DevCluster;
  let service: RunningService;
  let backup: BackupCalls;
  let client: AtollClient;
  const values = new Map<string, Buffer>();

  beforeAll(async () => {
    server = await startS3Server();
    cluster = await DevCluster.start({ nodes: 3 });
    // That of the cluster has a directory.
    await cluster.terminate('backup-1');
    const addresses = await ownAddresses();
    const { bucket, endpoint, credentials } = server.options;
    service = startService('backup', {
      ...addresses,
      ATOLL_ID: 'backup-s3',
      ATOLL_ETCD: cluster.up.etcd,
      AWS_ACCESS_KEY_ID: credentials!.accessKeyId,
      AWS_SECRET_ACCESS_KEY: credentials!.secretAccessKey,
      BACKUP_REPOSITORY: `s3://${bucket}/one/cluster`,
      BACKUP_S3_ENDPOINT: endpoint!,
      BACKUP_LOG_ARCHIVING: 'on',
      BACKUP_LOG_INTERVAL_MS: '500ms',
      BACKUP_LOG_BARRIER_MS: '2s',
      BACKUP_CACHE_BYTES: '8MiB',
    });
    backup = new BackupCalls(addresses['ATOLL_LISTEN']!);
    await eventually('the service answers', () => callUnary(backup.client, 'listBackupJobs', { kind: 0, active: false }, CALL).then(() => true, () => false), END_MS);
    client = cluster.client({ keyspace: 'orders', deadlineMs: 30_000 });
    // Some chunks of 4 MiB each, of which not all are in memory at a time.
    await cluster.createKeyspace({ name: 'orders', partitionCount: 2, replicationFactor: 2 });
    for (let index = 0; index < KEYS; index += 1) values.set(`order-${index}`, randomBytes(VALUE_BYTES));
    const entries = Array.from(values, ([key, value]) => ({ key, value }));
    for (let at = 0; at < KEYS; at += 100) await client.setMany(entries.slice(at, at + 100), LONG);
  }, START_MS);
  afterAll(async () => {
    backup?.close();
    await service?.stop();
    await cluster?.stop();
    await server?.stop();
  }, STOP_MS);

  const archives = async (): Promise<string[]> => (await callUnary(backup.client, 'listArchives', {}, CALL)).archives.filter(({ kind }) => kind !== ArchiveKind.ARCHIVE_KIND_LOG).map(({ id }) => id);

  async function differing(keyspace: string): Promise<string[]> {
    const copy = cluster.client({ keyspace, deadlineMs: 30_000 });
    const wrong: string[] = [];
    const keys = [...values.keys()];
    for (let at = 0; at < keys.length; at += 200) {
      const part = keys.slice(at, at + 200);
      const results = await copy.getMany(part, LONG);
      results.forEach((result, index) => {
        if (!result.ok || result.value?.value.equals(values.get(part[index]!)!) !== true) wrong.push(part[index]!);
      });
    }
    return wrong;
  }

  async function restore(target: string, archive: string): Promise<void> {
    await backup.succeeded(await backup.restore({ archive, keyspaces: ['orders'], target, partitionCount: 4 }));
    expect(await differing(target)).toEqual([]);
  }

  it('takes full and incremental backups and logs, has them read back, restored, practised, removed and collected', async () => {
    const full = await backup.succeeded(await backup.create({ keyspaces: ['orders'] }));
    values.set('order-0', Buffer.from('changed'));
    await client.set('order-0', 'changed');
    const increment = await backup.succeeded(await backup.create({ kind: ArchiveKind.ARCHIVE_KIND_INCREMENTAL, keyspaces: ['orders'] }));
    expect(increment.result).toMatchObject({ value: { archive: { parent: full.archive }, partitionsWhole: 0 } });
    await backup.succeeded((await callUnary(backup.client, 'verifyBackup', VerifyBackupRequest.fromPartial({ archive: increment.archive }), CALL)).job!);
    await restore('from-increment', increment.archive);
    await backup.succeeded((await callUnary(backup.client, 'drillBackup', DrillBackupRequest.fromPartial({ archive: full.archive }), CALL)).job!);

    values.set('order-1', Buffer.from('in the log alone'));
    await client.set('order-1', 'in the log alone');
    const atMs = Date.now() + 200;
    await eventually(
      'it is archived',
      async () => {
        const { keyspaces } = await callUnary(backup.client, 'getLogArchiving', {}, CALL);
        return (keyspaces.find(({ keyspace }) => keyspace === 'orders')?.recoveryPointMs ?? 0) > atMs;
      },
      END_MS,
    );
    await backup.succeeded(await backup.restore({ keyspaces: ['orders'], target: 'to-a-moment', partitionCount: 4, atMs, exact: true }));
    expect(await differing('to-a-moment')).toEqual([]);

    const remove = async (...ids: string[]): Promise<BackupJob> => backup.ended((await callUnary(backup.client, 'deleteArchive', DeleteArchiveRequest.fromPartial({ archives: ids }), CALL)).job!);
    expect(await remove(full.archive)).toMatchObject({ state: BackupJobState.BACKUP_JOB_STATE_FAILED, problem: expect.stringContaining(increment.archive) });
    expect(await remove(full.archive, increment.archive)).toMatchObject({ state: BackupJobState.BACKUP_JOB_STATE_SUCCEEDED });
    expect(await archives()).toEqual([]);
    const collect = async (): Promise<string> => (await backup.succeeded((await callUnary(backup.client, 'collectGarbage', CollectGarbageRequest.fromPartial({ chunkAgeMsMin: 0, besideWriters: true }), CALL)).job!)).summary;
    await eventually('chunks are removed', async () => /^removed [1-9]/.test(await collect()), END_MS);
  });

  it('goes on when the server is killed in the middle of a backup, and of a restore, and says what it waits for', async () => {
    const job = await backup.create({ keyspaces: ['orders'], bytesPerSecond: SLOWLY });
    await backup.until(job, 'is under way', ({ progress }) => progress!.bytesDone > 2 * SLOWLY);
    await server.kill();
    await backup.until(job, 'waits', ({ problem }) => problem.includes('BACKUP_S3_ENDPOINT'));
    await server.restart();
    const { archive } = await backup.succeeded(job);
    const restoring = await backup.restore({ archive, keyspaces: ['orders'], target: 'again', partitionCount: 4, bytesPerSecond: SLOWLY });
    await backup.until(restoring, 'is under way', ({ progress }) => progress!.entries > 50);
    await server.kill();
    await backup.until(restoring, 'waits', ({ problem }) => problem.includes('BACKUP_S3_ENDPOINT'));
    await server.restart();
    await backup.succeeded(restoring);
    expect(await differing('again')).toEqual([]);
  });
});
