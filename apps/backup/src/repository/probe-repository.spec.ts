import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { probeRepository } from './probe-repository.ts';
import { SharedProbe } from './shared-probe.ts';

let base: string;
beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'atoll-backup-'));
});
afterEach(() => rm(base, { recursive: true, force: true }));

describe('a probe of the repository', () => {
  it('makes the directory, leaves nothing behind, and tells the free bytes', async () => {
    const directory = join(base, 'deep', 'repository');
    const probe = await probeRepository(directory, 10_000);
    expect(probe).toMatchObject({ isWritable: true, problem: '' });
    expect(probe.bytesFree).toBeGreaterThan(0);
    expect(await readdir(directory)).toEqual([]);
  });

  it('says what is wrong where a file stands in the place of the directory', async () => {
    const file = join(base, 'file');
    await writeFile(file, '');
    const probe = await probeRepository(file, 10_000);
    expect(probe).toMatchObject({ isWritable: false, bytesFree: 0 });
    expect(probe.problem).toMatch(/EEXIST|ENOTDIR/);
  });

  it('is shared by all that ask while it runs', async () => {
    const shared = new SharedProbe({ location: { kind: 'directory', path: base }, timeoutMs: 10_000 });
    const [first, second] = await Promise.all([shared.run(), shared.run()]);
    expect(second).toBe(first);
    expect(await shared.run()).not.toBe(first);
  });
});
