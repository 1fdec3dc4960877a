import type { WorldPlan } from './world-plan.ts';

export interface PinnedSeed {
  readonly seed: number;
  readonly plan?: Partial<WorldPlan>;
  /** What the checker says. */
  readonly breaks: RegExp;
}

/** Slow links, quick writes and many faults: a change in doubt is then likely to matter. */
const STORMY: Partial<WorldPlan> = { delayMsMax: 25, writeGapMsMax: 2, faultGapMs: 30, minInSync: 1, faultsMs: 1500, keyCount: 60 };

/**
 * For each mutant the seed of a world that catches it. A change of the world or of the replicas draws other worlds; a
 * mutant that is not caught any more then needs another seed, found by trying them from 1 on.
 */
export const PINNED_SEEDS: Readonly<Record<string, PinnedSeed>> = {
  'a required member is not waited for (I2)': { seed: 2, breaks: /\(I2\)/ },
  'acknowledgements before the flush (R25)': { seed: 2, breaks: /\(I2\)/ },
  'the step of KIP-279 dropped: a log is judged by its length alone (R28)': { seed: 19, breaks: /two different entries .* \(I2\)/ },
  'no tombstones during an install (R33)': { seed: 54, breaks: /\(I6, I7\)|\(I6\)/ },
  'a follower evicts by itself (R22)': { seed: 12, breaks: /\(I6\)/ },
  'expiry by the local clock (R23)': { seed: 1, breaks: /\(I6\)/ },
  'a lost compare-and-swap settled by a read (R7)': { seed: 133, plan: STORMY, breaks: /\(I2\)/ },
  'an empty replica keeps its id, and counts (R1)': { seed: 49, breaks: /\(I2\)/ },
  'a leader resumes its epoch after a restart (R2)': { seed: 153, breaks: /two different entries .* \(I2\)/ },
};
