import { SeededRandom, randomBelow } from '@atoll/core-runtime';

/** All chance of one world, from one seed. */
export class Dice {
  readonly random: SeededRandom;

  constructor(seed: number) {
    this.random = new SeededRandom(seed);
  }

  chance(probability: number): boolean {
    return this.random.nextUint32() < probability * 2 ** 32;
  }

  /** In [0, bound). */
  below(bound: number): number {
    return randomBelow(this.random, bound);
  }

  /** In [low, high]. */
  between(low: number, high: number): number {
    return low + randomBelow(this.random, high - low + 1);
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)]!;
  }
}
