import { mergeSessions } from '@atoll/platform-wire';

/**
 * What one reader or writer has seen. Calls that share a session read their own writes and never go back in time,
 * at every consistency. `token` may travel to another process and go on there.
 */
export class Session {
  #token: Buffer;

  constructor(token: Uint8Array = new Uint8Array()) {
    this.#token = Buffer.from(token);
  }

  /** Opaque; empty before the first answer. At most about 7 KB. */
  get token(): Buffer {
    return this.#token;
  }

  /** Takes in the token of an answer. */
  observe(token: Buffer): void {
    if (token.length > 0) this.#token = Buffer.from(mergeSessions(this.#token, token));
  }
}
