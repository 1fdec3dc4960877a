// How fast snapshots may go while clients are served: as fast as the p99 of the clients allows, which is held within a
// stated factor of what it was before. The rate is doubled until the clients feel it, then it grows by equal steps and
// falls by a factor, which settles near the highest rate that does no harm and shares it fairly among nodes that meet
// the same limit (Chiu and Jain, "Analysis of the Increase and Decrease Algorithms for Congestion Avoidance", 1989; slow
// start of Jacobson, "Congestion Avoidance and Control", SIGCOMM 1988; latency as the signal, as TCP Vegas has it,
// Brakmo and Peterson, 1995).
//
//   no client, or off   at the bound
//   no p99 of before    at the floor until it is known
//   p99 within          x 2 until it was once beyond, from then on + bound / 20
//   p99 beyond          x 0.6, not below the floor
//   beyond at the floor for 10 s: it is not the transfer that they feel, and what they have now counts as before

/** What the rate falls to when clients feel the transfer. */
const DECREASE = 0.6;
/** Steps from nothing to the bound. */
const STEPS = 20;
/** Of the bound: where the first transfer begins. */
const START_SHARE = 1 / 8;
/** A p99 below it is raised to it before it is compared: what nobody feels across a network, in ms. */
const P99_MS_MIN = 1;
/** How long the floor is kept to learn the p99 of before, and to find out that it is another one now, in ms. */
const LEARN_MS = 1000;
const RELEARN_MS = 10_000;

export interface AdaptiveRateOptions {
  /** How often its value of before the p99 may be; 0: off. */
  readonly impactMax: number;
  /** Bytes in a second below which no transfer is slowed, unless the bound is lower still. */
  readonly floorBytes: number;
  /** Where the rate ends that has no bound. */
  readonly ceilingBytes: number;
}

/** What an interval has brought. */
export interface RateInterval {
  readonly nowMs: number;
  /** Bytes in a second that may not be passed; 0: no bound. */
  readonly boundBytes: number;
  /** Of the last interval; undefined: there are no clients, or too few to tell. */
  readonly p99Ms: number | undefined;
  /** Of the time before the transfer; undefined: there were none. */
  readonly baselineMs: number | undefined;
}

export class AdaptiveRate {
  readonly #options: AdaptiveRateOptions;
  /** 0: no transfer is under way. */
  #bytesPerSecond = 0;
  #isDoubling = true;
  #isHolding = false;
  /** p99 that was learnt while the rate was at the floor. */
  #learntMs: number | undefined;
  /** Since when clients are served at the floor without a baseline, or beyond what they may feel. */
  #floorSinceMs: number | undefined;

  constructor(options: AdaptiveRateOptions) {
    this.#options = options;
  }

  /** Whether clients were there to be spared at the last interval. */
  get isHolding(): boolean {
    return this.#isHolding;
  }

  /** The last transfer has ended: the next one begins anew. */
  end(): void {
    this.#bytesPerSecond = 0;
    this.#isDoubling = true;
    this.#isHolding = false;
    this.#learntMs = undefined;
    this.#floorSinceMs = undefined;
  }

  /** To be called at equal intervals while transfers are under way: bytes in a second from now on, 0: no limit. */
  next({ nowMs, boundBytes, p99Ms, baselineMs }: RateInterval): number {
    const { impactMax, floorBytes, ceilingBytes } = this.#options;
    const top = boundBytes === 0 ? ceilingBytes : boundBytes;
    const floor = Math.min(floorBytes, top);
    this.#isHolding = impactMax > 0 && p99Ms !== undefined;
    if (impactMax === 0 || p99Ms === undefined) {
      this.#floorSinceMs = undefined;
      this.#bytesPerSecond = top;
      return boundBytes;
    }
    const before = this.#learntMs ?? baselineMs;
    if (before === undefined) {
      this.#learnAtFloor(p99Ms, nowMs, LEARN_MS);
      this.#bytesPerSecond = floor;
      return floor;
    }
    if (p99Ms > Math.max(before, P99_MS_MIN) * impactMax) this.#decrease(floor, p99Ms, nowMs);
    else this.#increase(floor, top);
    this.#bytesPerSecond = Math.max(floor, Math.min(top, this.#bytesPerSecond));
    return boundBytes === 0 && this.#bytesPerSecond >= ceilingBytes ? 0 : this.#bytesPerSecond;
  }

  #decrease(floor: number, p99Ms: number, nowMs: number): void {
    this.#isDoubling = false;
    if (this.#bytesPerSecond <= floor) return this.#learnAtFloor(p99Ms, nowMs, RELEARN_MS);
    this.#bytesPerSecond *= DECREASE;
  }

  #increase(floor: number, top: number): void {
    this.#floorSinceMs = undefined;
    if (this.#bytesPerSecond === 0) this.#bytesPerSecond = Math.max(floor, top * START_SHARE);
    else this.#bytesPerSecond = this.#isDoubling ? this.#bytesPerSecond * 2 : this.#bytesPerSecond + top / STEPS;
  }

  #learnAtFloor(p99Ms: number, nowMs: number, afterMs: number): void {
    this.#floorSinceMs ??= nowMs;
    if (nowMs - this.#floorSinceMs < afterMs) return;
    this.#learntMs = p99Ms;
    this.#floorSinceMs = undefined;
  }
}
