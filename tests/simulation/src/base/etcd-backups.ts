import type { EventQueue } from '@atoll/core-replication/testing';
import type { SimLease, Stored } from './sim-etcd.ts';

const EVERY_MS = 500;
const KEPT_MAX = 20;

/** All that etcd is at some moment. */
export interface EtcdBackup {
  readonly revision: number;
  readonly data: ReadonlyMap<string, Stored>;
  readonly leases: ReadonlySet<SimLease>;
}

/** The backups of the last seconds. */
export class EtcdBackups {
  readonly #events: EventQueue;
  readonly #take: () => EtcdBackup | undefined;
  #kept: { readonly atMs: number; readonly backup: EtcdBackup }[] = [];

  /** `take` gives undefined when there is nothing worth keeping. */
  constructor(options: { events: EventQueue; take: () => EtcdBackup | undefined }) {
    this.#events = options.events;
    this.#take = options.take;
    this.#tick();
  }

  /** The newest one that is at least so old. */
  find(ageMs: number): EtcdBackup | undefined {
    return this.#kept.findLast(({ atMs }) => atMs <= this.#events.nowMs - ageMs)?.backup;
  }

  clear(): void {
    this.#kept = [];
  }

  #tick(): void {
    this.#events.after(EVERY_MS, () => {
      this.#tick();
      const backup = this.#take();
      if (backup === undefined) return;
      this.#kept.push({ atMs: this.#events.nowMs, backup });
      if (this.#kept.length > KEPT_MAX) this.#kept.shift();
    });
  }
}
