import type { ServerWritableStream } from '@grpc/grpc-js';
import type { WatchRequest } from '@atoll/contracts/atoll/v1/cache';
import { AtollError, invalidArgument } from '@atoll/core-errors';
import type { KeyspaceSpec } from '@atoll/core-membership';
import type { EntryVersion } from '@atoll/core-store';
import { writePaced, type CallContext } from '@atoll/platform-grpc';
import type { Metrics } from '@atoll/platform-telemetry';
import { WATCH_PROGRESS_MS_DEFAULT, checkWatch, decodeVersion, decodeWatchPosition, watchTag } from '@atoll/platform-wire';
import type { CacheOperations } from '../cache/cache-operations.ts';
import type { ReplicaHost } from '../replica-host.ts';
import { PartitionWatch } from './partition-watch.ts';
import { WatchStream } from './watch-stream.ts';

/**
 * How soon a position is told that moved without events, in ms: well before a replica that is filled now can lead, since
 * its log begins where the leader is now.
 *
 *   1. an office entry moves the position of a quiet partition from 4 to 5; the watch was told of 4
 *   2. another replica is filled, its log begins behind 5; it becomes leader
 *   3. the watch goes on there behind 4, which that log does not reach: a gap where nothing is missing
 */
const TELL_MS = 100;

export interface WatchesOptions {
  readonly host: ReplicaHost;
  readonly operations: CacheOperations;
  readonly metrics: Metrics;
  /** Streams at a time; further ones are refused as OVERLOADED (I10). */
  readonly watchesMax: number;
}

/** Serves `Watch` for partitions of this node (R36). */
export class Watches {
  readonly #options: WatchesOptions;
  readonly #events: { add(count: number): void };
  #count = 0;

  constructor(options: WatchesOptions) {
    this.#options = options;
    options.metrics.gauge('atoll_watches', { description: 'Watch streams that are served here.' }, () => this.#count);
    this.#events = options.metrics.counter('atoll_watch_events_total', { description: 'Changes that were sent to watches.' });
  }

  /** Handler of `Cache.Watch`. Responses are encoded in the turn that reads the log. */
  async serve(call: ServerWritableStream<WatchRequest, Buffer>, context: CallContext): Promise<void> {
    const { request } = call;
    const { watchesMax } = this.#options;
    if (this.#count >= watchesMax) throw new AtollError('OVERLOADED', `the node serves ${watchesMax} watches already`);
    const stream = this.#open(request);
    this.#count += 1;
    try {
      await this.#run(stream, call, context);
    } finally {
      this.#count -= 1;
      stream.close();
    }
  }

  async #run(stream: WatchStream, call: ServerWritableStream<WatchRequest, Buffer>, { signal }: CallContext): Promise<void> {
    const progressMs = call.request.progressMs === 0 ? WATCH_PROGRESS_MS_DEFAULT : call.request.progressMs;
    let sentAtMs = performance.now();
    let toldAtMs = sentAtMs;
    while (!stream.isOver) {
      const nowMs = performance.now();
      const isSignOfLife = nowMs - sentAtMs >= progressMs;
      const tellsProgress = isSignOfLife || nowMs - toldAtMs >= TELL_MS;
      const message = stream.next({ tellsProgress, isSignOfLife });
      if (tellsProgress) toldAtMs = nowMs;
      if (message !== undefined) {
        this.#events.add(message.events);
        await writePaced(call, message.bytes, signal);
        sentAtMs = performance.now();
      }
      if (stream.hasMore) await nextTurn(signal);
      else if (message === undefined) await stream.woken(Math.max(0, Math.min(sentAtMs + progressMs, stream.hasUntold ? toldAtMs + TELL_MS : Infinity) - performance.now()), signal);
    }
  }

  /** Throws what is wrong with the request. */
  #open(request: WatchRequest): WatchStream {
    const { host, operations } = this.#options;
    checkWatch(request);
    const spec = host.requireSpec(request.keyspace);
    const { partitions, prefix, keysOnly, skipGaps, fromOldest } = request;
    if (partitions.length === 0) throw invalidArgument('partitions', 'are required at a storage node; routers watch all of them');
    const starts = startsOf(request, spec);
    const tag = watchTag(spec.id);
    const stream = new WatchStream();
    for (const partition of new Set(partitions)) {
      if (partition >= spec.partitionCount) {
        stream.close();
        throw invalidArgument('partitions', `must be below ${spec.partitionCount}, not ${partition}`);
      }
      const hosted = host.replica(spec.name, partition);
      if (hosted === undefined) stream.refuse(partition, operations.notLeaderOf(spec.name, partition));
      else stream.add(new PartitionWatch({ hosted, tag, from: starts.get(partition), fromOldest, prefix, keysOnly, skipGaps }));
    }
    return stream;
  }
}

function startsOf({ positions, partitions, afterVersion }: WatchRequest, { id, partitionCount }: KeyspaceSpec): ReadonlyMap<number, EntryVersion> {
  const starts = new Map<number, EntryVersion>();
  const after = decodeVersion(afterVersion, 'after_version');
  if (after !== undefined) starts.set(partitions[0]!, after);
  const keyspace = { tag: watchTag(id), partitionCount };
  for (const bytes of positions) {
    const { partition, version } = decodeWatchPosition(bytes, keyspace);
    starts.set(partition, version);
  }
  return starts;
}

async function nextTurn(signal: AbortSignal): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
  signal.throwIfAborted();
}
