// The logs of all partitions are archived while clients write and the service that does it is killed: a restore leads to the moment that
// is asked for, and to one of all partitions (R40).
import { join } from 'node:path';
import { jest } from '@jest/globals';
import type { AtollClient } from '@atoll/client';
import type { RestoreBackupRequest } from '@atoll/contracts/atoll/v1/backup';
import { callUnary } from '@atoll/platform-grpc';
import { eventually } from '@atoll/platform-etcd/testing';
import { BackupCalls } from './backup-calls.ts';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';
import { ownAddresses, startService } from './service-process.ts';

jest.setTimeout(120_000);

const WAIT_MS = 60_000;
const CALL = { deadlineMs: 10_000 };
const KEYS = 40;
/** Clocks of partitions are slewed to the wall clock, so a moment has to stand apart from writes by this. */
const APART_MS = 150;

const LOGS = { BACKUP_LOG_ARCHIVING: 'on', BACKUP_LOG_INTERVAL_MS: '500ms', BACKUP_LOG_BARRIER_MS: '2s', BACKUP_LOCK_TTL_MS: '2s' };
const AHEAD_MS = 3_600_000;

let cluster: DevCluster;
let backup: BackupCalls;
let client: AtollClient;
beforeAll(async () => {
  cluster = await DevCluster.start({ nodes: 3, env: LOGS });
  backup = new BackupCalls(cluster.up.backups[0]!.address);
  client = cluster.client({ deadlineMs: 20_000 });
}, START_MS);
afterAll(async () => {
  backup?.close();
  await cluster?.stop();
}, STOP_MS);

const passed = (ms: number): Promise<unknown> => eventually('time goes by', () => Date.now() > ms);
/** Everything that was written until then is archived. */
const archived = (ms: number, by = backup): Promise<number> =>
  eventually(
    'the recovery point moves on',
    async () => {
      const state = await callUnary(by.client, 'getLogArchiving', {}, CALL).catch(() => undefined);
      const { recoveryPointMs = 0 } = state?.keyspaces.find(({ keyspace }) => keyspace === 'default') ?? {};
      return recoveryPointMs > ms && recoveryPointMs;
    },
    WAIT_MS,
  );

async function restore(id: string, fields: Partial<RestoreBackupRequest>): Promise<void> {
  await backup.succeeded(await backup.restore({ id, keyspaces: ['default'], target: id, partitionCount: 4, ...fields }));
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

/** A service for which it is an hour later, as long as it is used; then it is killed. */
async function withClockAhead<T>(use: (ahead: BackupCalls) => Promise<T>): Promise<T> {
  const addresses = await ownAddresses();
  const settings = { ...LOGS, ...addresses, ATOLL_ID: 'backup-ahead', ATOLL_ETCD: cluster.up.etcd, BACKUP_REPOSITORY: join(cluster.dataDir, 'backup') };
  const wrong = `const now = Date.now; Date.now = () => now() + ${AHEAD_MS};`;
  const service = startService('backup', settings, { nodeArgs: ['--import', `data:text/javascript,${encodeURIComponent(wrong)}`] });
  const calls = new BackupCalls(addresses['ATOLL_LISTEN']!);
  try {
    return await use(calls);
  } finally {
    calls.close();
    process.kill(service.pid, 'SIGKILL');
    await service.stop();
  }
}

it('a restore leads to any moment between backups, also where services were killed meanwhile and the clock of one was an hour ahead, and to one of all partitions', async () => {
  const first = await write('first');
  await backup.succeeded(await backup.create({ archive: 'full' }));
  const second = await write('a second');
  await archived(second.atMs);
  // At once: most partitions have nothing new since the last barrier.
  await restore('exactly-second', { atMs: second.atMs, exact: true });
  await cluster.kill('backup-1');
  const third = await write('the third');
  // One after the other, in other partitions: at no moment is the second ahead.
  for (let count = 1; count <= 200; count += 1) {
    await client.set('left', String(count));
    await client.set('right', String(count));
  }
  // Another one goes on from where the repository ends; its clock is an hour ahead, and that of the next one is right again.
  const fourth = await withClockAhead(async (ahead) => {
    const written = await write('and a fourth');
    expect(await archived(written.atMs, ahead)).toBeLessThan(Date.now() + 60_000);
    const job = await ahead.succeeded(await ahead.create({ archive: 'by-a-wrong-clock' }));
    const { archive } = await callUnary(ahead.client, 'getArchive', { archive: job.archive }, CALL);
    expect(Math.abs(archive!.cutAtMs - Date.now())).toBeLessThan(60_000);
    return written;
  });
  await cluster.startProcess('backup-1');
  const fifth = await write('at last a fifth');
  await archived(fifth.atMs);
  const { keyspaces } = await callUnary(backup.client, 'getLogArchiving', {}, CALL);
  expect(keyspaces.filter(({ detachedPartitions }) => detachedPartitions > 0)).toEqual([]);

  expect(await read('exactly-second')).toEqual(second.values);
  await restore('exactly-third', { atMs: third.atMs, exact: true });
  expect(await read('exactly-third')).toEqual(third.values);
  await restore('exactly-fourth', { archive: 'full', atMs: fourth.atMs, exact: true });
  expect(await read('exactly-fourth')).toEqual(fourth.values);
  await restore('exactly-fifth', { archive: 'full', atMs: fifth.atMs, exact: true });
  expect(await read('exactly-fifth')).toEqual(fifth.values);
  await restore('cut', { archive: 'full', atMs: undefined });
  expect(await read('cut')).toEqual(first.values);
  await restore('rounded', { atMs: fourth.atMs });
  const pair = await Promise.all(['left', 'right'].map(async (key) => Number((await cluster.client({ keyspace: 'rounded' }).get(key))?.value.toString() ?? 0)));
  expect(pair[0]! - pair[1]!).toBeGreaterThanOrEqual(0);
  expect(pair[0]! - pair[1]!).toBeLessThanOrEqual(1);
});
