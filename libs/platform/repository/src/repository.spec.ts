import { nodeArchiveCodec } from './codec/node-archive-codec.ts';
import { REPOSITORY_KEY } from './repository-layout.ts';
import { Repository } from './repository.ts';
import { Session } from './sessions/session.ts';
import { InMemoryObjectStore, InMemoryObjects } from './testing/in-memory-object-store.ts';
import { sampleManifest } from './testing/sample-manifest.ts';
import { writeArchive } from './testing/write-archive.ts';

const GONE = { reason: 'REPOSITORY_MISMATCH', message: expect.stringMatching(/^memory:\/\/: there is no repository any more, and ours was in use \(THE_SETTING\): is its storage mounted\?$/) };

describe('a repository whose storage is not there any more, so that the place looks empty', () => {
  let objects: InMemoryObjects;
  let repository: Repository;
  let chunk: { readonly id: string; readonly storedBytes: number };
  beforeEach(async () => {
    objects = new InMemoryObjects();
    repository = await Repository.open({ store: new InMemoryObjectStore(objects), codec: nodeArchiveCodec, setting: 'THE_SETTING' }, { newId: 'ours', nowMs: 0 });
    const manifest = await writeArchive(repository, { id: 'full', keyspaces: [{ name: 'orders', partitionCount: 1, entries: [{ key: 'k', value: Buffer.from('v') }] }], atMs: 1000 });
    chunk = manifest.keyspaces[0]!.ranges[0]!.chunks[0]!;
  });

  it.each<[string, () => Promise<unknown>]>([
    ['has no archives to list', () => repository.listManifests()],
    ['does not say that an archive is missing', () => repository.hasArchive('full')],
    ['nor that its manifest is', () => repository.readManifest('full')],
    ['nor that a chunk is', () => repository.readChunk(chunk)],
  ])('%s', async (_, ask) => {
    await ask();
    objects.objects.clear();
    await expect(ask()).rejects.toMatchObject(GONE);
  });

  it('takes no archive whose chunks are elsewhere', async () => {
    const session = await Session.begin({ repository, id: { clusterId: 'c1', fencingToken: 1, number: 2 }, isHeld: () => true, purpose: 'WRITE', archive: 'next', uses: [], owner: 'a spec', startedAtMs: 0 });
    objects.objects.clear();
    await expect(session.publish(sampleManifest('next', session.id, []))).rejects.toMatchObject(GONE);
    expect([...objects.objects.keys()]).toEqual([]);
  });

  it('tells another one that is there by its id', async () => {
    objects.objects.delete(REPOSITORY_KEY);
    await Repository.open({ store: new InMemoryObjectStore(objects), codec: nodeArchiveCodec }, { newId: 'theirs', nowMs: 0 });
    await expect(repository.confirm()).rejects.toMatchObject({ reason: 'REPOSITORY_MISMATCH', message: expect.stringContaining('another repository, theirs, is there now'), metadata: { repository: 'theirs', known: 'ours' } });
    expect(await Repository.identify(repository.store)).toBe('theirs');
  });
});
