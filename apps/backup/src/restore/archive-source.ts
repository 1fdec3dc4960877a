// An archive at a moment as a source of COPY (R37): it answers what a router of another cluster would. Nothing is ever written to it,
// so its place is one for good, how far a reader is is the next hash alone, and to hold it still takes nothing.
import type { CopyCheck, CopyOrigin, FollowSourceRequest, FollowSourceResponse, FrozenPartition, SourcePartition } from '@atoll/contracts/atoll/v1/copy';
import { ContentTally, ENTRY_OVERHEAD_BYTES, foldPartition, type ArchivedKeyspace, type ArchivedRange, type FoldOptions, type FoldedEntry, type RestorePlan, type RestoreSource, type RestoreStep } from '@atoll/core-archive';
import { invalidArgument, type AtollError } from '@atoll/core-errors';
import { createKeyspaceSpec, type KeyspaceSpec } from '@atoll/core-membership';
import { KIB, MIB, hashOfHalves, type Hash64 } from '@atoll/core-runtime';
import { FIRST_HASH } from '@atoll/core-store';
import { copyOwnership } from '@atoll/platform-wire';

/** A message; one value may be larger. */
const SLICE = { entriesMax: 1000, bytesMax: 256 * KIB };
/** What increments and logs may take in memory, for each stream. */
const OVERLAY_BYTES_MAX = 32 * MIB;
/** Entries that expire so soon are not compared: the copy removes them by its own time (R23). */
const EXPIRING_MS = 60_000;

export interface ArchiveSourceOptions {
  /** For one restore of one keyspace: readers name it. */
  readonly id: string;
  /** As a keyspace: lower-case letters, digits, - and _. */
  readonly name: string;
  /** For people. */
  readonly title: string;
  readonly archived: ArchivedKeyspace;
  readonly plan: RestorePlan;
  /** Only keys that begin with it. */
  readonly prefix: Buffer;
  readonly read: (step: RestoreStep, next: RestoreStep | undefined) => Promise<Buffer>;
}

export class ArchiveSource {
  readonly id: string;
  readonly name: string;
  readonly title: string;
  /** As the archived one, under this source's name. */
  readonly spec: KeyspaceSpec;
  /** What stands in the place of a cluster's id. */
  readonly clusterId: string;
  /** Keys and values that were sent, and entries; what is sent again counts again. */
  sentBytes = 0;
  sentEntries = 0;
  /** Why it cannot be read, for good; undefined while it can. */
  failure: AtollError | undefined;
  readonly plan: RestorePlan;
  readonly #options: ArchiveSourceOptions;
  readonly #sources: ReadonlyMap<number, RestoreSource>;
  #measured: readonly SourcePartition[] = [];

  /** Throws INVALID_ARGUMENT where the settings in the archive are none that this version knows. */
  constructor(options: ArchiveSourceOptions) {
    const { id, name, title, archived, plan } = options;
    this.#options = options;
    this.id = id;
    this.name = name;
    this.title = title;
    this.plan = plan;
    this.clusterId = `archive-${id}`;
    const { settings, partitionCount } = archived;
    const gone = { copyOf: undefined, cutOver: undefined, aliases: undefined, movedTo: undefined, freeze: undefined };
    this.spec = createKeyspaceSpec({ ...settings, ...gone, name, id, partitionCount });
    this.#sources = new Map(plan.groups.flatMap(({ sources }) => sources.map((source) => [source.partition, source] as const)));
  }

  /** Latest time of its partitions: what has expired by then stays so. */
  get timeMs(): number {
    return Math.max(0, ...[...this.#sources.values()].map(({ timeMs }) => timeMs));
  }

  /** In their order. */
  get partitions(): readonly number[] {
    return [...this.#sources.keys()].sort((a, b) => a - b);
  }

  /** Lineage of the data of a partition (R3); undefined: the archive has nothing of it. */
  generationOf(partition: number): ArchivedRange['generation'] | undefined {
    return this.#options.archived.ranges.find((range) => range.partition === partition)?.generation;
  }

  /** Keys and values, about; 0 where that is not known. */
  get contentBytes(): number {
    if (this.#options.prefix.length > 0) return 0;
    return this.sizesMax().reduce((sum, { bytes, entries }) => sum + bytes - entries * ENTRY_OVERHEAD_BYTES, 0);
  }

  /** What its partitions will take in memory, as far as the archive tells; of a part of the keys only what `measure` found. */
  sizes(): readonly SourcePartition[] {
    return this.#options.prefix.length > 0 ? this.#measured : this.sizesMax();
  }

  /** What they take with all of their keys. */
  sizesMax(): SourcePartition[] {
    return this.#options.archived.ranges.map(({ partition, digest, contentBytes, chunks, generation }) => {
      const written = chunks.reduce((sum, chunk) => sum + chunk.entries, 0);
      // A key that was written again and again is there once.
      const entries = digest?.entries ?? written;
      const bytes = Math.ceil((written === 0 ? 0 : (contentBytes / written) * entries) + entries * ENTRY_OVERHEAD_BYTES);
      return { partition, bytes, entries, generation: generation.counter };
    });
  }

  /** Reads all of it, to know what a part of the keys takes. Throws as `slices`. */
  async measure(signal: AbortSignal): Promise<void> {
    const measured: SourcePartition[] = [];
    for (const partition of this.partitions) {
      const size = { bytes: 0, entries: 0 };
      for await (const { held } of this.slices(partition, { belongs: (key) => this.owns(key), from: FIRST_HASH })) {
        signal.throwIfAborted();
        size.entries += held.length;
        size.bytes += held.reduce((sum, { key, value }) => sum + key.length + value.length + ENTRY_OVERHEAD_BYTES, 0);
      }
      measured.push({ partition, ...size, generation: this.generationOf(partition)?.counter ?? 1 });
    }
    this.#measured = measured;
  }

  /** Whether a key is among those that are wanted. */
  owns(key: Uint8Array): boolean {
    const { prefix } = this.#options;
    return prefix.length === 0 || prefix.compare(key, 0, Math.min(prefix.length, key.length)) === 0;
  }

  /**
   * What a partition held at the moment, from a hash on and in the order of hashes. What had expired by its own time is left out:
   * nothing brings it back (I7). Throws ARCHIVE_DAMAGED, ARCHIVE_KEY_WRONG, REPOSITORY_*.
   */
  async *slices(partition: number, { belongs, from }: Pick<FoldOptions, 'belongs'> & { readonly from: Hash64 }): AsyncGenerator<HeldSlice, void, undefined> {
    const source = this.#sources.get(partition);
    if (source === undefined) return;
    for await (const { entries, next } of foldPartition({ source, read: this.#options.read, belongs, from, overlayBytesMax: OVERLAY_BYTES_MAX, slice: SLICE })) {
      const held = entries.filter(({ expiresAtMs }) => expiresAtMs === 0 || expiresAtMs > source.timeMs);
      yield { held, expired: entries.length - held.length, next };
    }
  }

  /** Every partition stands still where it is. */
  frozen(): FrozenPartition[] {
    return Array.from({ length: this.spec.partitionCount }, (_, partition) => ({ partition, barrier: this.#place(partition), timeMs: this.#sources.get(partition)?.timeMs ?? 0 }));
  }

  /** The reader has everything, and nothing new will come. */
  still({ partition }: Pick<FollowSourceRequest, 'partition'>): FollowSourceResponse {
    const { atMs } = this.plan;
    const origin = this.#place(partition);
    return { changes: [], origin, stampMs: atMs, nextHigh: undefined, nextLow: undefined, headSeq: origin.seq, headStampMs: atMs, restart: '', check: undefined, sliceBytes: 0, replaced: [], former: undefined, results: false };
  }

  /**
   * What a reader lacks, and behind each sub-range what it must hold then; in the end nothing is left and all of it has been compared.
   * `wallMs`: the wall clock; the reader's time counts where that is ahead of it, since what has expired there is not there any more. Throws INVALID_ARGUMENT, ARCHIVE_DAMAGED, ARCHIVE_KEY_WRONG, REPOSITORY_*.
   */
  async *follow(request: FollowSourceRequest, wallMs: () => number): AsyncGenerator<FollowSourceResponse, void, undefined> {
    const aheadMs = Math.max(0, request.targetTimeMs - wallMs());
    const nowMs = (): number => wallMs() + aheadMs;
    const belongs = this.#ownership(request);
    const source = this.#sources.get(request.partition);
    if (request.partition >= this.spec.partitionCount) throw invalidArgument('partition', `must be below ${this.spec.partitionCount}, is ${request.partition}`);
    const place = this.#place(request.partition);
    const { origin } = request;
    if (origin !== undefined && (origin.generation !== place.generation || origin.seq !== place.seq)) {
      yield { ...this.still(request), origin: undefined, restart: 'WATCH_RESET' };
      return;
    }
    const next = origin === undefined ? FIRST_HASH : hashOfHalves(request.nextHigh, request.nextLow);
    if (source === undefined) {
      yield { ...this.still(request), check: checkOf([], FIRST_HASH, undefined, nowMs()) };
      return;
    }
    // A reader that comes with a place has not compared what it has: that is of each leader anew.
    const isWhole = next !== undefined && next.high === 0 && next.low === 0;
    if (next !== undefined) yield* this.#read(request, { belongs, from: next, isSent: true, isCompared: isWhole, nowMs });
    if (!isWhole) yield* this.#read(request, { belongs, from: FIRST_HASH, isSent: false, isCompared: true, nowMs });
  }

  async *#read(request: FollowSourceRequest, how: Reading): AsyncGenerator<FollowSourceResponse, void, undefined> {
    const { belongs, isSent, isCompared, nowMs } = how;
    let { from } = how;
    for await (const { held, next } of this.slices(request.partition, { belongs, from })) {
      const sliceBytes = isSent ? held.reduce((sum, { key, value }) => sum + key.length + value.length, 0) : 0;
      if (isSent) {
        this.sentBytes += sliceBytes;
        this.sentEntries += held.length;
      }
      yield {
        ...this.still(request),
        changes: isSent ? held.map(({ key, value, expiresAtMs }) => ({ key, value, expiresAtMs, opClient: undefined, opCounter: 0 })) : [],
        nextHigh: isSent ? next?.high : undefined,
        nextLow: isSent ? next?.low : undefined,
        check: isCompared ? checkOf(held, from, next, nowMs()) : undefined,
        sliceBytes,
      };
      from = next ?? from;
    }
  }

  /** The place behind everything. */
  #place(partition: number): CopyOrigin {
    const source = this.#sources.get(partition);
    if (source === undefined) return { generation: 1, epoch: 1, seq: 0 };
    const { upTo } = source;
    return { generation: source.generation, epoch: 1, seq: Math.floor('seq' in upTo ? upTo.seq : upTo.atMs) };
  }

  #ownership(request: FollowSourceRequest): (key: Uint8Array) => boolean {
    const belongs = copyOwnership(request);
    return this.#options.prefix.length === 0 ? belongs : (key) => this.owns(key) && belongs(key);
  }
}

/** All that was held from the end of the slice before it up to `next`. */
export interface HeldSlice {
  /** Views of chunks: valid for as long as they are kept. */
  readonly held: readonly FoldedEntry[];
  /** Entries that had expired. */
  readonly expired: number;
  /** Undefined at the end. */
  readonly next: Hash64 | undefined;
}

interface Reading {
  readonly belongs: (key: Uint8Array) => boolean;
  readonly from: Hash64;
  /** Entries go with it; else the reader has them. */
  readonly isSent: boolean;
  readonly isCompared: boolean;
  readonly nowMs: () => number;
}

function checkOf(held: readonly FoldedEntry[], from: Hash64, to: Hash64 | undefined, nowMs: number): CopyCheck {
  const expiringByMs = nowMs + EXPIRING_MS;
  const tally = new ContentTally();
  for (const { hash, value, expiresAtMs } of held) if (expiresAtMs === 0 || expiresAtMs > expiringByMs) tally.add(hash, value, expiresAtMs);
  return { fromHigh: from.high, fromLow: from.low, toHigh: to?.high, toLow: to?.low, expiringByMs, entries: tally.entries, sumHigh: tally.sum.high, sumLow: tally.sum.low };
}
