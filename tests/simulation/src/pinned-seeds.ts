/**
 * For each mutant the seed of a world that catches it, and in which everything holds without it. A change of the world or
 * of the core draws other worlds: `npm run sim -- --pins` then finds other seeds and writes this file.
 */
export const PINNED_SEEDS: Readonly<Record<string, number>> = {
  'no-lease-check': 40,
  'one-set-for-commits': 1,
  'one-set-for-leases': 10,
  'promise-forgotten-at-restart': 51,
  'epoch-resumed-after-restart': 8,
  'lost-swap-settled-by-a-read': 6,
  'plain-failure-after-append': 9,
  'commit-before-all-acknowledged': 33,
  'acknowledged-before-the-flush': 10,
  'expiry-by-local-clock': 5,
  'follower-evicts': 4,
  'no-tombstone-during-install': 10,
  'log-judged-by-length': 8,
  'kip-279-step-dropped': 98,
  'old-epoch-accepted': 16,
  'empty-replica-in-sync': 22,
  'clock-jumps-ignored': 2,
  'old-coordinator-heard': 7,
  'op-ids-forgotten': 4,
  'fencing-tokens-ignored': 1,
};
