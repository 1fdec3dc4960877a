/**
 * For each mutant the seed of a world that catches it, and in which everything holds without it. A change of the world or
 * of the core draws other worlds: `npm run sim -- --pins` then finds other seeds and writes this file.
 */
export const PINNED_SEEDS: Readonly<Record<string, number>> = {
  'no-lease-check': 40,
  'one-set-for-commits': 11,
  'one-set-for-leases': 38,
  'promise-forgotten-at-restart': 117,
  'epoch-resumed-after-restart': 7,
  'lost-swap-settled-by-a-read': 3,
  'plain-failure-after-append': 9,
  'commit-before-all-acknowledged': 1,
  'acknowledged-before-the-flush': 10,
  'expiry-by-local-clock': 1,
  'follower-evicts': 4,
  'no-tombstone-during-install': 22,
  'log-judged-by-length': 1,
  'kip-279-step-dropped': 44,
  'old-epoch-accepted': 18,
  'empty-replica-in-sync': 5,
  'clock-jumps-ignored': 2,
  'old-coordinator-heard': 4,
  'op-ids-forgotten': 3,
  'source-dropped-before-the-target-is-in-sync': 1,
  'source-dropped-before-the-proof': 1,
  'operator-revision-ignored': 5,
  'lost-job-read-as-not-written': 139,
  'rollback-drops-the-source': 5,
  'takeover-begins-anew': 1,
  'placement-forgotten-after-failover': 2,
  'fencing-tokens-ignored': 1,
};
