import { spawn } from 'node:child_process';
import { constants } from 'node:os';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/** Exit code of a program that had done its work and did not end; the number that timeout(1) uses. */
export const LINGERED = 124;

const DONE_POLL_MS = 1_000;

/**
 * Runs a program in the terminal of this one, passes signals on, and resolves with the exit code that this
 * one should have: the child's, or 128 + the number of the signal that ended it. With `isDone` and
 * `lingerMs`: a child that is done and still runs so long after is killed, and the code is LINGERED.
 */
export function runChild(file, args, { isDone, lingerMs, ...options } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { stdio: 'inherit', ...options });
    const pass = (signal) => child.kill(signal);
    for (const signal of SIGNALS) process.on(signal, pass);
    let doneAtMs;
    let lingered = false;
    const watch = isDone && setInterval(() => {
      if (doneAtMs === undefined && isDone()) doneAtMs = Date.now();
      lingered = doneAtMs !== undefined && Date.now() - doneAtMs > lingerMs;
      if (lingered) child.kill('SIGKILL');
    }, Math.min(DONE_POLL_MS, lingerMs));
    const release = () => {
      clearInterval(watch);
      for (const signal of SIGNALS) process.off(signal, pass);
    };
    child.once('error', (error) => {
      release();
      reject(error);
    });
    child.once('close', (code, signal) => {
      release();
      resolve(lingered ? LINGERED : (code ?? 128 + (constants.signals[signal] ?? 0)));
    });
  });
}
