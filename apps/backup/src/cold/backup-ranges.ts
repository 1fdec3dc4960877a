// The work of a backup on all of its partitions: rows first, several partitions side by side; the log of those that have their rows
// again and again, so that no node has to keep it for long; after the cut the rest of it.
import { AtollError, isAtollError } from '@atoll/core-errors';
import { MIB } from '@atoll/core-runtime';
import type { ByteRate } from '@atoll/platform-grpc';
import type { JobRun } from '../jobs/job-kind.ts';
import { patiently } from '../jobs/patience.ts';
import { eachOf, sideBySide } from '../jobs/side-by-side.ts';
import { hasRows, type Marker, type RangeJob } from './archived-range.ts';
import type { NodeClients } from './node-clients.ts';
import { readRange, takeLeastBusy } from './read-range.ts';
import type { SavedProgress } from './saved-progress.ts';

/** So much is done again at most, of each partition that is being read, when this process dies. */
const SAVE_BYTES = 32 * MIB;
/** What is read again as soon as its progress is. */
const LITTLE_BYTES = MIB;
/** The log of a partition that has its rows is read so often. */
const REVISIT_MS = 10_000;
/** Log of all partitions that is kept in memory before it goes into a chunk. */
const PENDING_BYTES_MAX = 96 * MIB;
/** A partition whose data is replaced again and again is a cluster in trouble. */
const RESTARTS_MAX = 20;

export interface BackupRangesOptions {
  readonly run: JobRun;
  readonly ranges: readonly RangeJob[];
  readonly clients: NodeClients;
  readonly rate: ByteRate;
  readonly progress: SavedProgress;
  readonly partitionsAtOnce: number;
}

export class BackupRanges {
  readonly #options: BackupRangesOptions;
  readonly #unsaved = new Map<RangeJob, number>();

  constructor(options: BackupRangesOptions) {
    this.#options = options;
  }

  /** Everything but what is written meanwhile. */
  async copy(): Promise<void> {
    const { run, ranges, clients, partitionsAtOnce } = this.#options;
    const waiting = ranges.filter(({ writer }) => !hasRows(writer.place));
    this.#meter();
    await sideBySide(partitionsAtOnce, () => this.#stale() ?? takeLeastBusy(waiting, { view: run.duty.view, clients }), (range) => this.#read(range, undefined));
    run.meter.partitionsDone = ranges.length;
  }

  /** The log that came since, of all partitions: what is left for the cut is little then. */
  async catchUp(): Promise<void> {
    const { ranges, partitionsAtOnce } = this.#options;
    await eachOf(ranges, partitionsAtOnce, (range) => this.#read(range, undefined));
  }

  /** Up to the markers. False: a partition has become another one since the cut, which is void then. */
  async finish(markers: ReadonlyMap<RangeJob, Marker>): Promise<boolean> {
    const { ranges, partitionsAtOnce } = this.#options;
    const left = [...ranges];
    let isVoid = false;
    await sideBySide(
      partitionsAtOnce,
      () => (isVoid ? undefined : left.shift()),
      async (range) => {
        const marker = markers.get(range)!;
        const { place } = range.writer;
        const isOther = place?.generation?.id !== marker.generation.id || !hasRows(place) || !(await this.#read(range, marker));
        if (isOther) isVoid = true;
        else range.marker = marker;
      },
    );
    return !isVoid;
  }

  /** Everything that was read is in chunks then. */
  async flush(): Promise<void> {
    const { ranges, partitionsAtOnce } = this.#options;
    await eachOf(ranges, partitionsAtOnce, (range) => range.writer.flush());
  }

  /** Without a marker until it has come to the end. False: the marker is not to be reached, and the range has to begin anew. */
  async #read(range: RangeJob, upTo: Marker | undefined): Promise<boolean> {
    const { run, clients, rate } = this.#options;
    const { view } = run.duty;
    let hasAll = true;
    // Of another cut, which was void.
    range.versions = undefined;
    await patiently(run, async () => {
      try {
        const end = await readRange({
          range,
          view,
          clients,
          upTo,
          signal: run.signal,
          take: async (message) => {
            const bytes = await range.writer.take(message);
            run.meter.bytesDone += bytes;
            run.meter.entries += message.entries;
            if (message.rows.length > 0) range.bytesLeft = message.bytesLeft;
            this.#meter();
            await rate.wait(bytes, run.signal);
            await this.#saveSome(range, bytes);
          },
        });
        range.readMs = performance.now();
        range.bytesLeft = 0;
        if (end.digest !== undefined) range.versions = { entries: end.digest.entries, sum: { high: end.digest.sumHigh, low: end.digest.sumLow } };
      } catch (error) {
        if (!isAtollError(error) || error.reason !== 'SNAPSHOT_GONE') throw error;
        this.#restart(range, error.message);
        hasAll = upTo === undefined;
        if (hasAll) throw new AtollError('PEER_UNAVAILABLE', `${range.keyspace.name}/${range.partition} is read anew: ${error.message}`);
      }
    });
    if (hasAll && upTo === undefined && this.#unsaved.has(range)) await this.#save(range);
    return hasAll;
  }

  /** An increment whose log is gone becomes a whole one. */
  #restart(range: RangeJob, why: string): void {
    range.restarts += 1;
    if (range.restarts > RESTARTS_MAX) throw new AtollError('PARTITION_UNAVAILABLE', `${range.keyspace.name}/${range.partition} had to be read anew ${RESTARTS_MAX} times: ${why}`);
    this.#options.run.meter.bytesDone -= Math.min(this.#options.run.meter.bytesDone, range.writer.contentBytes);
    range.since = undefined;
    range.writer.restart(undefined);
    range.bytesLeft = undefined;
  }

  /** One that has its rows and whose log was not read for a while. */
  #stale(): RangeJob | undefined {
    const { ranges } = this.#options;
    const dueMs = performance.now() - REVISIT_MS;
    const due = ranges.find((range) => range.readMs > 0 && range.readMs < dueMs && hasRows(range.writer.place));
    // Nobody else takes it meanwhile.
    if (due !== undefined) due.readMs = performance.now();
    return due;
  }

  async #saveSome(range: RangeJob, bytes: number): Promise<void> {
    const unsaved = (this.#unsaved.get(range) ?? 0) + bytes;
    this.#unsaved.set(range, unsaved);
    const pending = this.#options.ranges.reduce((sum, { writer }) => sum + writer.pendingBytes, 0);
    if (unsaved >= SAVE_BYTES || pending > PENDING_BYTES_MAX) await this.#save(range);
  }

  async #save(range: RangeJob): Promise<void> {
    const { run, progress } = this.#options;
    if ((this.#unsaved.get(range) ?? 0) < LITTLE_BYTES) return;
    const saved = await range.writer.flush();
    if (saved !== undefined) await patiently(run, () => progress.save(range, saved));
    this.#unsaved.delete(range);
  }

  #meter(): void {
    const { run, ranges } = this.#options;
    const begun = ranges.filter(({ bytesLeft }) => bytesLeft !== undefined);
    const known = begun.reduce((sum, { bytesLeft, writer }) => sum + bytesLeft! + writer.contentBytes, 0);
    run.meter.partitionsTotal = ranges.length;
    run.meter.partitionsDone = ranges.filter(({ writer }) => hasRows(writer.place)).length;
    run.meter.bytesTotal = begun.length === 0 ? 0 : Math.max(run.meter.bytesDone, (known / begun.length) * ranges.length);
  }
}
