// Entries of an archive go into a keyspace that is served meanwhile (docs/design/restore.md): partition by partition of the archive, each
// slice to the leaders of its keys, which decide of every entry as they write it. A place is kept when all before it is committed, so
// whoever goes on repeats some, and what is repeated changes nothing.
import { ENTRY_OVERHEAD_BYTES, type FoldedEntry } from '@atoll/core-archive';
import { partitionOfToken, tokenOfKey } from '@atoll/core-placement';
import { FIRST_HASH } from '@atoll/core-store';
import type { ByteRate } from '@atoll/platform-grpc';
import type { JobRun } from '../../jobs/job-kind.ts';
import { patiently } from '../../jobs/patience.ts';
import { sideBySide } from '../../jobs/side-by-side.ts';
import type { ArchiveSource } from '../archive-source.ts';
import type { MergeLeaders } from './merge-leaders.ts';
import type { MergeCounts, MergePiece, MergeProgress } from './merge-progress.ts';

/** Partitions of the archive that are read side by side; each has one slice under way. */
const PARTITIONS_AT_ONCE = 4;

export interface KeyspaceMergeOptions {
  readonly run: Pick<JobRun, 'signal' | 'waitsFor'>;
  readonly source: ArchiveSource;
  readonly leaders: MergeLeaders;
  /** Of the target. */
  readonly partitionCount: number;
  /** It is the keyspace that was archived: versions tell which entry is newer. */
  readonly isArchived: boolean;
  readonly rate: ByteRate;
}

export class KeyspaceMerge {
  readonly #options: KeyspaceMergeOptions;

  constructor(options: KeyspaceMergeOptions) {
    this.#options = options;
  }

  /** Goes on until everything came to an end. `onMoved`: with keys and values of what did. Throws as `MergeLeaders.merge`, ARCHIVE_*. */
  async run(progress: MergeProgress, onMoved: (bytes: number, entries: number) => void): Promise<void> {
    const { run, source, rate } = this.#options;
    const { partitions } = source;
    let isFailed = false;
    const goOn = async ({ index, from: begin }: MergePiece): Promise<void> => {
      const partition = partitions[index]!;
      let from = begin;
      // The repository may be away: it is read again from where it was.
      await patiently(run, async () => {
        for await (const { held, expired, next } of this.#slices(partition, from)) {
          if (isFailed) return;
          const counts = await this.#send(partition, held, false);
          progress.advance(index, next, { ...counts, expired: counts.expired + expired });
          from = next ?? from;
          const bytes = held.reduce((sum, { key, value }) => sum + key.length + value.length, 0);
          onMoved(bytes, held.length + expired);
          await rate.wait(bytes, run.signal);
        }
      });
    };
    await sideBySide(PARTITIONS_AT_ONCE, () => progress.take(), (piece) =>
      goOn(piece).catch((error: unknown) => {
        isFailed = true;
        throw error;
      }),
    );
  }

  /** Memory that one replica of what would be written takes. Reads all of the archive, and writes nothing. Throws as `run`. */
  async lackingBytes(): Promise<number> {
    const { run, source } = this.#options;
    const left = [...source.partitions];
    let lacking = 0;
    await sideBySide(PARTITIONS_AT_ONCE, () => left.shift(), async (partition) => {
      const own = await patiently(run, async () => {
        let bytes = 0;
        for await (const { held } of this.#slices(partition, FIRST_HASH)) {
          await this.#send(partition, held, true, ({ key, value }) => {
            bytes += key.length + value.length + ENTRY_OVERHEAD_BYTES;
          });
        }
        return bytes;
      });
      lacking += own;
    });
    return lacking;
  }

  #slices(partition: number, from: typeof FIRST_HASH): ReturnType<ArchiveSource['slices']> {
    const { source } = this.#options;
    return source.slices(partition, { belongs: (key) => source.owns(key), from });
  }

  /** `onWritten`: of each that was written, or would be. */
  async #send(archived: number, held: readonly FoldedEntry[], dryRun: boolean, onWritten?: (entry: FoldedEntry) => void): Promise<MergeCounts> {
    const { source, leaders, partitionCount, isArchived } = this.#options;
    const generation = isArchived ? source.generationOf(archived) : undefined;
    const byPartition = Map.groupBy(held, ({ key }) => partitionOfToken(tokenOfKey(key), partitionCount));
    const counts = { written: 0, kept: 0, same: 0, expired: 0 };
    await Promise.all(
      [...byPartition].map(([partition, entries]) =>
        leaders.merge(partition, { entries, generation, dryRun }, (entry, outcome) => {
          counts[outcome] += 1;
          if (outcome === 'written') onWritten?.(entry);
        }),
      ),
    );
    return counts;
  }
}
