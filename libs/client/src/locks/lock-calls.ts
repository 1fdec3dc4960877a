import { randomInt } from 'node:crypto';
import { LocksClient as LocksStub } from '@atoll/contracts/atoll/v1/locks';
import { AtollError, invalidArgument, isAtollError } from '@atoll/core-errors';
import { createChannelOptions } from '@atoll/platform-grpc';
import { credentials } from '@grpc/grpc-js';

/** Failures after which another coordinator may be able to: every one serves locks. */
const ELSEWHERE: ReadonlySet<string> = new Set(['PEER_UNAVAILABLE', 'SHUTTING_DOWN', 'METADATA_UNAVAILABLE', 'WRITE_IN_DOUBT']);
const PAUSE_MS = 100;

/** Calls to whichever coordinator answers. All calls of Locks may be repeated: they name their request. */
export class LockCalls {
  readonly #stubs: readonly LocksStub[];
  #index: number;
  #isClosed = false;

  constructor(coordinators: readonly string[]) {
    if (coordinators.length === 0) throw invalidArgument('coordinators', 'must name at least one host:port');
    this.#stubs = coordinators.map((address) => new LocksStub(address, credentials.createInsecure(), createChannelOptions()));
    this.#index = randomInt(this.#stubs.length);
  }

  /** Tries one coordinator after the other until the deadline. */
  async call<T>(
    deadlineMs: number,
    signal: AbortSignal | undefined,
    send: (stub: LocksStub, settings: { deadlineMs: number; signal: AbortSignal | undefined }) => Promise<T>,
  ): Promise<T> {
    const endsAtMs = performance.now() + deadlineMs;
    for (let tries = 1; ; tries += 1) {
      if (this.#isClosed) throw new AtollError('CANCELLED', 'the client was closed');
      try {
        return await send(this.#stubs[this.#index]!, { deadlineMs: endsAtMs - performance.now(), signal });
      } catch (error) {
        const leftMs = endsAtMs - performance.now();
        if (!isAtollError(error) || !ELSEWHERE.has(error.reason) || leftMs <= PAUSE_MS || signal?.aborted === true) throw error;
        this.#index = (this.#index + 1) % this.#stubs.length;
        if (tries % this.#stubs.length === 0) await new Promise((resolve) => setTimeout(resolve, PAUSE_MS * (0.5 + Math.random())));
      }
    }
  }

  close(): void {
    this.#isClosed = true;
    for (const stub of this.#stubs) stub.close();
  }
}
