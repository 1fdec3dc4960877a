// Archives are restored by real processes: to other partitions and replicas, into keyspaces that are there, while services die; and
// what cannot be restored leaves nothing behind.
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import { BackupJobState, DrillBackupRequest, RestorePolicy } from '@atoll/contracts/atoll/v1/backup';
import { MigrationState } from '@atoll/contracts/atoll/v1/migration';
import { MIB, SECOND_MS } from '@atoll/core-runtime';
import { eventually } from '@atoll/platform-etcd/testing';
import { callUnary } from '@atoll/platform-grpc';
import { Repository, nodeArchiveCodec, openFileObjectStore } from '@atoll/platform-repository';
import { writeArchive, type WrittenEntry, type WrittenKeyspace } from '@atoll/platform-repository/testing';
import { AcknowledgedWriter } from './acknowledged-writer.ts';
import { BackupCalls } from './backup-calls.ts';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';
import { FailpointFiles } from './failpoint-files.ts';
import { ownAddresses, startService } from './service-process.ts';

jest.setTimeout(240_000);

const END_MS = 60_000;
const DEADLINE = { deadlineMs: 10_000 };
const KEYS = 2000;
const NODE_MEMORY = 96 * MIB;
const cutMs = Date.now();
const FAR_MS = cutMs + 3600 * SECOND_MS;

// One in ten had expired at the cut, one in ten goes an hour later.
const expiryOf = (index: number): number => (index % 10 === 0 ? cutMs - 1 : index % 10 === 1 ? FAR_MS : 0);
const valueOf = (index: number): Buffer => Buffer.alloc(index % 100 === 2 ? 16_384 : 200, `value ${index} `);
const keyOf = (index: number): string => `${index % 4 === 0 ? 'user' : 'item'}:${index}`;
const entries: WrittenEntry[] = Array.from({ length: KEYS }, (_, index) => ({ key: keyOf(index), value: valueOf(index), expiresAtMs: expiryOf(index) }));

let cluster: DevCluster;
let files: FailpointFiles;
let repository: Repository;
let backup: BackupCalls;
beforeAll(async () => {
  files = await FailpointFiles.make();
  cluster = await DevCluster.start({ nodes: 3, env: { STORAGE_NODE_MEMORY_BYTES_MAX: String(NODE_MEMORY), BACKUP_LOCK_TTL_MS: '2s', COORDINATOR_FAILPOINTS_DIR: files.directory } });
  repository = await Repository.open({ store: await openFileObjectStore(join(cluster.dataDir, 'backup')), codec: nodeArchiveCodec }, { newId: 'r', nowMs: cutMs });
  backup = new BackupCalls(cluster.up.backups[0]!.address);
}, START_MS);
afterAll(async () => {
  backup?.close();
  await cluster?.stop();
  await files?.remove();
}, STOP_MS);

let sessions = 0;
const write = (id: string, ...keyspaces: WrittenKeyspace[]): Promise<unknown> => writeArchive(repository, { id, keyspaces, atMs: cutMs, session: (sessions += 1) });
const orders: WrittenKeyspace = { name: 'orders', partitionCount: 8, settings: { defaultTtlMs: 0, eviction: 'NONE' }, entries };

/** Those of the archive that do not have what they should. */
async function differing(keyspace: string, some: readonly WrittenEntry[] = entries): Promise<string[]> {
  const client = cluster.client({ keyspace });
  const wrong: string[] = [];
  for (let at = 0; at < some.length; at += 500) {
    const part = some.slice(at, at + 500);
    const results = await client.getMany(part.map(({ key }) => key), { deadlineMs: 20_000 });
    results.forEach((result, index) => {
      const { key, value, expiresAtMs = 0 } = part[index]!;
      const isGone = expiresAtMs > 0 && expiresAtMs <= cutMs;
      const isRight = result.ok && (isGone ? result.value === undefined : result.value?.value.equals(value) === true);
      if (!isRight) wrong.push(key);
    });
  }
  return wrong;
}

const keyspaces = async (): Promise<string[]> => (await cluster.keyspaces()).map(({ name }) => name).sort();

it('a keyspace comes back with other partitions and replicas, and with its expiries; a part of it under another name', async () => {
  await write('full', orders);
  const job = await backup.succeeded(await backup.restore({ archive: 'full', partitionCount: 32, replicationFactor: 3 }));
  expect(job.result).toMatchObject({ $case: 'restore', value: { archives: ['full'], keyspaces: [{ source: 'orders', keyspace: 'orders', name: 'orders', entries: KEYS * 0.9, comparedEntries: KEYS * 0.9, partitions: 32 }] } });
  expect(await differing('orders')).toEqual([]);
  expect(await cluster.keyspace('orders')).toMatchObject({ partitionCount: 32, replicationFactor: 3 });
  const client = cluster.client({ keyspace: 'orders' });
  expect((await client.get(keyOf(11)))?.expiresAtMs).toBe(FAR_MS);
  // It is a keyspace like any other.
  await client.set('new', 'x');
  await backup.succeeded(await backup.restore({ archive: 'full', keyspaces: ['orders'], target: 'users', prefix: Buffer.from('user:'), partitionCount: 2 }));
  const users = entries.filter(({ key }) => key.startsWith('user:'));
  expect(await differing('users', users)).toEqual([]);
  expect(await cluster.client({ keyspace: 'users' }).get(keyOf(3))).toBeUndefined();
});

it('what is there is not touched, unless it is empty or is to be replaced; then clients find the archive under the old name at once', async () => {
  await write('whole', { ...orders, name: 'default', partitionCount: 4 });
  const first = await backup.succeeded(await backup.restore({ archive: 'whole' }));
  expect(await differing('default')).toEqual([]);
  const client = cluster.client();
  await client.set(keyOf(2), 'changed');
  await client.set('stranger', 'x');
  const refused = await backup.ended(await backup.restore({ archive: 'whole' }));
  expect(refused.state).toBe(BackupJobState.BACKUP_JOB_STATE_FAILED);
  expect(refused.problem).toMatch(/^keyspace default is there and has \d+ entries/);
  await client.set('stranger', 'y');
  await backup.succeeded(await backup.restore({ archive: 'whole', policy: RestorePolicy.RESTORE_POLICY_REPLACE }));
  expect(await differing('default')).toEqual([]);
  expect(await client.get('stranger')).toBeUndefined();
  await client.set('stranger', 'z');
  const own = first.result?.$case === 'restore' ? first.result.value.keyspaces[0]!.keyspace : '';
  await eventually('the one before it is deleted', async () => !(await keyspaces()).includes(own), END_MS);
});

// Some sub-ranges of each partition: the bound is kept between them.
const wide = entries.map((entry, index) => ({ ...entry, value: Buffer.alloc(4000, `wide ${index} `) }));
const SLOWLY = 100_000;

/** All at once. */
async function strike(...ids: readonly string[]): Promise<void> {
  const { coordinators, storageNodes, backups, etcdProcess } = await cluster.status();
  for (const { pid } of [...coordinators, ...storageNodes, ...backups, etcdProcess].filter(({ id }) => ids.includes(id))) process.kill(pid!, 'SIGKILL');
}

/** The copy that fills the keyspace is bound no more. */
async function hurry(migration: string): Promise<void> {
  await eventually('it is bound no more', () => cluster.resumeMigration(migration, 50_000_000).then(() => true, () => false), END_MS);
}

/** Its migration, and the source that it is served as. */
const migrationOf = async (target: string): Promise<string> =>
  eventually('there is a migration', async () => (await cluster.migrations()).find(({ copy, endedAtMs }) => copy?.target === target && endedAtMs === 0)?.id, END_MS);

it('goes on when the backup service, a node, the coordinator and etcd are killed while it fills, and again just before it is cut over', async () => {
  await write('wide', { ...orders, partitionCount: 4, entries: wide });
  const begun = await backup.restore({ archive: 'wide', keyspaces: ['orders'], target: 'slow', partitionCount: 4, bytesPerSecond: SLOWLY });
  await backup.until(begun, 'is in the middle', ({ progress }) => progress!.entries > 100);
  const migration = await migrationOf('slow');
  await files.holdCutOver(migration, 'before');
  await strike('backup-1', 'node-2', 'coordinator-1', 'etcd');
  await cluster.startProcess('etcd');
  await cluster.startProcess('coordinator-1');
  await cluster.startProcess('node-2');
  await cluster.startProcess('backup-1');
  await hurry(migration);
  await files.untilCutOver(migration, 'before', END_MS);
  await strike('backup-1', 'coordinator-1', 'etcd');
  await cluster.startProcess('etcd');
  await files.release();
  await cluster.startProcess('coordinator-1');
  await cluster.startProcess('backup-1');
  const job = await backup.succeeded(begun);
  expect(job.takeUps).toBeGreaterThan(1);
  expect(await differing('slow', wide)).toEqual([]);
});

it('goes on in a service at another address, with migrations of its own: of those of the first one nothing is left', async () => {
  const before = await keyspaces();
  await cluster.createKeyspace({ name: 'empty', partitionCount: 4, replicationFactor: 2 });
  const addresses = await ownAddresses();
  const second = startService('backup', { ...addresses, ATOLL_ID: 'backup-2', ATOLL_ETCD: cluster.up.etcd, BACKUP_REPOSITORY: join(cluster.dataDir, 'backup'), BACKUP_LOCK_TTL_MS: '2s' });
  const other = new BackupCalls(addresses['ATOLL_LISTEN']!);
  try {
    // That of the cluster holds the lock.
    const begun = await backup.restore({ archive: 'wide', keyspaces: ['orders'], target: 'empty', partitionCount: 4, bytesPerSecond: SLOWLY });
    const { id } = await backup.until(begun, 'is in the middle', ({ progress }) => progress!.entries > 100);
    const own = (await cluster.keyspaces()).find(({ name }) => name.startsWith('empty-'))!.name;
    const first = await migrationOf(own);
    await strike('backup-1');
    const next = await eventually('another migration fills it', async () => (await cluster.migrations()).find((migration) => migration.copy?.target === own && migration.id !== first), END_MS);
    expect(next.copy!.sourceRouters).toEqual([addresses['ATOLL_LISTEN']]);
    await hurry(next.id);
    const job = await other.succeeded({ id });
    expect(job).toMatchObject({ takeUps: 1, result: { value: { keyspaces: [{ name: 'empty', keyspace: own, entries: KEYS * 0.9, comparedEntries: KEYS * 0.9 }] } } });
    expect(await differing('empty', wide)).toEqual([]);
    const { MIGRATION_STATE_SUCCEEDED: SUCCEEDED, MIGRATION_STATE_CANCELLED: CANCELLED } = MigrationState;
    const states = await Promise.all([first, next.id].map(async (migration) => (await cluster.migration(migration)).migration.state));
    expect(states).toEqual([CANCELLED, SUCCEEDED]);
    await eventually('the one whose place was taken is deleted', async () => (await keyspaces()).join() === [...before, own].sort().join(), END_MS);
    // It takes writes, and nobody has frozen anything any more.
    await cluster.client({ keyspace: 'empty' }).set('new', 'x');
    expect((await cluster.keyspaces()).filter(({ freeze }) => freeze !== undefined)).toEqual([]);
  } finally {
    other.close();
    await second.stop();
    if ((await cluster.status()).backups[0]!.pid === null) await cluster.startProcess('backup-1');
  }
});

it('a keyspace that is there is served and gets what it lacks (KEEP_NEWER): writers beside it lose nothing when the service is killed', async () => {
  await backup.succeeded(await backup.restore({ archive: 'full', keyspaces: ['orders'], target: 'kept' }));
  const client = cluster.client({ keyspace: 'kept' });
  const before = new AcknowledgedWriter({ client, keys: 200 });
  await eventually('each key was written', () => before.acknowledged.size === 200, END_MS);
  await before.stop();
  await backup.succeeded(await backup.create({ archive: 'kept-1', keyspaces: ['kept'] }));

  const users = entries.filter(({ key }) => key.startsWith('user:'));
  await client.deleteMany(users.map(({ key }) => key));
  await client.set(keyOf(3), 'since');
  const writer = new AcknowledgedWriter({ client, keys: 200 });
  const keepNewer = { policy: RestorePolicy.RESTORE_POLICY_KEEP_NEWER };
  const begun = await backup.restore({ archive: 'kept-1', ...keepNewer, bytesPerSecond: 60_000 });
  await backup.until(begun, 'is in the middle', ({ progress }) => progress!.entries > 100);
  await cluster.kill('backup-1');
  await cluster.startProcess('backup-1');
  const job = await backup.succeeded(begun);
  expect(job.takeUps).toBeGreaterThan(0);
  await writer.stop();
  expect(await writer.lost(cluster.client({ keyspace: 'kept' }))).toEqual([]);
  expect(await differing('kept', entries.filter(({ key }) => key !== keyOf(3)))).toEqual([]);
  expect((await client.get(keyOf(3)))?.value.toString()).toBe('since');
  expect((await client.get(keyOf(11)))?.expiresAtMs).toBe(FAR_MS);
  const [merged] = job.result?.$case === 'restore' ? job.result.value.keyspaces : [];
  expect(merged).toMatchObject({ source: 'kept', keyspace: 'kept', merged: true, partitions: 8 });
  // Each entry of the archive came to one end, also where it was dealt with twice.
  expect(merged!.entries + merged!.keptEntries + merged!.sameEntries + merged!.expiredEntries).toBe(KEYS * 0.9 + 200);
  expect(merged!.keptEntries).toBeGreaterThan(0);

  // Of another cluster: nothing tells what is newer, and only what is missing comes.
  await client.delete(keyOf(4));
  await client.set(keyOf(8), 'since');
  const other = await backup.succeeded(await backup.restore({ archive: 'full', keyspaces: ['orders'], target: 'kept', prefix: Buffer.from('user:'), ...keepNewer }));
  expect(other.result).toMatchObject({ value: { keyspaces: [{ merged: true, entries: 1, keptEntries: 1, sameEntries: users.length - users.length / 5 - 2, expiredEntries: users.length / 5 }] } });

  await cluster.freezeKeyspace('kept', 'for a look');
  expect((await backup.ended(await backup.restore({ archive: 'kept-1', ...keepNewer }))).problem).toBe('keyspace kept is frozen and takes no writes until it is unfrozen: for a look');
  await cluster.unfreezeKeyspace('kept');

  await client.deleteMany(users.map(({ key }) => key));
  const slow = await backup.restore({ archive: 'kept-1', ...keepNewer, bytesPerSecond: 50_000 });
  await backup.until(slow, 'is in the middle', ({ progress }) => progress!.entries > 100);
  await backup.cancel(slow);
  const cancelled = await backup.ended(slow);
  expect(cancelled).toMatchObject({ state: BackupJobState.BACKUP_JOB_STATE_CANCELLED, problem: '', summary: expect.stringMatching(/^what was written stays: kept: \d+ entries written, /) });
  const there = (await client.getMany(users.map(({ key }) => key), DEADLINE)).filter((result) => result.ok && result.value !== undefined).length;
  expect(cancelled.result).toMatchObject({ value: { keyspaces: [{ entries: there }] } });
  expect(there).toBeGreaterThan(0);
  // Nothing of it comes in late.
  await client.deleteMany(users.map(({ key }) => key));
  expect((await client.getMany(users.map(({ key }) => key), DEADLINE)).every((result) => result.ok && result.value === undefined)).toBe(true);
});

it('leaves nothing behind when it is cancelled, when the archive is damaged, or when memory lacks, which is told before it begins', async () => {
  const before = await keyspaces();
  const begun = await backup.restore({ archive: 'full', keyspaces: ['orders'], target: 'cancelled', bytesPerSecond: 100_000 });
  await eventually('it is in the middle', async () => (await keyspaces()).includes('cancelled'), END_MS);
  await backup.until(begun, 'fills', ({ phase }) => phase === 'FILL');
  await backup.cancel(begun);
  expect(await backup.ended(begun)).toMatchObject({ state: BackupJobState.BACKUP_JOB_STATE_CANCELLED, problem: '' });
  expect(await keyspaces()).toEqual(before);

  const big: WrittenEntry[] = Array.from({ length: 160 }, (_, index) => ({ key: `big-${index}`, value: Buffer.alloc(MIB, index) }));
  await write('big', { name: 'big', partitionCount: 8, settings: {}, entries: big });
  const short = await backup.ended(await backup.restore({ archive: 'big' }));
  expect(short.problem).toMatch(/^target: 2 replicas of \d+ bytes do not fit into the \d+ bytes that 3 nodes have free below 95 %: \d+ are needed, and there are node-\d \d+, node-\d \d+, node-\d \d+$/);

  const { keyspaces: [archived] } = (await repository.readManifest('full'));
  const [chunk] = archived!.ranges[5]!.chunks;
  const file = await open(join(cluster.dataDir, 'backup', 'chunks', chunk!.id.slice(0, 2), chunk!.id), 'r+');
  await file.write(Buffer.from([77]), 0, 1, 60);
  await file.close();
  const damaged = await backup.ended(await backup.restore({ archive: 'full', target: 'damaged', keyspaces: ['orders'] }));
  expect(damaged.problem).toContain(`chunk ${chunk!.id}: its ${chunk!.storedBytes} bytes are not those that were written`);
  expect(await keyspaces()).toEqual(before);
  const { job } = await callUnary(backup.client, 'verifyBackup', { id: '', archive: 'full', bytesOnly: false }, DEADLINE);
  const drill = await callUnary(backup.client, 'drillBackup', DrillBackupRequest.fromPartial({ archive: 'full' }), DEADLINE);
  expect((await backup.ended(drill.job!)).problem).toContain(`chunk ${chunk!.id}: its ${chunk!.storedBytes} bytes are not those that were written`);
  expect(await keyspaces()).toEqual(before);
  expect((await backup.ended(job!)).result).toMatchObject({ $case: 'verify', value: { damagesTotal: 1, damages: [{ archive: 'full', keyspace: 'orders', partition: 5, chunk: chunk!.id, damage: 'ALTERED' }] } });
});

it('what a part of the keys takes, and what a keyspace lacks, is measured where all of the archive would not fit, and told before anything begins', async () => {
  const numbers = /2 replicas of \d+ bytes do not fit into the \d+ bytes that 3 nodes have free below 95 %: \d+ are needed, and there are node-\d \d+, node-\d \d+, node-\d \d+$/;
  const all = await backup.ended(await backup.restore({ archive: 'big', keyspaces: ['big'], target: 'big-part', prefix: Buffer.from('big-') }));
  expect(all).toMatchObject({ state: BackupJobState.BACKUP_JOB_STATE_FAILED, problem: expect.stringMatching(numbers) });
  expect(await keyspaces()).not.toContain('big-part');
  await backup.succeeded(await backup.restore({ archive: 'big', keyspaces: ['big'], target: 'big-part', prefix: Buffer.from('big-15') }));
  const client = cluster.client({ keyspace: 'big-part' });
  expect((await client.get('big-15', { deadlineMs: 20_000 }))?.value).toEqual(Buffer.alloc(MIB, 15));
  // It is there now: what it lacks does not fit, but for what it has already.
  const keepNewer = { archive: 'big', keyspaces: ['big'], target: 'big-part', policy: RestorePolicy.RESTORE_POLICY_KEEP_NEWER };
  const short = await backup.ended(await backup.restore(keepNewer));
  expect(short.problem).toMatch(/^target: what big-part would get: /);
  expect(short.problem).toMatch(numbers);
  expect(await client.get('big-0', { deadlineMs: 20_000 })).toBeUndefined();
  await client.delete('big-150');
  const { result } = await backup.succeeded(await backup.restore({ ...keepNewer, prefix: Buffer.from('big-15') }));
  expect(result).toMatchObject({ value: { keyspaces: [{ entries: 1, sameEntries: 10, keptEntries: 0 }] } });
});
