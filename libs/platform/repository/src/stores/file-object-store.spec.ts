import { mkdir, mkdtemp, readFile, readdir, rename, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InMemoryObjectStore, InMemoryObjects } from '../testing/in-memory-object-store.ts';
import { listAll, objectStoreContract } from '../testing/object-store-contract.ts';
import { openFileObjectStore, type FileOperations } from './file-object-store.ts';

const made: string[] = [];
async function directory(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'atoll-objects-'));
  made.push(path);
  return path;
}
afterAll(() => Promise.all(made.map((path) => rm(path, { recursive: true, force: true }))));

objectStoreContract('InMemoryObjectStore', async () => {
  const objects = new InMemoryObjects();
  return { store: new InMemoryObjectStore(objects), other: new InMemoryObjectStore(objects), close: async () => undefined };
});

objectStoreContract('FileObjectStore', async () => {
  const path = await directory();
  return { store: await openFileObjectStore(path), other: await openFileObjectStore(path), close: async () => undefined };
});

describe('FileObjectStore', () => {
  const failing = (operation: Parameters<FileOperations['before']>[0], code: string): FileOperations => ({
    before: (done) => {
      if (done === operation) throw Object.assign(new Error(`${code} on purpose`), { code });
    },
  });

  it.each([
    ['write', 'ENOSPC', 'REPOSITORY_FULL'],
    ['sync', 'ENOSPC', 'REPOSITORY_FULL'],
    ['write', 'EDQUOT', 'REPOSITORY_FULL'],
    ['write', 'EFBIG', 'REPOSITORY_FULL'],
    ['rename', 'EROFS', 'REPOSITORY_READ_ONLY'],
    ['write', 'EACCES', 'REPOSITORY_READ_ONLY'],
    ['sync', 'EIO', 'REPOSITORY_UNAVAILABLE'],
  ] as const)('a %s that fails with %s is %s, and leaves the object and nothing else', async (operation, code, reason) => {
    const path = await directory();
    const whole = await openFileObjectStore(path);
    await whole.put('k', Buffer.from('before'));
    const store = await openFileObjectStore(path, failing(operation, code));
    await expect(store.put('k', Buffer.from('after'))).rejects.toMatchObject({ reason, metadata: { code } });
    expect((await whole.get('k'))?.toString()).toBe('before');
    expect(await readdir(join(path, '.writing'))).toEqual([]);
    expect((await listAll(whole)).map(({ key }) => key)).toEqual(['k']);
  });

  it('that is full says how much was wanted and how much is free', async () => {
    const store = await openFileObjectStore(await directory(), failing('write', 'ENOSPC'));
    await expect(store.put('k', Buffer.alloc(4321))).rejects.toMatchObject({ reason: 'REPOSITORY_FULL', message: expect.stringMatching(/^file:\S+: k: no space is left \(ENOSPC\) for 4321 bytes; \d+ of \d+ bytes are free$/) });
  });

  it('what cannot be read is unavailable, and not absent', async () => {
    const path = await directory();
    await (await openFileObjectStore(path)).put('k', Buffer.from('v'));
    const store = await openFileObjectStore(path, failing('read', 'EACCES'));
    await expect(store.get('k')).rejects.toMatchObject({ reason: 'REPOSITORY_UNAVAILABLE' });
  });

  it('a directory that was taken away has not lost its objects: it is unavailable, and so is a file in its place', async () => {
    const path = await directory();
    const store = await openFileObjectStore(path);
    await store.put('k', Buffer.from('v'));
    await rename(path, `${path}-away`);
    await expect(listAll(store)).rejects.toMatchObject({ reason: 'REPOSITORY_UNAVAILABLE' });
    await writeFile(path, '');
    await expect(listAll(store)).rejects.toMatchObject({ reason: 'REPOSITORY_UNAVAILABLE' });
    await rm(path);
    await rename(`${path}-away`, path);
    expect((await listAll(store)).map(({ key }) => key)).toEqual(['k']);
  });

  it('flushes the file, then its name, then every directory that it made', async () => {
    const path = await directory();
    const done: string[] = [];
    const store = await openFileObjectStore(path, { before: (operation, at) => void done.push(`${operation} ${at.slice(path.length + 1).replace(/[0-9a-f]{24}/, 'T')}`) });
    done.length = 0;
    await store.put('a/b/k', Buffer.from('v'));
    expect(done).toEqual(['write .writing/T', 'sync .writing/T', 'sync-directory a', 'sync-directory ', 'rename a/b/k', 'sync-directory a/b']);
    done.length = 0;
    await store.create('a/b/l', Buffer.from('v'));
    expect(done).toEqual(['write .writing/T', 'sync .writing/T', 'link a/b/l', 'sync-directory a/b']);
  });

  it('removes what a writer that died left behind, once it is a day old', async () => {
    const path = await directory();
    await mkdir(join(path, '.writing'));
    for (const name of ['old', 'new']) await writeFile(join(path, '.writing', name), 'x');
    const before = new Date(Date.now() - 25 * 3600 * 1000);
    await utimes(join(path, '.writing', 'old'), before, before);
    await openFileObjectStore(path);
    expect(await readdir(join(path, '.writing'))).toEqual(['new']);
  });

  it('removes directories of archives with their last object, also while another process puts one there', async () => {
    const path = await directory();
    const [store, other] = [await openFileObjectStore(path), await openFileObjectStore(path)];
    for (let round = 0; round < 50; round += 1) {
      await Promise.all([store.put('archives/a/1', Buffer.from('v')), other.create('archives/a/2', Buffer.from('v'))]);
      expect((await listAll(store)).map(({ key }) => key)).toEqual(['archives/a/1', 'archives/a/2']);
      await store.delete('archives/a/1');
      await Promise.all([store.delete('archives/a/2'), other.put('archives/a/3', Buffer.from('v'))]);
      expect((await other.get('archives/a/3'))?.toString()).toBe('v');
      await other.delete('archives/a/3');
    }
    await store.put('chunks/aa/1', Buffer.from('v'));
    await store.delete('chunks/aa/1');
    expect([await readdir(join(path, 'archives')), await readdir(join(path, 'chunks'))]).toEqual([[], ['aa']]);
  });

  it('tells where a file stands in the place of its directory', async () => {
    const path = join(await directory(), 'file');
    await writeFile(path, 'x');
    await expect(openFileObjectStore(path)).rejects.toMatchObject({ reason: 'REPOSITORY_UNAVAILABLE' });
    expect((await readFile(path)).toString()).toBe('x');
  });
});
