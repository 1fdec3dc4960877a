import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { identityOf, isRunning, residentBytes, signalProcess } from './process-identity.ts';

describe('process identity', () => {
  it('knows a process while it runs and never after', async () => {
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)']);
    const identity = identityOf(child.pid ?? 0);
    expect(identity).toMatchObject({ pid: child.pid });
    if (identity === undefined) throw new Error('it runs');
    expect(isRunning(identity)).toBe(true);
    expect(signalProcess({ ...identity, startedAt: 'another start' }, 'SIGKILL')).toBe(false);
    expect(isRunning(identity)).toBe(true);
    const exited = once(child, 'exit');
    expect(signalProcess(identity, 'SIGKILL')).toBe(true);
    await exited;
    expect(isRunning(identity)).toBe(false);
    expect(signalProcess(identity, 'SIGKILL')).toBe(false);
  });

  it('tells the memory of a process, and nothing of one that is not there', () => {
    // Only Linux tells it; elsewhere it is undefined.
    expect(residentBytes(process.pid) ?? Infinity).toBeGreaterThan(1_000_000);
    expect(residentBytes(2 ** 22 + 1)).toBeUndefined();
    expect(identityOf(2 ** 22 + 1)).toBeUndefined();
  });
});
