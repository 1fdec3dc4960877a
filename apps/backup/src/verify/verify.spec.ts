import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deriveArchiveKey, encodeManifest, foldPartition, type ArchiveKey, type Manifest, type RestoreStep } from '@atoll/core-archive';
import { ensureClusterId } from '@atoll/platform-etcd';
import { InMemoryMetadataStore, eventually } from '@atoll/platform-etcd/testing';
import { Repository, Session, nodeArchiveCodec, openFileObjectStore } from '@atoll/platform-repository';
import { writeArchive } from '@atoll/platform-repository/testing';
import { createLogger, startTelemetry } from '@atoll/platform-telemetry';
import { findParent } from '../cold/parent.ts';
import { JobDesk } from '../jobs/job-desk.ts';
import { hasEnded, type JobRecord } from '../jobs/job-record.ts';
import { startJobs, type JobService } from '../jobs/job-service.ts';
import { KnownRepository } from '../repository/known-repository.ts';
import { RepositoryAccess } from '../repository/repository-access.ts';
import { planOf, readChain } from '../restore/archive-chain.ts';
import { VerifyJob } from './verify-job.ts';

const KEY = deriveArchiveKey(nodeArchiveCodec, Buffer.alloc(32, 1));
const OTHER = deriveArchiveKey(nodeArchiveCodec, Buffer.alloc(32, 2));
const ENTRIES = Array.from({ length: 200 }, (_, index) => ({ key: `key-${index}`, value: Buffer.from(`value-${index}`), expiresAtMs: index % 3 === 0 ? 5 : 0 }));

let store: InMemoryMetadataStore;
beforeAll(async () => {
  store = new InMemoryMetadataStore();
  await ensureClusterId(store, () => 'test');
});

/** An archive of its own, and a service that checks it. */
class World {
  readonly directory: string;
  readonly repository: Repository;
  readonly manifest: Manifest;

  private constructor(directory: string, repository: Repository, manifest: Manifest) {
    this.directory = directory;
    this.repository = repository;
    this.manifest = manifest;
  }

  static async create({ key }: { readonly key?: ArchiveKey } = {}): Promise<World> {
    const directory = await mkdtemp(join(tmpdir(), 'atoll-verify-'));
    const repository = await Repository.open({ store: await openFileObjectStore(directory), codec: nodeArchiveCodec, keys: key === undefined ? [] : [key] }, { newId: 'r', nowMs: 0 });
    const manifest = await writeArchive(repository, { id: 'full', keyspaces: [{ name: 'orders', partitionCount: 2, entries: ENTRIES }], atMs: 1000, entriesPerChunk: 30, key });
    return new World(directory, repository, manifest);
  }

  /** Of the second chunk of partition 1. */
  get chunk(): string {
    return this.manifest.keyspaces[0]!.ranges[1]!.chunks[1]!.id;
  }

  pathOf(chunk: string): string {
    return join(this.directory, 'chunks', chunk.slice(0, 2), chunk);
  }

  /** One of nothing that changed: what it needs is in `full`. */
  async increment(key?: ArchiveKey): Promise<void> {
    const session = await Session.begin({ repository: this.repository, id: { clusterId: 'c1', fencingToken: 1, number: 9 }, isHeld: () => true, purpose: 'WRITE', archive: 'increment', uses: ['full'], owner: 'a spec', startedAtMs: 0 });
    const keyspaces = this.manifest.keyspaces.map((keyspace) => ({ ...keyspace, ranges: keyspace.ranges.map((range) => ({ ...range, after: range.upTo, contentBytes: 0, chunks: [] })) }));
    await session.publish({ ...this.manifest, id: 'increment', kind: 'INCREMENTAL', parent: 'full', session: session.id, barriers: [{ id: 'later', atMs: 2000 }], keyId: key?.id, keyspaces }, key);
    await session.end();
  }

  /** As a restore and a drill read it: how many entries there are. */
  async restore(archive: string, keys: readonly ArchiveKey[] = []): Promise<number> {
    const access = new RepositoryAccess({ location: { kind: 'directory', path: this.directory }, keys, known: new KnownRepository(store) });
    try {
      const repository = await access.open();
      const ask = { archive, exact: false };
      const plan = planOf(repository, await readChain(repository, ask), ask, 'orders');
      const read = async ({ chunk }: RestoreStep): Promise<Buffer> => (await repository.readChunk(chunk)).plain;
      let entries = 0;
      for (const source of plan.groups.flatMap(({ sources }) => sources)) {
        for await (const slice of foldPartition({ source, read, belongs: () => true, overlayBytesMax: 1e8, slice: { entriesMax: 100, bytesMax: 1e6 } })) entries += slice.entries.length;
      }
      return entries;
    } finally {
      await access.close();
    }
  }

  async verify(keys: readonly ArchiveKey[] = [], bytesOnly = false, archive = 'full'): Promise<JobRecord> {
    const telemetry = await startTelemetry({ service: 'backup', instanceId: 'b', version: '0', traceRatio: 0 });
    const logger = createLogger({ service: 'backup', instanceId: 'b', level: 'silent', format: 'json' });
    const access = new RepositoryAccess({ location: { kind: 'directory', path: this.directory }, keys, known: new KnownRepository(store) });
    const own = new InMemoryMetadataStore({ etcd: store.etcd });
    const desk = new JobDesk({ store: own, tracing: telemetry.tracing });
    const service: JobService = startJobs({ store: own, clusterId: undefined, desk, kinds: [new VerifyJob({ partitionsAtOnce: 2 })], access, owner: 'b', lockTtlMs: 1000, logger, telemetry });
    try {
      const { id } = await desk.submit({ kind: 'VERIFY', id: '', archive, keyspaces: [], ask: { bytesOnly } });
      return await eventually('it ends', async () => {
        const job = await desk.require(id);
        return hasEnded(job) ? job : undefined;
      });
    } finally {
      await service.stop();
      await access.close();
      await own.close();
      await telemetry.shutdown();
    }
  }
}

let world: World;
afterEach(() => rm(world.directory, { recursive: true, force: true }));

/** What may become of the bytes of a chunk, and what it is told as. */
const HARMS: readonly [string, string, (own: World) => Promise<unknown>][] = [
  ['a flipped bit', 'ALTERED', async (own) => {
    const bytes = await readFile(own.pathOf(own.chunk));
    bytes[bytes.length - 3]! ^= 16;
    await writeFile(own.pathOf(own.chunk), bytes);
  }],
  ['a chunk that was cut off', 'TRUNCATED', (own) => truncate(own.pathOf(own.chunk), 70)],
  ['a chunk that is missing', 'MISSING', (own) => rm(own.pathOf(own.chunk))],
];

describe('an archive that is read back', () => {
  it('is as it was written, all of it, with a key or for its bytes alone', async () => {
    world = await World.create({ key: KEY });
    const whole = await world.verify([KEY]);
    const chunks = world.manifest.keyspaces[0]!.ranges.flatMap((range) => range.chunks);
    expect(whole).toMatchObject({ state: 'SUCCEEDED', problem: '', result: { archives: ['full'], chunks: chunks.length, entries: 200, rangesEqual: 2, rangesWithoutDigest: 0, damagesTotal: 0 } });
    expect(whole.result!['storedBytes']).toBe(chunks.reduce((sum, { storedBytes }) => sum + storedBytes, 0));
    expect(whole.figures).toMatchObject({ entries: 200, partitionsDone: 2, partitionsTotal: 2 });
    expect(await world.verify([], true)).toMatchObject({ state: 'SUCCEEDED', summary: `the bytes of ${chunks.length} chunks are as they were written` });
    // A key that is wrong is no damage, nor is one that is missing.
    expect(await world.verify([OTHER])).toMatchObject({ state: 'FAILED', problem: `manifest full: needs the key ${KEY.id}, and there is ${OTHER.id}` });
    expect((await world.verify()).problem).toContain('and there is none');
  });

  it.each(HARMS)('tells of %s by archive, partition and chunk, reads all the others, and has it written again', async (_, damage, harm) => {
    world = await World.create();
    await harm(world);
    const job = await world.verify();
    const { chunk } = world;
    expect(job).toMatchObject({ state: 'FAILED', result: { damagesTotal: 1, damages: [{ archive: 'full', keyspace: 'orders', partition: 1, chunk, damage }], rangesEqual: 1 } });
    expect(job.problem).toMatch(new RegExp(`^full: 1 damage; full, orders, partition 1, chunk ${chunk.slice(0, 12)}: chunk ${chunk}: `));
    expect(job.result!['chunks']).toBe(world.manifest.keyspaces[0]!.ranges.flatMap((range) => range.chunks).length);
    expect(await readFile(join(world.directory, 'suspects', `${chunk}.json`), 'utf8')).toBeDefined();
    expect((await world.verify([], true)).result).toMatchObject({ damagesTotal: 1 });
    // Who has the content puts it anew, and all is well.
    await writeArchive(world.repository, { id: 'again', keyspaces: [{ name: 'orders', partitionCount: 2, entries: ENTRIES }], atMs: 1000, entriesPerChunk: 30, session: 2 });
    expect((await world.verify()).state).toBe('SUCCEEDED');
  });

  it.each(HARMS)('tells of %s in what an increment goes on from, and no restore or drill takes it for good', async (_, damage, harm) => {
    world = await World.create();
    await world.increment();
    expect([await world.restore('increment'), (await world.verify([], false, 'increment')).state]).toEqual([ENTRIES.length, 'SUCCEEDED']);
    await harm(world);
    const { chunk } = world;
    for (const archive of ['full', 'increment']) await expect(world.restore(archive)).rejects.toMatchObject({ reason: 'ARCHIVE_DAMAGED', message: expect.stringContaining(`chunk ${chunk}: `), metadata: { damage } });
    const job = await world.verify([], false, 'increment');
    expect(job).toMatchObject({ state: 'FAILED', result: { damagesTotal: 1, damages: [{ archive: 'full', keyspace: 'orders', partition: 1, chunk, damage }] } });
  });

  it('whose parent has no manifest, a damaged one, or another key is told by the name of the parent, for increments and for restores', async () => {
    world = await World.create({ key: KEY });
    await world.increment(OTHER);
    const wrong = { reason: 'ARCHIVE_KEY_WRONG', message: `manifest full: needs the key ${KEY.id}, and there is ${OTHER.id}` };
    await expect(world.restore('increment', [OTHER])).rejects.toMatchObject(wrong);
    await expect(world.restore('full', [OTHER])).rejects.toMatchObject(wrong);
    expect(await world.verify([OTHER], false, 'increment')).toMatchObject({ state: 'FAILED', problem: wrong.message });
    const path = join(world.directory, 'archives', 'full', `${world.manifest.session}.manifest`);
    const bytes = await readFile(path);
    await truncate(path, bytes.length - 20);
    await expect(world.restore('increment', [KEY, OTHER])).rejects.toMatchObject({ reason: 'ARCHIVE_DAMAGED', message: expect.stringContaining('manifest full') });
    expect(await world.verify([KEY, OTHER], false, 'increment')).toMatchObject({ state: 'FAILED', problem: expect.stringContaining('manifest full') });
    const parent = { parent: 'full', clusterId: 'c1', keyspaces: [], archive: 'another', unreadable: { note: () => undefined } };
    await expect(findParent(world.repository, parent)).rejects.toMatchObject({ reason: 'ARCHIVE_DAMAGED', message: expect.stringContaining('manifest full') });
    await rm(path);
    const gone = { reason: 'ARCHIVE_NOT_FOUND', message: expect.stringContaining('full') };
    await expect(world.restore('increment', [KEY, OTHER])).rejects.toMatchObject(gone);
    await expect(findParent(world.repository, parent)).rejects.toMatchObject(gone);
    expect(await world.verify([KEY, OTHER], false, 'increment')).toMatchObject({ state: 'FAILED', result: { damages: [{ archive: 'full', damage: 'MISSING' }] } });
  });

  it('tells of a manifest that is damaged, and of one that is not there', async () => {
    world = await World.create();
    const path = join(world.directory, 'archives', 'full', `${world.manifest.session}.manifest`);
    const bytes = await readFile(path);
    bytes[bytes.length - 10]! ^= 1;
    await writeFile(path, bytes);
    expect(await world.verify()).toMatchObject({ state: 'FAILED', result: { damages: [{ archive: 'full', keyspace: '', chunk: '', damage: 'ALTERED' }] } });
    await rm(path);
    expect(await world.verify()).toMatchObject({ state: 'FAILED', problem: expect.stringContaining('there is no manifest of the archive full') });
  });

  it('tells of entries that can be read and are not what the partition held', async () => {
    world = await World.create();
    const { repository, manifest } = world;
    const [first, second] = manifest.keyspaces[0]!.ranges;
    const swapped = { ...manifest.keyspaces[0]!, ranges: [{ ...first!, digest: second!.digest }, second!] };
    await repository.store.put(`archives/full/${manifest.session}.manifest`, encodeManifest(repository.codec, { ...manifest, keyspaces: [swapped] }, undefined));
    expect(await world.verify()).toMatchObject({ state: 'FAILED', result: { damages: [{ archive: 'full', keyspace: 'orders', partition: 0, chunk: '', damage: 'DIGEST' }] } });
  });
});
