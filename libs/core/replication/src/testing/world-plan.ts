import { KIB, MIB } from '@atoll/core-runtime';
import type { Dice } from './dice.ts';

/** What one world is like; drawn from its seed. Sizes are small so that every bound is met within a second or two. */
export interface WorldPlan {
  readonly nodeCount: number;
  readonly isSync: boolean;
  readonly minInSync: number;
  readonly eviction: 'LRU' | 'NONE';
  readonly memoryBytes: number;
  readonly logBytesMax: number;
  readonly keyCount: number;
  readonly valueBytesMax: number;
  /** One in so many values is above what travels in one piece (R24); 0 for none. */
  readonly oneLargeIn: number;
  readonly ttlMsMax: number;
  readonly writeGapMsMax: number;
  readonly delayMsMax: number;
  readonly faultsMs: number;
  /** Mean pause between two faults. */
  readonly faultGapMs: number;
  readonly wallSkewMs: number;
}

export function drawPlan(dice: Dice): WorldPlan {
  const hasLarge = dice.chance(0.06);
  const nodeCount = dice.pick([2, 3, 3, 3, 4]);
  return {
    nodeCount,
    isSync: dice.chance(0.4),
    minInSync: nodeCount > 2 && dice.chance(0.4) ? 2 : 1,
    eviction: dice.chance(0.85) ? 'LRU' : 'NONE',
    memoryBytes: hasLarge ? 16 * MIB : dice.pick([6 * KIB, 24 * KIB, 256 * KIB]),
    logBytesMax: hasLarge ? 8 * MIB : dice.pick([4 * KIB, 16 * KIB, 64 * KIB]),
    keyCount: dice.pick([12, 60, 200]),
    valueBytesMax: dice.pick([16, 120, 400]),
    oneLargeIn: hasLarge ? 40 : 0,
    ttlMsMax: dice.pick([40, 200, 1000]),
    writeGapMsMax: dice.pick([2, 6, 20]),
    delayMsMax: dice.pick([2, 8, 25]),
    faultsMs: dice.between(600, 1400),
    faultGapMs: dice.pick([40, 90, 200]),
    wallSkewMs: dice.pick([0, 20, 3000]),
  };
}
