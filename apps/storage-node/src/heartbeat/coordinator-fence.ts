import { AtollError } from '@atoll/core-errors';

/**
 * The highest coordinator that this node has seen, by the create revision of its election key: commands of an earlier
 * one are refused (R11, I9).
 */
export class CoordinatorFence {
  readonly #listeners = new Set<() => void>();
  #revision = 0;

  get revision(): number {
    return this.#revision;
  }

  /** Takes note of who commands. Throws STALE_FENCING_TOKEN for one that was replaced. */
  accept(revision: number): void {
    if (revision < this.#revision) throw new AtollError('STALE_FENCING_TOKEN', `a later coordinator was elected at revision ${this.#revision}`);
    if (revision === this.#revision) return;
    this.#revision = revision;
    for (const listener of this.#listeners) listener();
  }

  /** Called when a later coordinator was seen. Returns the unsubscriber. */
  onLater(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
