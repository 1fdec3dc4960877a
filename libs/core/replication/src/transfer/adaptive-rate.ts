// How fast snapshots may go while clients are served: as fast as the p99 of the clients allows, which is held within a
// stated factor of what it was before. The rate grows by a factor until the clients feel it, then by equal steps, and
// falls by a factor, which settles near the highest rate that does no harm and shares it fairly among nodes that meet
// the same limit (Chiu and Jain, "Analysis of the Increase and Decrease Algorithms for Congestion Avoidance", 1989; slow
// start of Jacobson, "Congestion Avoidance and Control", SIGCOMM 1988; latency as the signal, as TCP Vegas has it,
// Brakmo and Peterson, 1995).
//
//   no client, or off   at the bound
//   first, and while there is no p99 of before   at the floor
//   p99 within          x 1.5 until the clients felt it once; from then on + 1/10 of the rate at which they began to feel it
//                       last, and x 1.25 beyond that rate: they feel other things, too, and then it bears more
//   p99 beyond          x 0.6, not below the floor
//   beyond at the floor for 30 s: it is not the transfer that they feel, and what they have now counts as before

/** What the rate falls to when clients feel the transfer. */
const DECREASE = 0.6;
/** What it grows to while they have not felt it yet. */
const FIRST_GROWTH = 1.5;
/** Of the rate at which clients began to feel it last: what the rate grows by up to there. */
const STEP_SHARE = 1 / 10;
/** What it grows to from there on. */
const GROWTH = 1.25;
/** A p99 below it is raised to it before it is compared: what nobody feels across a network, in ms. */
const P99_MS_MIN = 2;
/** How long the floor is kept to learn the p99 of before, and to find out that it is another one now, in ms. */
const LEARN_MS = 1000;
const RELEARN_MS = 30_000;

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
  /** Rate at which the clients began to feel it last; 0: not yet. */
  #feltBytes = 0;
  #wasBeyond = false;
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
    this.#feltBytes = 0;
    this.#wasBeyond = false;
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
    else this.#increase(floor);
    this.#bytesPerSecond = Math.max(floor, Math.min(top, this.#bytesPerSecond));
    return boundBytes === 0 && this.#bytesPerSecond >= ceilingBytes ? 0 : this.#bytesPerSecond;
  }

  #decrease(floor: number, p99Ms: number, nowMs: number): void {
    if (this.#bytesPerSecond <= floor) return this.#learnAtFloor(p99Ms, nowMs, RELEARN_MS);
    if (!this.#wasBeyond) this.#feltBytes = this.#bytesPerSecond;
    this.#wasBeyond = true;
    this.#bytesPerSecond *= DECREASE;
  }

  #increase(floor: number): void {
    this.#floorSinceMs = undefined;
    this.#wasBeyond = false;
    const bytes = this.#bytesPerSecond;
    if (bytes === 0) this.#bytesPerSecond = floor;
    else if (this.#feltBytes === 0) this.#bytesPerSecond *= FIRST_GROWTH;
    else this.#bytesPerSecond = bytes < this.#feltBytes ? bytes + this.#feltBytes * STEP_SHARE : bytes * GROWTH;
  }

  #learnAtFloor(p99Ms: number, nowMs: number, afterMs: number): void {
    this.#floorSinceMs ??= nowMs;
    if (nowMs - this.#floorSinceMs < afterMs) return;
    this.#learntMs = p99Ms;
    this.#feltBytes = 0;
    this.#floorSinceMs = undefined;
  }
}
