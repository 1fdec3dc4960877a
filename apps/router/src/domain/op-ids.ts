import type { OpId } from '@atoll/contracts/atoll/v1/cache';

/** Op ids for writes of clients that give none (R21): a random identity per router process, and a counter. */
export class OpIds {
  readonly #clientId: Buffer;
  #counter = 0;

  /** `clientId` is 16 random bytes. */
  constructor(clientId: Buffer) {
    this.#clientId = clientId;
  }

  next(): OpId {
    this.#counter += 1;
    return { clientId: this.#clientId, counter: this.#counter, repeatAgeMs: 0 };
  }
}
