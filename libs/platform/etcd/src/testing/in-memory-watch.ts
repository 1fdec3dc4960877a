import type { WatchListener, WatchedChange } from '../metadata-store.ts';
import type { InMemoryEtcd } from './in-memory-etcd.ts';

/** A watch on an InMemoryEtcd. Changes arrive in order, each in a microtask of its own. */
export class InMemoryWatch {
  readonly #etcd: InMemoryEtcd;
  readonly #prefix: string;
  readonly #listener: WatchListener;
  #unsubscribe: (() => void) | undefined;

  constructor(etcd: InMemoryEtcd, prefix: string, listener: WatchListener) {
    this.#etcd = etcd;
    this.#prefix = prefix;
    this.#listener = listener;
  }

  connect(): void {
    if (this.#unsubscribe !== undefined) return;
    const unsubscribe = this.#etcd.subscribe((changes, revision) => {
      queueMicrotask(() => {
        if (this.#unsubscribe === unsubscribe) this.#deliver(changes, revision);
      });
    });
    this.#unsubscribe = unsubscribe;
    this.#listener.onSnapshot(this.#etcd.list(this.#prefix), this.#etcd.revision);
    this.#listener.onConnection?.(true);
  }

  disconnect(): void {
    if (this.#unsubscribe === undefined) return;
    this.close();
    this.#listener.onConnection?.(false);
  }

  close(): void {
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
  }

  #deliver(changes: readonly WatchedChange[], revision: number): void {
    const ours = changes.filter((change) => change.key.startsWith(this.#prefix));
    if (ours.length > 0) this.#listener.onChanges(ours, revision);
  }
}
