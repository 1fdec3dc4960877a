/**
 * For each mutant the seed of a world that catches it, and in which everything holds without it. A change of the world or
 * of the core draws other worlds: `npm run sim -- --pins` then finds other seeds and writes this file.
 */
export const PINNED_SEEDS: Readonly<Record<string, number>> = {
  'no-lease-check': 5,
  'one-set-for-leases': 794,
  'one-set-for-commits': 91,
  'log-judged-by-length': 1,
  'commit-before-all-acknowledged': 33,
  'acknowledged-before-the-flush': 10,
  'epoch-resumed-after-restart': 104,
  'old-coordinator-heard': 9,
  'clock-jumps-ignored': 2,
  'no-tombstone-during-install': 516,
};
