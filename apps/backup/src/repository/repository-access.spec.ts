import { mkdir, mkdtemp, readdir, rename, rm, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { InMemoryMetadataStore, eventually } from '@atoll/platform-etcd/testing';
import type { Repository } from '@atoll/platform-repository';
import { writeArchive } from '@atoll/platform-repository/testing';
import { acceptRepository, getRepository } from '../handlers/repository.ts';
import { ArchiveList } from '../jobs/archive-list.ts';
import { KnownRepository } from './known-repository.ts';
import { RepositoryAccess } from './repository-access.ts';
import { RepositoryWatch } from './repository-watch.ts';
import { SharedProbe } from './shared-probe.ts';

/** Where the volume of the repository is mounted, as a directory that is moved away and back. */
let mountPoint: string;
let directory: string;
let store: InMemoryMetadataStore;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'atoll-access-'));
  mountPoint = join(directory, 'repository');
  await mkdir(mountPoint);
  store = new InMemoryMetadataStore();
});
afterEach(() => rm(directory, { recursive: true, force: true }));

/** Of another process each. */
const service = (path = mountPoint, own = store): RepositoryAccess => new RepositoryAccess({ location: { kind: 'directory', path }, keys: [], known: new KnownRepository(new InMemoryMetadataStore({ etcd: own.etcd })) });

/** What a job does: the repository is opened and used. */
async function use(access: RepositoryAccess): Promise<Repository> {
  const repository = await access.open();
  await access.use(repository);
  return repository;
}

const write = (repository: Repository): Promise<unknown> => writeArchive(repository, { id: 'full', keyspaces: [{ name: 'orders', partitionCount: 1, entries: [{ key: 'k', value: Buffer.from('v') }] }], atMs: 1000 });

async function unmount(): Promise<void> {
  await rename(mountPoint, join(directory, 'volume'));
  await mkdir(mountPoint);
}

async function mount(): Promise<void> {
  await rmdir(mountPoint); // Throws where something was written to it.
  await rename(join(directory, 'volume'), mountPoint);
}

const refused = (message: RegExp): object => ({ reason: 'REPOSITORY_MISMATCH', message: expect.stringMatching(message) });

describe('the repository of a cluster', () => {
  it('is made where there is none, and known from its first use on, to every service', async () => {
    const first = await service().open();
    expect(await new KnownRepository(store).get()).toBeUndefined();
    await use(service());
    expect(await new KnownRepository(store).get()).toEqual({ id: first.id, location: pathToFileURL(mountPoint).href });
    expect((await use(service())).id).toBe(first.id);
  });

  it('is not taken for empty where its volume is not mounted: the setting is named, nothing is written there, and it goes on when the volume is back', async () => {
    await write(await use(service()));
    await unmount();
    const access = service();
    await expect(access.open()).rejects.toMatchObject(refused(/^BACKUP_REPOSITORY: file:\S+: there is no repository, and this cluster uses [0-9a-f-]{36}: .*"atoll backup repository --accept-new"/));
    await expect(new ArchiveList(access).list()).rejects.toMatchObject({ reason: 'REPOSITORY_MISMATCH' });
    expect(await readdir(mountPoint)).toEqual([]);
    await mount();
    expect((await new ArchiveList(access).list()).map(({ id }) => id)).toEqual(['full']);
  });

  it('is missed when its volume goes away while it is open, and is opened again when it is back', async () => {
    const access = service();
    const repository = await use(access);
    await write(repository);
    await unmount();
    await expect(access.open()).rejects.toMatchObject({ reason: 'REPOSITORY_MISMATCH' });
    await expect(repository.listManifests()).rejects.toMatchObject(refused(/there is no repository any more, and \S+ was in use \(BACKUP_REPOSITORY\)/));
    await mount();
    expect(await access.open()).toBe(repository);
  });

  it('is not another one that is there: which has to be accepted by its id', async () => {
    const elsewhere = join(directory, 'elsewhere');
    const { id: known } = await use(service());
    const { id: other } = await use(service(elsewhere, new InMemoryMetadataStore()));
    const access = service(elsewhere);
    await expect(access.open()).rejects.toMatchObject(refused(new RegExp(`the repository ${other} is there, and this cluster uses ${known}, last at ${pathToFileURL(mountPoint).href}: .*--accept ${other}"`)));
    await expect(acceptRepository({ access }, { id: known })).rejects.toMatchObject({ reason: 'REPOSITORY_MISMATCH', metadata: { field: 'id', repository: other } });
    await expect(acceptRepository({ access }, { id: '' })).rejects.toMatchObject({ reason: 'REPOSITORY_MISMATCH', metadata: { field: 'id' } });
    await expect(acceptRepository({ access }, { id: 'x'.repeat(200) })).rejects.toMatchObject({ reason: 'INVALID_ARGUMENT', metadata: { field: 'id' } });
    expect(await acceptRepository({ access }, { id: other })).toEqual({ id: other });
    expect((await access.open()).id).toBe(other);
    await expect(service().open()).rejects.toMatchObject({ reason: 'REPOSITORY_MISMATCH' });
  });

  it('begins anew, empty, when that is accepted: a service that had the one before goes on with it', async () => {
    const access = service();
    const before = await use(access);
    await rm(join(mountPoint, 'repository.json'));
    await expect(access.open()).rejects.toMatchObject({ reason: 'REPOSITORY_MISMATCH' });
    const { id } = await acceptRepository({ access: service() }, { id: '' });
    expect(id).not.toBe(before.id);
    expect((await access.open()).id).toBe(id);
  });

  it('of before is what a new cluster, with a new etcd, takes without a word (disaster recovery), as do several clusters', async () => {
    const repository = await use(service());
    await write(repository);
    const access = service(mountPoint, new InMemoryMetadataStore());
    expect((await use(access)).id).toBe(repository.id);
    expect((await new ArchiveList(access).list()).map(({ id }) => id)).toEqual(['full']);
  });

  it('is the first one that is used where two services begin with different ones', async () => {
    const [left, right] = [service(), service(join(directory, 'right'))];
    const [ours, theirs] = [await left.open(), await right.open()];
    await left.use(ours);
    await expect(right.use(theirs)).rejects.toMatchObject({ reason: 'REPOSITORY_MISMATCH' });
  });

  it('is shown by its id, or with why it is not used, and that is noticed without a job', async () => {
    const access = service();
    const desk = { location: { kind: 'directory', path: mountPoint } as const, probe: new SharedProbe({ location: { kind: 'directory', path: mountPoint }, timeoutMs: 10_000 }), access };
    expect(await getRepository(desk)).toMatchObject({ writable: true, id: '', knownId: '', refusal: '' });
    const { id } = await use(access);
    expect(await getRepository(desk)).toMatchObject({ id, knownId: id, refusal: '' });
    const told: string[] = [];
    const watch = new RepositoryWatch({ access, lookMs: 10, logger: { warn: (_: unknown, message?: string) => void told.push(message!), info: (message: unknown) => void told.push(String(message)) } });
    await unmount();
    await eventually('it is noticed', () => watch.refusal !== '');
    expect(await getRepository(desk)).toMatchObject({ writable: true, id: '', knownId: id, refusal: expect.stringContaining('BACKUP_REPOSITORY') });
    await mount();
    await eventually('it is back', () => watch.refusal === '');
    await watch.stop();
    expect(told).toEqual(['the repository is not used', 'the repository is used again']);
  });

  it('that cannot be told, since etcd is away, is not opened; one that was known before is', async () => {
    const own = new InMemoryMetadataStore();
    const access = new RepositoryAccess({ location: { kind: 'directory', path: mountPoint }, keys: [], known: new KnownRepository(own) });
    own.goAway();
    await expect(access.open()).rejects.toMatchObject({ reason: 'METADATA_UNAVAILABLE' });
    expect(await readdir(mountPoint)).toEqual([]);
    own.comeBack();
    const repository = await use(access);
    expect(await access.open()).toBe(repository);
    own.goAway();
    expect(await access.open()).toBe(repository);
  });
});
