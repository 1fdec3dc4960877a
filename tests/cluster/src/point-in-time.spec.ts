// The logs of all partitions are archived while clients write and the service that does it is killed: a restore leads to the moment that
// is asked for, and to one of all partitions (R40).
import { jest } from '@jest/globals';
import { credentials } from '@grpc/grpc-js';
import type { AtollClient } from '@atoll/client';
import { ArchiveKind, BackupClient, BackupJobState, RestorePolicy, type RestoreBackupRequest } from '@atoll/contracts/atoll/v1/backup';
import { callUnary, createChannelOptions } from '@atoll/platform-grpc';
import { eventually } from '@atoll/platform-etcd/testing';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';

jest.setTimeout(120_000);

const WAIT_MS = 60_000;
const CALL = { deadlineMs: 10_000 };
const KEYS = 40;
/** Clocks of partitions are slewed to the wall clock, so a moment has to stand apart from writes by this. */
const APART_MS = 150;

let cluster: DevCluster;
let backup: BackupClient;
let client: AtollClient;
beforeAll(async () => {
  cluster = await DevCluster.start({ nodes: 3, env: { BACKUP_LOG_ARCHIVING: 'on', BACKUP_LOG_INTERVAL_MS: '500ms', BACKUP_LOG_BARRIER_MS: '2s', BACKUP_LOCK_TTL_MS: '2s' } });
  backup = new BackupClient(cluster.up.backups[0]!.address, credentials.createInsecure(), createChannelOptions());
  client = cluster.client({ deadlineMs: 20_000 });
}, START_MS);
afterAll(async () => {
  backup?.close();
  await cluster?.stop();
}, STOP_MS);

async function done(id: string): Promise<void> {
  const job = await eventually(
    `${id} ends`,
    async () => {
      const found = await callUnary(backup, 'getBackupJob', { id }, CALL).catch(() => undefined);
      return found?.job !== undefined && found.job.state >= BackupJobState.BACKUP_JOB_STATE_SUCCEEDED && found.job;
    },
    WAIT_MS,
  );
  expect(job).toMatchObject({ state: BackupJobState.BACKUP_JOB_STATE_SUCCEEDED, problem: '' });
}

const passed = (ms: number): Promise<unknown> => eventually('time goes by', () => Date.now() > ms);
/** Everything that was written until then is archived. */
const archived = (ms: number): Promise<unknown> =>
  eventually(
    'the recovery point moves on',
    async () => {
      const state = await callUnary(backup, 'getLogArchiving', {}, CALL).catch(() => undefined);
      return (state?.keyspaces.find(({ keyspace }) => keyspace === 'default')?.recoveryPointMs ?? 0) > ms;
    },
    WAIT_MS,
  );

async function restore(id: string, fields: Partial<RestoreBackupRequest>): Promise<void> {
  const request = { id, archive: '', keyspaces: ['default'], target: id, prefix: Buffer.alloc(0), exact: false, partitionCount: 4, replicationFactor: 0, minInSync: 0, policy: RestorePolicy.RESTORE_POLICY_FAIL, bytesPerSecond: 0, ...fields };
  await callUnary(backup, 'restoreBackup', request, CALL);
  await done(id);
}

const read = async (keyspace: string): Promise<(string | undefined)[]> => {
  const results = await cluster.client({ keyspace, deadlineMs: 20_000 }).getMany(Array.from({ length: KEYS }, (_, index) => `key-${index}`));
  return results.map((result) => (result.ok ? result.value?.value.toString() : 'failed'));
};

/** Writes every key, deletes one in five of them. Answers what clients may expect to find at any moment behind it. */
async function write(word: string): Promise<{ readonly atMs: number; readonly values: (string | undefined)[] }> {
  const values = Array.from({ length: KEYS }, (_, index) => (index % 5 === word.length % 5 ? undefined : `${word} ${index}`));
  await passed(Date.now() + APART_MS);
  for (const [index, value] of values.entries()) {
    if (value === undefined) await client.delete(`key-${index}`);
    else await client.set(`key-${index}`, value);
  }
  const atMs = Date.now() + APART_MS;
  await passed(atMs);
  return { atMs, values };
}

it('a restore leads to any moment between backups, also where the service was killed meanwhile, and to one of all partitions', async () => {
  const first = await write('first');
  await callUnary(backup, 'createBackup', { id: 'full', kind: ArchiveKind.ARCHIVE_KIND_FULL, keyspaces: [], archive: 'full', parent: '', bytesPerSecond: 0, offline: false, compressionLevel: undefined }, CALL);
  await done('full');
  const second = await write('a second');
  await archived(second.atMs);
  await cluster.kill('backup-1');
  const third = await write('the third');
  // One after the other, in other partitions: at no moment is the second ahead.
  for (let count = 1; count <= 200; count += 1) {
    await client.set('left', String(count));
    await client.set('right', String(count));
  }
  // It goes on from where the repository ends.
  await cluster.startProcess('backup-1');
  const fourth = await write('and a fourth');
  await archived(fourth.atMs);

  await restore('exactly-second', { atMs: second.atMs, exact: true });
  expect(await read('exactly-second')).toEqual(second.values);
  await restore('exactly-third', { atMs: third.atMs, exact: true });
  expect(await read('exactly-third')).toEqual(third.values);
  await restore('cut', { archive: 'full', atMs: undefined });
  expect(await read('cut')).toEqual(first.values);
  await restore('rounded', { atMs: fourth.atMs });
  const pair = await Promise.all(['left', 'right'].map(async (key) => Number((await cluster.client({ keyspace: 'rounded' }).get(key))?.value.toString() ?? 0)));
  expect(pair[0]! - pair[1]!).toBeGreaterThanOrEqual(0);
  expect(pair[0]! - pair[1]!).toBeLessThanOrEqual(1);
});
