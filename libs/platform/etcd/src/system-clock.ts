import type { Clock } from '@atoll/core-runtime';

/** The clocks of this process. `monotonicMs` is CLOCK_MONOTONIC: it stands still while the machine sleeps (R17). */
export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
};
