// When a cron expression is due. Five fields, in UTC: a day has 24 hours then, and no moment comes twice or never.
import { Cron } from 'croner';

/** Of how many of the moments to come the longest time between two is looked for. */
const MOMENTS = 100;

export class CronTimes {
  readonly #cron: Cron;
  #longestMs: number | undefined;

  constructor(expression: string) {
    this.#cron = new Cron(expression, { timezone: 'Etc/UTC', mode: '5-part' });
  }

  /** Throws Error, in words for people, for what is no expression or has no moment after `nowMs`. */
  static check(expression: string, nowMs: number): void {
    if (new CronTimes(expression).next(nowMs) === undefined) throw new Error('it never comes');
  }

  /** The first moment after `ms`. */
  next(ms: number): number | undefined {
    return this.#cron.nextRun(new Date(ms))?.getTime();
  }

  /** The latest moment after `afterMs` and not after `nowMs`; undefined where there is none. */
  due(afterMs: number, nowMs: number): number | undefined {
    const first = this.next(afterMs);
    if (first === undefined || first > nowMs) return undefined;
    // Halves the time until one moment is left: after a week away of a schedule of every minute there are 10,000 of them.
    let [from, at] = [first, first];
    let until = nowMs;
    while (from < until) {
      const middle = from + Math.ceil((until - from) / 2);
      const found = this.next(middle - 1);
      if (found !== undefined && found <= nowMs) [from, at] = [found, found];
      else until = middle - 1;
    }
    return at;
  }

  /** The longest time between two moments, in ms, of those behind `nowMs` of the first call. */
  longestMs(nowMs: number): number {
    this.#longestMs ??= this.#longestFrom(nowMs);
    return this.#longestMs;
  }

  #longestFrom(nowMs: number): number {
    let longest = 0;
    let last = this.next(nowMs);
    for (let index = 0; index < MOMENTS && last !== undefined; index += 1) {
      const next = this.next(last);
      if (next !== undefined) longest = Math.max(longest, next - last);
      last = next;
    }
    return longest;
  }
}
