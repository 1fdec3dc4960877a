import type { HostedReplica } from './hosted-replica.ts';

/** Offices that wait until a promise has run out (R27): taken at that moment, not only at the next heartbeat. */
export class DueOffices {
  readonly #waiting = new Set<HostedReplica>();
  readonly #onDue: (hosted: HostedReplica) => void;
  #timer: NodeJS.Timeout | undefined;
  /** When the timer runs. */
  #nextMs = Number.POSITIVE_INFINITY;
  #isClosed = false;

  /** `onDue` takes the office; called when `officeDueMs` has come. */
  constructor(options: { onDue: (hosted: HostedReplica) => void }) {
    this.#onDue = options.onDue;
  }

  add(hosted: HostedReplica): void {
    this.#waiting.add(hosted);
    if ((hosted.replica.officeDueMs ?? 0) < this.#nextMs) this.#arm();
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  #arm(): void {
    clearTimeout(this.#timer);
    this.#nextMs = Number.POSITIVE_INFINITY;
    if (this.#isClosed || this.#waiting.size === 0) return;
    for (const { replica } of this.#waiting) this.#nextMs = Math.min(this.#nextMs, replica.officeDueMs ?? 0);
    // Timers run a little early at times: then this one is set again.
    this.#timer = setTimeout(() => this.#run(), Math.max(0, Math.ceil(this.#nextMs - performance.now())));
  }

  #run(): void {
    const nowMs = performance.now();
    for (const hosted of this.#waiting) {
      const dueMs = hosted.replica.officeDueMs;
      if (dueMs !== undefined && dueMs > nowMs) continue;
      this.#waiting.delete(hosted);
      if (dueMs !== undefined && !hosted.isDropped) this.#onDue(hosted);
    }
    this.#arm();
  }
}
