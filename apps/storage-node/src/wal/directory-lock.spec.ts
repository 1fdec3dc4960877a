import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { lockDirectory, processStart } from './directory-lock.ts';
import { WalFixture } from './testing/wal-fixture.ts';

const fixture = new WalFixture();
afterEach(() => fixture.cleanUp());

describe('lockDirectory', () => {
  it('lets one opener in, and the next one after it has gone', async () => {
    const directory = await fixture.directory();
    const lock = await lockDirectory(directory);
    await expect(lockDirectory(directory)).rejects.toMatchObject({ kind: 'LOCKED', message: expect.stringContaining(`process ${process.pid}`) });
    await lock.release();
    await (await lockDirectory(directory)).release();
    expect(await readdir(directory)).toEqual(['LOCK.2']);
  });

  it('knows a live process from a dead one', async () => {
    const directory = await fixture.directory();
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)']);
    const pid = child.pid ?? 0;
    await once(child, 'spawn');
    await writeFile(join(directory, 'LOCK.7'), JSON.stringify({ pid, startedAt: await processStart(pid) }));
    await expect(lockDirectory(directory)).rejects.toMatchObject({ kind: 'LOCKED' });
    child.kill('SIGKILL');
    await once(child, 'exit');
    await (await lockDirectory(directory)).release();
  });

  it.each([
    { what: 'of an earlier process with our id', text: JSON.stringify({ pid: process.pid, startedAt: 'another boot 1' }) },
    { what: 'with no holder in it', text: '' },
  ])('takes over a lock $what', async ({ text }) => {
    const directory = await fixture.directory();
    await writeFile(join(directory, 'LOCK.3'), text);
    await lockDirectory(directory);
    expect(await readdir(directory)).toEqual(['LOCK.4']);
  });

  it('gives a stale lock to exactly one of many openers', async () => {
    const directory = await fixture.directory();
    await writeFile(join(directory, 'LOCK.1'), JSON.stringify({ pid: process.pid, startedAt: 'another boot 1' }));
    const outcomes = await Promise.allSettled(Array.from({ length: 8 }, () => lockDirectory(directory)));
    expect(outcomes.filter((outcome) => outcome.status === 'fulfilled')).toHaveLength(1);
    expect(await readdir(directory)).toEqual(['LOCK.2']);
  });

  it('guards a log', async () => {
    const directory = await fixture.directory();
    const { wal } = await fixture.open(directory);
    await expect(fixture.open(directory)).rejects.toMatchObject({ kind: 'LOCKED' });
    await wal.close({ clean: true });
    await fixture.open(directory);
  });
});
