/** Source of randomness. Shells hand in a seeded one, so that the simulator can replay a run. */
export interface Random {
  /** Uniform in [0, 2^32). */
  nextUint32(): number;
}

/**
 * Mulberry32 (Tommy Ettinger, public domain): 32 bits of state, full period 2^32, passes gjrand.
 * Not for secrets.
 */
export class SeededRandom implements Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  nextUint32(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  }
}

/** Uniform integer in [0, bound); `bound` is 1 to 2^32. */
export function randomBelow(random: Random, bound: number): number {
  return Math.floor((random.nextUint32() / 2 ** 32) * bound);
}

/** `bytes` random bytes as lower-case hex. */
export function randomHex(random: Random, bytes: number): string {
  let text = '';
  while (text.length < bytes * 2) text += random.nextUint32().toString(16).padStart(8, '0');
  return text.slice(0, bytes * 2);
}
