import type { MetadataStore } from '@atoll/platform-etcd';

/** Often enough that a silence of some seconds is a silence of etcd (R30). */
const ASK_MS = 500;

/** Time since etcd last answered this node: asked for one key, again and again. */
export class EtcdContact {
  readonly #store: MetadataStore;
  readonly #key: string;
  readonly #timer: NodeJS.Timeout;
  #answeredMs: number;
  #isAsking = false;

  /** Etcd has just answered: whoever makes this has read its records. `key` need not exist. */
  constructor(options: { store: MetadataStore; key: string }) {
    this.#store = options.store;
    this.#key = options.key;
    this.#answeredMs = performance.now();
    this.#timer = setInterval(() => void this.#ask(), ASK_MS);
    this.#timer.unref();
  }

  silentMs(nowMs: number): number {
    return Math.max(0, nowMs - this.#answeredMs);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  async #ask(): Promise<void> {
    if (this.#isAsking) return;
    this.#isAsking = true;
    try {
      await this.#store.get(this.#key);
      this.#answeredMs = performance.now();
    } catch {
      // Silence is what is measured.
    } finally {
      this.#isAsking = false;
    }
  }
}
