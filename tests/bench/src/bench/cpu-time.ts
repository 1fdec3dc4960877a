import { readFileSync } from 'node:fs';

/** Linux counts in 1/100 s, whatever its own timer does (proc(5), sysconf(_SC_CLK_TCK)). */
const TICK_MS = 10;
/** utime and stime of /proc/PID/stat, counted behind the name, which may hold spaces. */
const USER_FIELD = 11;
const SYSTEM_FIELD = 12;

/** CPU time that the processes have used so far, in milliseconds; NaN where the system has no /proc. */
export function cpuTimeMs(pids: readonly number[]): number {
  let ticks = 0;
  for (const pid of pids) {
    const fields = readStat(pid)?.split(' ');
    if (fields === undefined) return NaN;
    ticks += Number(fields[USER_FIELD]) + Number(fields[SYSTEM_FIELD]);
  }
  return ticks * TICK_MS;
}

function readStat(pid: number): string | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return text.slice(text.lastIndexOf(')') + 2);
  } catch {
    return undefined;
  }
}
