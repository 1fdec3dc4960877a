/**
 * The partition's own time (R23): it never goes back, and it moves at the pace of the monotonic clock, bent by at
 * most `SLEW` toward the leader's wall clock. A wall clock that jumps becomes a slow approach, not a mass expiry.
 * The leader stamps it on every message; a follower takes over what is ahead of its own.
 *
 * The bend is decided for the time to come, so that what `read` showed is never taken back:
 *
 *   1. time 1000; the wall clock is far behind; 400 ms pass, a reader sees 1400
 *   2. a bend of the time that has passed would make it 1360: the reader's 1400 goes back
 *   3. so it is 1400 now, and the next 400 ms will be 360
 */
export class PartitionClock {
  #timeMs = 0;
  #atMs = 0;
  /** Pace against the monotonic clock since `#atMs`; positive. */
  #pace = 1;
  #isSet = false;

  /** The partition's time at the monotonic moment `nowMs`. 0 before the first `follow` or `lead`. */
  read(nowMs: number): number {
    return this.#isSet ? this.#timeMs + Math.max(0, nowMs - this.#atMs) * this.#pace : 0;
  }

  /** The leader's reading: from now on the time bends toward its wall clock. Returns the time. */
  lead(nowMs: number, wallMs: number): number {
    const timeMs = this.#isSet ? this.read(nowMs) : wallMs;
    const bend = (wallMs - timeMs) / APPROACH_MS;
    this.#set(timeMs, nowMs, 1 + Math.min(Math.max(bend, -SLEW), SLEW));
    return timeMs;
  }

  /** Takes over a stamp of the leader or of a log entry; one that lies behind leaves the time as it is. */
  follow(stampMs: number, nowMs: number): void {
    this.#set(Math.max(stampMs, this.read(nowMs)), nowMs, 1);
  }

  /** How far the wall clock is from the partition's time: an alarm when it is more than some seconds. */
  offsetMs(nowMs: number, wallMs: number): number {
    return this.#isSet ? wallMs - this.read(nowMs) : 0;
  }

  #set(timeMs: number, nowMs: number, pace: number): void {
    this.#timeMs = timeMs;
    // A moment that lies behind the last one must not let the same time pass twice.
    this.#atMs = this.#isSet ? Math.max(nowMs, this.#atMs) : nowMs;
    this.#pace = pace;
    this.#isSet = true;
  }
}

/** Largest bend per passed time: an hour's jump is made good within ten hours. ntpd slews at 0.0005, chrony at 0.083. */
const SLEW = 0.1;
/** A small difference shrinks by two thirds in about this time; from a tenth of it on the bend is at its largest. */
const APPROACH_MS = 1000;
