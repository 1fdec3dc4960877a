export interface RetryBudgetOptions {
  /** Tokens that each new operation adds; 0.1 lets one in ten be repeated. */
  readonly perOperation: number;
  /** Tokens that each second adds, so that a quiet router may repeat too. */
  readonly perSecond: number;
  /** Most tokens saved up. */
  readonly max: number;
}

/**
 * Bounds the load that repeats add when a node is in trouble: a token bucket filled by new operations, as
 * retry throttling in gRPC proposal A6 (github.com/grpc/proposal/blob/master/A6-client-retries.md), and by
 * time. A repeat that goes to another address than the one that refused needs no token: it adds no load
 * there.
 */
export class RetryBudget {
  readonly #options: RetryBudgetOptions;
  #tokens: number;
  #filledAtMs: number;

  constructor(options: RetryBudgetOptions, nowMs: number) {
    this.#options = options;
    this.#tokens = options.max;
    this.#filledAtMs = nowMs;
  }

  get tokens(): number {
    return this.#tokens;
  }

  /** A new operation came. */
  earn(): void {
    const { perOperation, max } = this.#options;
    this.#tokens = Math.min(max, this.#tokens + perOperation);
  }

  /** Whether a repeat may go now. */
  spend(nowMs: number): boolean {
    const { perSecond, max } = this.#options;
    this.#tokens = Math.min(max, this.#tokens + ((nowMs - this.#filledAtMs) * perSecond) / 1000);
    this.#filledAtMs = nowMs;
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }
}
