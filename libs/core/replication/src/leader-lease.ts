import type { ReplicaId } from '@atoll/core-runtime';
import type { RecordInForce } from './in-sync-change.ts';
import type { LeaderHooks } from './replica-types.ts';

/**
 * Until when a leader may answer (R14, R16): until the first of its leases ends, one from every other replica that
 * counts, or may count, in the in-sync set (R7). A leader that is alone in it needs none: nobody else can be promoted,
 * and only it can add a member.
 *
 * The end that was found is kept until it has passed or the set is another one: leases of one set only grow. `forget`
 * after anything else that may shorten it: a clock that stood still (R17).
 */
export class LeaderLease {
  readonly #self: ReplicaId;
  readonly #epoch: number;
  readonly #record: RecordInForce;
  readonly #hooks: LeaderHooks;
  #untilMs = Number.NEGATIVE_INFINITY;
  /** Version of the set that `#untilMs` was found for. */
  #version = -1;

  constructor(options: { self: ReplicaId; epoch: number; record: RecordInForce; hooks: LeaderHooks }) {
    this.#self = options.self;
    this.#epoch = options.epoch;
    this.#record = options.record;
    this.#hooks = options.hooks;
  }

  isValid(nowMs: number): boolean {
    this.#hooks.beforeLease(nowMs);
    return (nowMs < this.#untilMs && this.#version === this.#record.version) || nowMs < this.#measure();
  }

  forget(): void {
    this.#untilMs = Number.NEGATIVE_INFINITY;
  }

  #measure(): number {
    let untilMs = this.#hooks.fenceUntilMs();
    for (const member of this.#record.required()) {
      if (member.replica !== this.#self) untilMs = Math.min(untilMs, this.#hooks.leaseUntilMs(member, this.#epoch));
    }
    this.#untilMs = untilMs;
    this.#version = this.#record.version;
    return untilMs;
  }
}
