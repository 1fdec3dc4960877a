import { WatchResponse } from '@atoll/contracts/atoll/v1/cache';
import { isAtollError, type AtollError } from '@atoll/core-errors';
import { KIB } from '@atoll/core-runtime';
import type { PartitionWatch } from './partition-watch.ts';

/** A message ends behind the event that reaches it; with one large value it still fits into what gRPC takes. */
const MESSAGE_BYTES = 512 * KIB;
/** Log entries looked at in one turn of the event loop, whatever the prefix keeps of them. */
const ENTRIES_MAX = 10_000;

/** Failures of one partition that end the whole watch: its reader has to read again. */
const FATAL: ReadonlySet<string> = new Set(['WATCH_COMPACTED', 'WATCH_RESET']);

/** Partitions of one watch on this node. Those that something happened to are read in turn. */
export class WatchStream {
  readonly #watches = new Set<PartitionWatch>();
  /** To be read. */
  readonly #dirty = new Set<PartitionWatch>();
  /** Their position moved, without an event that would have told it. */
  readonly #untold = new Set<PartitionWatch>();
  readonly #wakers = new Map<PartitionWatch, () => void>();
  readonly #ended: WatchResponse['ended'] = [];
  #wake: (() => void) | undefined;

  add(watch: PartitionWatch): void {
    this.#watches.add(watch);
    this.#dirty.add(watch);
    const waker = (): void => {
      this.#dirty.add(watch);
      this.#wake?.();
    };
    this.#wakers.set(watch, waker);
    watch.hosted.watchers.add(waker);
  }

  /** A partition that is served elsewhere. */
  refuse(partition: number, { reason, message, metadata }: AtollError): void {
    this.#ended.push({ partition, error: { reason, message, metadata: { ...metadata } } });
  }

  /** No partition is left. */
  get isOver(): boolean {
    return this.#watches.size === 0 && this.#ended.length === 0;
  }

  /** Whether another call of `next` may find something. */
  get hasMore(): boolean {
    return this.#dirty.size > 0 || this.#ended.length > 0;
  }

  /** Whether a position moved without an event that told it. */
  get hasUntold(): boolean {
    return this.#untold.size > 0;
  }

  /**
   * The next message, encoded; undefined when there is nothing to say. `tellsProgress`: also how far partitions have
   * come without events. `isSignOfLife`: a message in any case. Throws WATCH_COMPACTED, WATCH_RESET.
   */
  next({ tellsProgress, isSignOfLife }: { readonly tellsProgress: boolean; readonly isSignOfLife: boolean }): { readonly bytes: Buffer; readonly events: number } | undefined {
    const message: WatchResponse = { events: [], positions: [], gaps: [], ended: this.#ended.splice(0), placed: false };
    let bytesLeft = MESSAGE_BYTES;
    for (const watch of this.#dirty) {
      if (bytesLeft <= 0) break;
      this.#dirty.delete(watch);
      try {
        bytesLeft -= watch.read(message, { entriesMax: ENTRIES_MAX, bytesMax: bytesLeft });
      } catch (error) {
        if (!isAtollError(error) || FATAL.has(error.reason)) throw error;
        this.#remove(watch);
        message.ended.push({ partition: watch.partition, error: { reason: error.reason, message: error.message, metadata: { ...error.metadata } } });
        continue;
      }
      if (watch.isUntold) this.#untold.add(watch);
      else this.#untold.delete(watch);
      if (!watch.hasMore) continue;
      // Behind the others, and in a turn of its own.
      this.#dirty.add(watch);
      break;
    }
    if (tellsProgress) {
      for (const watch of this.#untold) watch.tell(message);
      this.#untold.clear();
    }
    const { events, positions, gaps, ended } = message;
    if (!isSignOfLife && events.length + positions.length + gaps.length + ended.length === 0) return undefined;
    const encoded = WatchResponse.encode(message).finish();
    return { bytes: Buffer.from(encoded.buffer, encoded.byteOffset, encoded.byteLength), events: events.length };
  }

  /** Resolves when something happened, or after `timeoutMs`; throws the signal's reason. */
  woken(timeoutMs: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    return new Promise((resolve, reject) => {
      const settle = (act: () => void): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
        this.#wake = undefined;
        act();
      };
      const timer = setTimeout(() => settle(resolve), timeoutMs);
      const onAbort = (): void => settle(() => reject(signal.reason as Error));
      signal.addEventListener('abort', onAbort, { once: true });
      // At the end of the turn, so that what commits together leaves together.
      this.#wake = () => {
        this.#wake = undefined;
        setImmediate(() => settle(resolve));
      };
    });
  }

  close(): void {
    for (const watch of this.#watches) this.#remove(watch);
  }

  #remove(watch: PartitionWatch): void {
    watch.hosted.watchers.delete(this.#wakers.get(watch)!);
    this.#wakers.delete(watch);
    this.#watches.delete(watch);
    this.#dirty.delete(watch);
    this.#untold.delete(watch);
  }
}
