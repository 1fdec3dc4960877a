import { readFileSync, readdirSync } from 'node:fs';

/**
 * CPU time that the processes have used so far, in milliseconds; NaN where the system does not tell. Linux: nanoseconds of every thread
 * (/proc/PID/task/TID/schedstat, its first number), since the ticks of /proc/PID/stat, 10 ms, are too coarse for short turns. What a
 * thread used that has ended is missing: those of Node stay.
 */
export function cpuTimeMs(pids: readonly number[]): number {
  let ns = 0;
  try {
    for (const pid of pids) for (const thread of readdirSync(`/proc/${pid}/task`)) ns += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]);
  } catch {
    return NaN;
  }
  return ns / 1e6;
}
