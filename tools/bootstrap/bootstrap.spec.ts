import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isInstalled, isNewEnough } from './install.mjs';
import { LINGERED, runChild } from './run-child.mjs';
import { addCounts, readCounts, sumLine } from './test-counts.mjs';

describe('bootstrap', () => {
  let dir = '';
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'atoll-bootstrap-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const lock = JSON.stringify({
    packages: {
      '': { name: 'top' },
      'apps/x': { version: '1.0.0' },
      'node_modules/@x/linked': { resolved: 'apps/x', link: true },
      'node_modules/a': { version: '1.0.0' },
      'node_modules/only-elsewhere': { version: '2.0.0', optional: true },
    },
  });

  it.each([
    ['all there', { 'node_modules/a': { version: '1.0.0' } }, true],
    ['another version', { 'node_modules/a': { version: '1.0.1' } }, false],
    ['one missing', {}, false],
    ['an optional one in another version', { 'node_modules/a': { version: '1.0.0' }, 'node_modules/only-elsewhere': { version: '1.0.0' } }, false],
  ])('knows whether the lock is installed: %s', (_case, packages, expected) => {
    mkdirSync(join(dir, 'node_modules'));
    writeFileSync(join(dir, 'node_modules', '.package-lock.json'), JSON.stringify({ packages }));
    expect(isInstalled(dir, Buffer.from(lock))).toBe(expected);
  });

  it('knows that nothing is installed', () => {
    expect(isInstalled(dir, Buffer.from(lock))).toBe(false);
  });

  it.each([
    [undefined, false],
    ['18.20.0', false],
    ['22.17.1', false],
    ['22.18.0', true],
    ['24.0.0', true],
  ])('Node %s runs TypeScript: %s', (version, expected) => {
    expect(isNewEnough(version)).toBe(expected);
  });

  it.each([
    ['green', { numPassedTests: 5, numFailedTests: 0, numRuntimeErrorTestSuites: 0 }, 0, '5 passed, 0 failed'],
    ['red', { numPassedTests: 5, numFailedTests: 2, numRuntimeErrorTestSuites: 0 }, 1, '5 passed, 2 failed'],
    ['a file that cannot be loaded', { numPassedTests: 5, numFailedTests: 0, numRuntimeErrorTestSuites: 1 }, 1, '5 passed, 1 failed'],
    ['red for no told reason', { numPassedTests: 5, numFailedTests: 0, numRuntimeErrorTestSuites: 0 }, 1, '5 passed, 1 failed'],
    ['no result at all', undefined, 1, '0 passed, 1 failed'],
  ])('counts a run that was %s', (_case, result, exitCode, expected) => {
    const file = join(dir, 'result.json');
    if (result !== undefined) writeFileSync(file, JSON.stringify(result));
    expect(sumLine(readCounts(file, exitCode))).toBe(expected);
  });

  it('adds counts', () => {
    expect(addCounts({ passed: 1, failed: 2 }, { passed: 3, failed: 4 })).toEqual({ passed: 4, failed: 6 });
  });

  it('passes signals on to the child and ends with its code', async () => {
    const child = join(dir, 'child.mjs');
    writeFileSync(child, `process.on('SIGTERM', () => process.exit(7)); setInterval(() => {}, 1000); console.log('up');`);
    const parent = join(dir, 'parent.mjs');
    const runChildUrl = new URL('run-child.mjs', import.meta.url).href;
    writeFileSync(parent, `import { runChild } from '${runChildUrl}';\nprocess.exitCode = await runChild(process.execPath, ['${child}']);`);
    const running = spawn(process.execPath, [parent], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(running.stdout, 'data');
    running.kill('SIGTERM');
    expect(await once(running, 'close')).toEqual([7, null]);
  });

  it('kills a child that is done and does not end', async () => {
    const child = join(dir, 'child.mjs');
    const done = join(dir, 'done');
    writeFileSync(child, `import { writeFileSync } from 'node:fs'; writeFileSync('${done}', ''); setInterval(() => {}, 1000);`);
    expect(await runChild(process.execPath, [child], { isDone: () => existsSync(done), lingerMs: 50 })).toBe(LINGERED);
    writeFileSync(child, `process.exit(3);`);
    expect(await runChild(process.execPath, [child], { isDone: () => true, lingerMs: 10_000 })).toBe(3);
  });

  it('is understood by old Nodes: no syntax of TypeScript or of later years', () => {
    const here = fileURLToPath(new URL('.', import.meta.url));
    for (const file of ['install.mjs', 'run-child.mjs', 'test-counts.mjs', '../start.mjs', '../test.mjs', '../install.mjs']) {
      expect(() => execFileSync(process.execPath, ['--check', join(here, file)])).not.toThrow();
    }
  });
});
