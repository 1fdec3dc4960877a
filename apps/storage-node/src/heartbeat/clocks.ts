import { uptime } from 'node:os';
import type { ClockReading } from '@atoll/core-replication';

/** A look at the three clocks of this machine (R17). `os.uptime` goes on in suspend, `performance.now` does not. */
export function readClocks(): ClockReading {
  const monotonicMs = performance.now();
  const uptimeMs = uptime() * 1000;
  const wallMs = Date.now();
  return { monotonicMs, uptimeMs, wallMs, monotonicAfterMs: performance.now() };
}
