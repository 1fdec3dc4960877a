/**
 * What the supervisor does when a process ends that nobody asked to end. `no`: shows it and leaves it, until
 * `atoll dev start`. `on-failure`: starts it again, later each time (1 s doubling to 30 s).
 */
export const RESTART_POLICIES = ['no', 'on-failure'] as const;
export type RestartPolicy = (typeof RESTART_POLICIES)[number];

const RESTART_DELAY_MS_MIN = 1_000;
const RESTART_DELAY_MS_MAX = 30_000;

/** Wait before the `attempt`-th (from 1) start in a row. */
export function restartDelayMs(attempt: number): number {
  return Math.min(RESTART_DELAY_MS_MIN * 2 ** (attempt - 1), RESTART_DELAY_MS_MAX);
}
