import { WatchEventKind, type WatchResponse } from '@atoll/contracts/atoll/v1/cache';
import { AtollError } from '@atoll/core-errors';
import { newestWatched, oldestWatched, placeWatch, readChanges, type Change, type ReadLimits } from '@atoll/core-replication';
import type { Hash64 } from '@atoll/core-runtime';
import type { EntryVersion } from '@atoll/core-store';
import { encodeVersion, encodeWatchPosition } from '@atoll/platform-wire';
import type { HostedReplica } from '../hosted-replica.ts';

const KINDS = {
  put: WatchEventKind.WATCH_EVENT_KIND_PUT,
  delete: WatchEventKind.WATCH_EVENT_KIND_DELETE,
  expire: WatchEventKind.WATCH_EVENT_KIND_EXPIRE,
  evict: WatchEventKind.WATCH_EVENT_KIND_EVICT,
} as const;
/** What an event takes beside its key and value, about. */
const EVENT_BYTES = 64;
const EMPTY: Buffer = Buffer.alloc(0);

export interface PartitionWatchOptions {
  readonly hosted: HostedReplica;
  readonly tag: Hash64;
  /** Behind which version; undefined: as `fromOldest` says. */
  readonly from: EntryVersion | undefined;
  readonly fromOldest: boolean;
  readonly prefix: Buffer;
  readonly keysOnly: boolean;
  readonly skipGaps: boolean;
}

/**
 * One partition of a watch: it holds a position and nothing else, so a slow reader costs no memory; when it is so slow
 * that the log goes on without it, it is told of the gap (R36). Served by any replica that is whole: it shows
 * committed entries only, whoever leads now.
 */
export class PartitionWatch {
  readonly hosted: HostedReplica;
  readonly #options: PartitionWatchOptions;
  #at: EntryVersion | undefined;
  /** The reader does not know yet where it is. */
  #isUntold: boolean;
  #hasMore = false;

  constructor(options: PartitionWatchOptions) {
    this.hosted = options.hosted;
    this.#options = options;
    this.#at = options.from;
    this.#isUntold = false;
  }

  get partition(): number {
    return this.hosted.partition;
  }

  /** Whether the last reading left something for the next one. */
  get hasMore(): boolean {
    return this.#hasMore;
  }

  /** Whether the position moved since it was last told. */
  get isUntold(): boolean {
    return this.#isUntold;
  }

  /**
   * Adds the changes that are there, within `limits`, and returns their bytes. The message must be encoded in the same
   * turn. Throws WATCH_COMPACTED, WATCH_RESET, and REPLICA_NOT_READY, STALE_GENERATION, NOT_LEADER when the watch must
   * go on elsewhere.
   */
  read(message: WatchResponse, limits: ReadLimits): number {
    const { hosted } = this;
    const { state } = hosted.replica;
    this.#hasMore = false;
    if (hosted.isDropped) throw new AtollError('NOT_LEADER', 'the node does not hold the partition any more');
    if (!state.hasAllData) throw new AtollError('REPLICA_NOT_READY', 'the replica is being filled');
    const from = this.#place(message);
    if (from === undefined) return 0;
    let bytes = 0;
    const events = message.events.length;
    const end = readChanges(state, from, limits, (change) => {
      if (!startsWith(change.key, this.#options.prefix)) return 0;
      message.events.push(this.#toEvent(change));
      const taken = EVENT_BYTES + change.key.length + (this.#options.keysOnly ? 0 : change.value.length);
      bytes += taken;
      return taken;
    });
    this.#hasMore = end.seq < state.appliedSeq;
    if (end.seq !== from.seq) this.#isUntold = true;
    this.#at = end;
    if (message.events.length > events) this.tell(message);
    return bytes;
  }

  tell(message: WatchResponse): void {
    if (this.#at === undefined) return;
    this.#isUntold = false;
    message.positions.push(this.#encode(this.#at));
  }

  /** Where to read on; undefined while the replica has not come so far. */
  #place(message: WatchResponse): EntryVersion | undefined {
    const { state, leader } = this.hosted.replica;
    if (this.#at === undefined) {
      this.#at = this.#options.fromOldest ? oldestWatched(state) : newestWatched(state);
      this.tell(message);
    }
    const place = placeWatch(state, this.#at);
    if (place.kind === 'at') return this.#at;
    if (place.kind === 'gap') return this.#skip(message, place.reason, place.oldest);
    if (this.#at.generation > state.generation.counter) throw new AtollError('STALE_GENERATION', 'the replica holds older data of the partition');
    // A leader that serves has all that was ever committed.
    return leader?.isServing === true ? this.#skip(message, 'WATCH_RESET', oldestWatched(state)) : undefined;
  }

  #skip(message: WatchResponse, reason: 'WATCH_COMPACTED' | 'WATCH_RESET', oldest: EntryVersion): EntryVersion {
    const { partition } = this;
    const position = this.#encode(oldest);
    if (!this.#options.skipGaps) {
      const problem = reason === 'WATCH_COMPACTED' ? 'the log is not kept back to the position' : 'the data began anew since the position';
      throw new AtollError(reason, `partition ${partition}: ${problem}; read the partition again`, {
        metadata: { keyspace: this.hosted.keyspace, partition: String(partition), oldest: position.toString('hex') },
      });
    }
    message.gaps.push({ partition, reason, position });
    this.#at = oldest;
    this.tell(message);
    return oldest;
  }

  #toEvent({ kind, key, value, version, expiresAtMs, stampMs }: Change): WatchResponse['events'][number] {
    return {
      kind: KINDS[kind],
      partition: this.partition,
      key: viewOf(key),
      value: this.#options.keysOnly ? EMPTY : viewOf(value),
      version: encodeVersion(version),
      expiresAtMs,
      stampMs: Math.floor(stampMs),
    };
  }

  #encode(version: EntryVersion): Buffer {
    return encodeWatchPosition(this.#options.tag, { partition: this.partition, version });
  }
}

const viewOf = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

function startsWith(key: Uint8Array, prefix: Buffer): boolean {
  return key.length >= prefix.length && prefix.equals(key.subarray(0, prefix.length));
}
