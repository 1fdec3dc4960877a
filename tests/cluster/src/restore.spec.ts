// Archives are restored by real processes: to other partitions and replicas, into keyspaces that are there, while services die; and
// what cannot be restored leaves nothing behind.
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import { BackupJobState, RestorePolicy } from '@atoll/contracts/atoll/v1/backup';
import { MIB, SECOND_MS } from '@atoll/core-runtime';
import { eventually } from '@atoll/platform-etcd/testing';
import { callUnary } from '@atoll/platform-grpc';
import { Repository, nodeArchiveCodec, openFileObjectStore } from '@atoll/platform-repository';
import { writeArchive, type WrittenEntry, type WrittenKeyspace } from '@atoll/platform-repository/testing';
import { BackupCalls } from './backup-calls.ts';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';

jest.setTimeout(120_000);

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
let repository: Repository;
let backup: BackupCalls;
beforeAll(async () => {
  cluster = await DevCluster.start({ nodes: 3, env: { STORAGE_NODE_MEMORY_BYTES_MAX: String(NODE_MEMORY) } });
  repository = await Repository.open({ store: await openFileObjectStore(join(cluster.dataDir, 'backup')), codec: nodeArchiveCodec }, { newId: 'r', nowMs: cutMs });
  backup = new BackupCalls(cluster.up.backups[0]!.address);
}, START_MS);
afterAll(async () => {
  backup?.close();
  await cluster?.stop();
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

it('goes on when the backup service, a node and the coordinator are killed in the middle of it', async () => {
  // Some sub-ranges of each partition: the bound is kept between them.
  const wide = entries.map((entry, index) => ({ ...entry, value: Buffer.alloc(4000, `wide ${index} `) }));
  await write('wide', { ...orders, partitionCount: 4, entries: wide });
  const begun = await backup.restore({ archive: 'wide', keyspaces: ['orders'], target: 'slow', partitionCount: 4, bytesPerSecond: 100_000 });
  await backup.until(begun, 'is in the middle', ({ progress }) => progress!.entries > 100);
  await cluster.kill('backup-1');
  await cluster.startProcess('backup-1');
  await cluster.kill('node-2');
  await cluster.kill('coordinator-1');
  await cluster.startProcess('coordinator-1');
  await cluster.startProcess('node-2');
  const faster = async (): Promise<boolean> => {
    const migrations = await cluster.migrations();
    await cluster.resumeMigration(migrations.find(({ copy }) => copy?.target === 'slow')!.id, 50_000_000);
    return true;
  };
  await eventually('it is bound no more', () => faster().catch(() => false), END_MS);
  const job = await backup.succeeded(begun);
  expect(job.takeUps).toBeGreaterThan(0);
  expect(await differing('slow', wide)).toEqual([]);
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
  expect((await backup.ended(job!)).result).toMatchObject({ $case: 'verify', value: { damagesTotal: 1, damages: [{ archive: 'full', keyspace: 'orders', partition: 5, chunk: chunk!.id, damage: 'ALTERED' }] } });
});
