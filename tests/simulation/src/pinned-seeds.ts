/**
 * For each mutant the seed of a world that catches it, and in which everything holds without it. A change of the world or
 * of the core draws other worlds: `npm run sim -- --pins` then finds other seeds and writes this file.
 */
export const PINNED_SEEDS: Readonly<Record<string, number>> = {
  'no-lease-check': 19,
  'one-set-for-commits': 4,
  'one-set-for-leases': 8,
  'promise-forgotten-at-restart': 10,
  'epoch-resumed-after-restart': 4,
  'lost-swap-settled-by-a-read': 7,
  'plain-failure-after-append': 9,
  'commit-before-all-acknowledged': 33,
  'acknowledged-before-the-flush': 10,
  'expiry-by-local-clock': 5,
  'follower-evicts': 4,
  'no-tombstone-during-install': 14,
  'log-judged-by-length': 8,
  'kip-279-step-dropped': 92,
  'old-epoch-accepted': 12,
  'empty-replica-in-sync': 18,
  'clock-jumps-ignored': 2,
  'old-coordinator-heard': 24,
  'op-ids-forgotten': 2,
  'fencing-tokens-ignored': 1,
};
