import { AtollError } from '@atoll/core-errors';
import type { Counter, Family, Metrics } from '@atoll/platform-telemetry';

/** How many watches this router serves, and what befalls them. */
export class RouterWatches {
  readonly #max: number;
  readonly #moves: Family<Counter>;
  #count = 0;

  constructor({ metrics, max }: { readonly metrics: Metrics; readonly max: number }) {
    this.#max = max;
    metrics.gauge('atoll_router_watches', { description: 'Watch streams of clients.' }, () => this.#count);
    this.#moves = metrics.counterFamily('atoll_router_watch_moves_total', ['cause'], {
      description: 'Partitions of watches that went on at another node, or again at the same one, by what ended them there.',
    });
  }

  /** Throws OVERLOADED when there are as many as there may be (I10). */
  enter(): void {
    if (this.#count >= this.#max) throw new AtollError('OVERLOADED', `the router serves ${this.#max} watches already`);
    this.#count += 1;
  }

  leave(): void {
    this.#count -= 1;
  }

  moved(cause: string, partitions: number): void {
    this.#moves.with(cause).add(partitions);
  }
}
