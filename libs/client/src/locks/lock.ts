import type { Fence, LockMode, LockScope } from '@atoll/contracts/atoll/v1/locks';

export interface LockHooks {
  /** One Renew; resolves to whether the request still stands, rejects when nothing was heard. */
  renew(): Promise<boolean>;
  release(): Promise<void>;
  nowMs(): number;
}

/**
 * A lock that this client holds and renews every third of its ttl. It counts the ttl itself, from the sending of the
 * last Renew that was answered: the coordinator's side began to count later, so this side always stops first (R11).
 * A process that was paused finds out when it asks `isHeld`; what it sends under `fence` meanwhile is refused.
 */
export class Lock implements AsyncDisposable {
  readonly requestId: string;
  readonly fencingToken: number;
  readonly ttlMs: number;
  /** To be given to the operations that the lock guards: refused once a later holder was seen. */
  readonly fence: Fence;
  readonly #hooks: LockHooks;
  readonly #lost = new AbortController();
  #heldUntilMs: number;
  #isGivenUp = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: { requestId: string; fencingToken: number; ttlMs: number; scope: LockScope; mode: LockMode; renewedAtMs: number; hooks: LockHooks }) {
    const { scope, mode } = options;
    this.requestId = options.requestId;
    this.fencingToken = options.fencingToken;
    this.ttlMs = options.ttlMs;
    this.fence = { name: scope.name, rangeStart: scope.rangeStart, rangeEnd: scope.rangeEnd, fencingToken: options.fencingToken, mode };
    this.#hooks = options.hooks;
    this.#heldUntilMs = options.renewedAtMs + options.ttlMs;
    this.#renewIn(options.ttlMs / 3 - (options.hooks.nowMs() - options.renewedAtMs));
  }

  /** Whether it is certainly held at this moment. */
  get isHeld(): boolean {
    return !this.#isGivenUp && !this.#lost.signal.aborted && this.#hooks.nowMs() < this.#heldUntilMs;
  }

  /** Aborts when the lock is or may be lost; not after `release`. */
  get signal(): AbortSignal {
    return this.#lost.signal;
  }

  /** Gives the lock up. Throws when no coordinator answers: it is then free after its ttl at the latest. */
  async release(): Promise<void> {
    this.abandon();
    await this.#hooks.release();
  }

  /** Renews no more, and tells nobody: the lock is free after its ttl, or by `release` of LocksClient. */
  abandon(): void {
    this.#isGivenUp = true;
    clearTimeout(this.#timer);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }

  #renewIn(delayMs: number): void {
    const leftMs = this.#heldUntilMs - this.#hooks.nowMs();
    if (leftMs <= 0) return this.#lose();
    this.#timer = setTimeout(() => void this.#renew(), Math.max(0, Math.min(delayMs, leftMs)));
  }

  async #renew(): Promise<void> {
    const sentAtMs = this.#hooks.nowMs();
    if (sentAtMs >= this.#heldUntilMs) return this.#lose();
    const stands = await this.#hooks.renew().catch(() => undefined);
    if (this.#isGivenUp) return;
    if (stands === false) return this.#lose();
    if (stands === true) this.#heldUntilMs = sentAtMs + this.ttlMs;
    this.#renewIn(stands === true ? this.ttlMs / 3 : this.ttlMs / 10);
  }

  #lose(): void {
    if (this.#isGivenUp) return;
    this.abandon();
    this.#lost.abort(new Error(`the lock of request ${this.requestId} is lost`));
  }
}
