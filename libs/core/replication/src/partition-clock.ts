/**
 * The partition's own time (R23): it never goes back, and it moves at the pace of the monotonic clock, bent by at
 * most `SLEW` toward the leader's wall clock. A wall clock that jumps becomes a slow approach, not a mass expiry.
 * The leader stamps it on every message; a follower takes over what is ahead of its own.
 */
export class PartitionClock {
  #timeMs = 0;
  #atMs = 0;
  #isSet = false;

  /** The partition's time at the monotonic moment `nowMs`. 0 before the first `follow` or `lead`. */
  read(nowMs: number): number {
    return this.#isSet ? this.#timeMs + Math.max(0, nowMs - this.#atMs) : 0;
  }

  /** The leader's reading: bends toward its wall clock. Returns the time. */
  lead(nowMs: number, wallMs: number): number {
    if (!this.#isSet) return this.#set(wallMs, nowMs);
    const passedMs = Math.max(0, nowMs - this.#atMs);
    const expectedMs = this.#timeMs + passedMs;
    const bendMs = Math.min(Math.max(wallMs - expectedMs, -passedMs * SLEW), passedMs * SLEW);
    return this.#set(expectedMs + bendMs, nowMs);
  }

  /** Takes over a stamp of the leader or of a log entry; one that lies behind changes nothing. */
  follow(stampMs: number, nowMs: number): void {
    if (stampMs > this.read(nowMs)) this.#set(stampMs, nowMs);
  }

  /** How far the wall clock is from the partition's time: an alarm when it is more than some seconds. */
  offsetMs(nowMs: number, wallMs: number): number {
    return this.#isSet ? wallMs - this.read(nowMs) : 0;
  }

  #set(timeMs: number, nowMs: number): number {
    this.#timeMs = timeMs;
    this.#atMs = nowMs;
    this.#isSet = true;
    return timeMs;
  }
}

/** Largest bend per passed time: an hour's jump is made good within ten hours. ntpd slews at 0.0005, chrony at 0.083. */
const SLEW = 0.1;
