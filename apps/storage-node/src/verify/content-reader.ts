import { ByteRate } from '@atoll/platform-grpc';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { DigestContentRequest, DigestContentResponse, RangeContent } from '@atoll/contracts/atoll/v1/verify';
import { AtollError, invalidArgument } from '@atoll/core-errors';
import type { LogPosition } from '@atoll/core-replication';
import { KIB, MIB, type Hash64 } from '@atoll/core-runtime';
import { CONTENT_RANGE_COUNTS, ContentSum, contentRange, leafOfRange, type SliceLimits } from '@atoll/core-store';
import type { CallContext } from '@atoll/platform-grpc';
import type { CoordinatorFence } from '../heartbeat/coordinator-fence.ts';
import type { HostedReplica } from '../hosted-replica.ts';
import type { ReplicaHost } from '../replica-host.ts';

/** Calls at a time on this node; one more is refused as OVERLOADED (I10). */
const READS_MAX = 8;
const RANGES_MAX = 64;
const RANGES_AT_MARKER_MAX = 4;
/** Read in one turn of the event loop: a few ms. */
const SLICE: SliceLimits = { entriesMax: 500, bytesMax: 512 * KIB };
/** A sub-range that holds more is not read in one go at a marker. */
const MARKER_SLICE: SliceLimits = { entriesMax: 10_000, bytesMax: 64 * MIB };
/** What an entry counts for beside its bytes, so that the rate bounds the work for small entries as well. */
const ENTRY_COST_BYTES = 512;
/** A call answers with what it has read after so long: the replicas that are compared are to be read side by side. */
const ANSWER_MS = 250;
/** How long a call without a deadline waits for a marker. */
const MARKER_WAIT_MS_MAX = 5000;

/** Reads every entry of sub-ranges for comparisons, at a pace that clients do not feel (R34). */
export class ContentReader {
  readonly #host: ReplicaHost;
  readonly #fence: CoordinatorFence;
  readonly #rate = new ByteRate(0, performance.now());
  #running = 0;

  constructor(options: { host: ReplicaHost; fence: CoordinatorFence }) {
    this.#host = options.host;
    this.#fence = options.fence;
  }

  /** Handler of `Verification.DigestContent`. */
  async digest(request: DigestContentRequest, context: CallContext): Promise<DigestContentResponse> {
    this.#fence.accept(request.coordinatorRevision);
    checkRanges(request);
    const hosted = this.#find(request);
    if (this.#running >= READS_MAX) throw new AtollError('OVERLOADED', 'other replicas of this node are being read');
    this.#running += 1;
    try {
      return request.atNextMarker ? await readAtMarker(hosted, request, context) : await this.#read(hosted, request, context);
    } finally {
      this.#running -= 1;
    }
  }

  async #read(hosted: HostedReplica, request: DigestContentRequest, { signal }: CallContext): Promise<DigestContentResponse> {
    this.#rate.setRate(request.bytesPerSecond, performance.now());
    const endMs = performance.now() + ANSWER_MS;
    const ranges: RangeContent[] = [];
    for (const range of request.ranges) {
      ranges.push(await this.#readRange(hosted, request, range, signal));
      if (performance.now() >= endMs) break;
    }
    return { ranges, marker: undefined };
  }

  /** Slice by slice; the leaf's own sums tell whether it stood still from the first to the last. */
  async #readRange(hosted: HostedReplica, request: DigestContentRequest, range: number, signal: AbortSignal): Promise<RangeContent> {
    const leaf = leafOfRange(range, request.rangeCount);
    const { state } = hosted.replica;
    const before = state.store.leafSums(leaf);
    const sum = new ContentSum(contentRange(range, request.rangeCount));
    let isSettled = true;
    for (let from: Hash64 | undefined = sum.from; from !== undefined && isSettled; ) {
      const [bytes, entries] = [sum.bytes, sum.entries];
      from = state.store.readContent(sum, from, SLICE);
      const cost = sum.bytes - bytes + (sum.entries - entries) * ENTRY_COST_BYTES;
      await nextTurn();
      await this.#rate.wait(cost, signal);
      requireReadable(hosted, request);
      isSettled = from === undefined || state.store.leafSums(leaf) === before;
    }
    return toMessage(range, isSettled ? sum : undefined);
  }

  #find(request: DigestContentRequest): HostedReplica {
    const hosted = this.#host.replica(request.keyspace, request.partition);
    if (hosted === undefined) throw new AtollError('REPLICA_UNKNOWN', `this node has no replica of ${request.keyspace}/${request.partition}`);
    requireReadable(hosted, request);
    return hosted;
  }
}

/** Throws INVALID_ARGUMENT that names the field. */
function checkRanges({ rangeCount, ranges, atNextMarker }: DigestContentRequest): void {
  if (!CONTENT_RANGE_COUNTS.includes(rangeCount)) throw invalidArgument('range_count', `must be one of ${CONTENT_RANGE_COUNTS.join(', ')}`);
  const max = atNextMarker ? RANGES_AT_MARKER_MAX : RANGES_MAX;
  if (ranges.length === 0 || ranges.length > max) throw invalidArgument('ranges', `must be 1 to ${max}`);
  const wrong = ranges.find((range, at) => range >= rangeCount || (at > 0 && range <= ranges[at - 1]!));
  if (wrong !== undefined) throw invalidArgument('ranges', `${wrong} is not below ${rangeCount}, or not above the one before it`);
}

/** It is the replica that was asked for, of that lineage, and whole. */
function requireReadable({ isDropped, replica: { state } }: HostedReplica, { replicaId, generation }: DigestContentRequest): void {
  if (isDropped || state.identity.self.replica !== replicaId) throw new AtollError('REPLICA_UNKNOWN', `this node does not hold replica ${replicaId}`);
  if (state.generation.counter !== generation?.counter || state.generation.id !== generation.id) throw new AtollError('STALE_GENERATION', `the generation is ${state.generation.counter}`);
  if (!state.isInstalled) throw new AtollError('REPLICA_NOT_READY', 'the replica is being filled');
}

/** All ranges as they are when the replica applies the next marker: on every replica that applies it, the same (I6). */
function readAtMarker(hosted: HostedReplica, request: DigestContentRequest, context: CallContext): Promise<DigestContentResponse> {
  const { state } = hosted.replica;
  return new Promise((resolve, reject) => {
    const onMark = (marker: LogPosition | undefined): void => {
      clearTimeout(timer);
      if (marker === undefined) return reject(new AtollError('REPLICA_NOT_READY', 'the replica is being filled'));
      const ranges = request.ranges.map((range) => {
        const sum = new ContentSum(contentRange(range, request.rangeCount));
        const next = state.store.readContent(sum, sum.from, MARKER_SLICE);
        return toMessage(range, next === undefined ? sum : undefined);
      });
      resolve({ ranges, marker: { ...marker } });
    };
    const callOff = state.marks.next(onMark);
    if (callOff === undefined) {
      reject(new AtollError('OVERLOADED', 'too many callers wait for markers of this replica'));
      return;
    }
    const giveUp = (): void => {
      clearTimeout(timer);
      callOff();
      reject(new AtollError('REPLICA_NOT_READY', 'no marker came'));
    };
    const timer = setTimeout(giveUp, Math.min(MARKER_WAIT_MS_MAX, context.deadlineRemainingMs(MARKER_WAIT_MS_MAX)));
    context.onCancelled(giveUp);
  });
}

function toMessage(range: number, sum: ContentSum | undefined): RangeContent {
  if (sum === undefined) return { range, unsettled: true, versions: 0n, content: 0n, entries: 0, bytes: 0 };
  const { versions, content, entries, bytes } = sum;
  return { range, unsettled: false, versions, content, entries, bytes };
}
