// Reads an archive back as a restore would: every chunk of its chain is fetched, hashed, decrypted and unpacked, each partition is folded and
// its digest compared with that of the cut. What is damaged is told by archive, partition and chunk, and whoever has the content
// of a damaged chunk next writes it again.
import type { ArchiveDamage, VerifyResult } from '@atoll/contracts/atoll/v1/backup';
import { ContentTally, checkKey, foldPartition, isSameContent, planRestore, sliceOf, type ArchivedKeyspace, type ArchivedRange, type ChunkRef, type Manifest, type RestoreSource } from '@atoll/core-archive';
import { AtollError, isAtollError } from '@atoll/core-errors';
import { KIB, MIB } from '@atoll/core-runtime';
import { entryVersionHash } from '@atoll/core-store';
import type { Repository } from '@atoll/platform-repository';
import { beginSession } from '../jobs/duty.ts';
import { JobFailed, type JobKind, type JobOutcome, type JobRun } from '../jobs/job-kind.ts';
import { mayPass, patiently } from '../jobs/patience.ts';
import { eachOf } from '../jobs/side-by-side.ts';
import { checkLog } from './check-log.ts';

export interface VerifyAsk {
  readonly bytesOnly: boolean;
}

const DAMAGES_TOLD = 16;
const OVERLAY_BYTES_MAX = 64 * MIB;
const SLICE = { entriesMax: 1000, bytesMax: 256 * KIB };

export class VerifyJob implements JobKind {
  readonly kind = 'VERIFY';
  readonly #partitionsAtOnce: number;

  constructor(options: { readonly partitionsAtOnce: number }) {
    this.#partitionsAtOnce = options.partitionsAtOnce;
  }

  async run(run: JobRun): Promise<JobOutcome> {
    const repository = await patiently(run, () => run.duty.repository());
    const startMs = performance.now();
    await run.enter('READ');
    const check = new Verification(run, repository, run.job.ask as unknown as VerifyAsk, this.#partitionsAtOnce);
    await check.verify(run.job.archive);
    const result: VerifyResult = { ...check.result(), tookMs: performance.now() - startMs };
    const { damages, damagesTotal, chunks, entries, rangesEqual, rangesWithoutDigest } = result;
    if (damagesTotal > 0) {
      const [first] = damages;
      throw new JobFailed(new AtollError('ARCHIVE_DAMAGED', `${run.job.archive}: ${damagesTotal} ${damagesTotal === 1 ? 'damage' : 'damages'}; ${placeText(first!)}: ${first!.problem}`), { ...result });
    }
    const folded = rangesEqual > 0 ? `, ${entries} entries of ${rangesEqual} partitions equal to the cut` : '';
    const missing = rangesWithoutDigest > 0 ? `; ${rangesWithoutDigest} partitions have no digest to compare with` : '';
    return { summary: `${check.isBytesOnly ? 'the bytes of ' : ''}${chunks} chunks are as they were written${folded}${missing}`, result: { ...result } };
  }
}

const placeText = ({ archive, keyspace, partition, chunk }: ArchiveDamage): string =>
  [archive, ...(keyspace === '' ? [] : [keyspace]), ...(partition === undefined ? [] : [`partition ${partition}`]), ...(chunk === '' ? [] : [`chunk ${chunk.slice(0, 12)}`])].join(', ');

type Place = Pick<ArchiveDamage, 'archive'> & Partial<Pick<ArchiveDamage, 'keyspace' | 'partition' | 'chunk'>>;

class Verification {
  readonly isBytesOnly: boolean;
  readonly #run: JobRun;
  readonly #repository: Repository;
  readonly #atOnce: number;
  readonly #damages: ArchiveDamage[] = [];
  #damagesTotal = 0;
  #archives: readonly string[] = [];
  /** Chunks that were looked at, whatever came of it. */
  readonly #seen = new Set<string>();
  #storedBytes = 0;
  #entries = 0;
  #rangesEqual = 0;
  #rangesWithoutDigest = 0;

  constructor(run: JobRun, repository: Repository, { bytesOnly }: VerifyAsk, atOnce: number) {
    this.#run = run;
    this.#repository = repository;
    this.isBytesOnly = bytesOnly;
    this.#atOnce = atOnce;
  }

  result(): Omit<VerifyResult, 'tookMs'> {
    return {
      archives: [...this.#archives],
      chunks: this.#seen.size,
      storedBytes: this.#storedBytes,
      entries: this.#entries,
      rangesEqual: this.#rangesEqual,
      rangesWithoutDigest: this.#rangesWithoutDigest,
      damages: this.#damages,
      damagesTotal: this.#damagesTotal,
    };
  }

  /** @throws ARCHIVE_NOT_FOUND, ARCHIVE_KEY_WRONG, ARCHIVE_TOO_NEW; damage is noted */
  async verify(archive: string): Promise<void> {
    const { meter, duty } = this.#run;
    const chain = await this.#chain(archive);
    this.#archives = chain.map(({ id }) => id);
    // A wrong key is no damage: nothing can be said of the content then.
    if (!this.isBytesOnly) for (const manifest of chain) checkKey(manifest, this.#repository.keys);
    const session = await patiently(this.#run, () => beginSession(duty, this.#repository, { purpose: 'READ', uses: this.#archives, owner: `verify ${this.#run.job.id}` }));
    try {
      const ranges = chain.flatMap(({ keyspaces }) => keyspaces).flatMap((keyspace) => keyspace.ranges);
      meter.bytesTotal = ranges.flatMap(({ chunks }) => chunks).reduce((sum, { plainBytes }) => sum + plainBytes, 0);
      const last = chain.at(-1);
      meter.partitionsTotal = last?.keyspaces.reduce((sum, keyspace) => sum + keyspace.ranges.length, 0) ?? 0;
      if (last !== undefined && !this.isBytesOnly) await this.#fold(last, chain);
      // What no fold came by: behind a damage, or of keyspaces that are no more.
      for (const manifest of chain) for (const { name, ranges: of } of manifest.keyspaces) await eachOf(of, this.#atOnce, (range) => this.#readAll(manifest, name, range));
    } finally {
      await session.leave();
    }
  }

  /** From the FULL on, as far as it can be read. */
  async #chain(archive: string): Promise<readonly Manifest[]> {
    const chain: Manifest[] = [];
    for (let id: string | undefined = archive; id !== undefined && !chain.some((one) => one.id === id); id = chain[0]!.parent) {
      const wanted = id;
      try {
        chain.unshift(await patiently(this.#run, () => this.#repository.readManifest(wanted)));
      } catch (error) {
        const isMissing = isAtollError(error) && error.reason === 'ARCHIVE_NOT_FOUND';
        if (isMissing && wanted === archive) throw error;
        if (isMissing) this.#note({ archive: wanted }, 'MISSING', `its manifest is not there, and ${chain[0]!.id} goes on from it`);
        else this.#noteError({ archive: wanted }, error);
        break;
      }
    }
    return chain;
  }

  async #fold(last: Manifest, chain: readonly Manifest[]): Promise<void> {
    if (last.kind === 'LOG') return;
    if (last.barriers.length === 0) return this.#note({ archive: last.id }, 'MALFORMED', 'it has no barrier: nobody knows its moment');
    for (const keyspace of last.keyspaces) {
      let sources: readonly RestoreSource[];
      try {
        sources = planRestore({ manifests: chain, archive: last.id, keyspace: keyspace.name, targetPartitions: 1 }).groups.flatMap((group) => group.sources);
      } catch (error) {
        // Where a manifest is damaged that was told already.
        if (isAtollError(error) && error.reason === 'ARCHIVE_NOT_FOUND' && chain[0]!.parent === undefined) this.#note({ archive: last.id, keyspace: keyspace.name }, 'MALFORMED', error.message);
        else if (chain[0]!.parent === undefined) throw error;
        continue;
      }
      await eachOf(sources, this.#atOnce, (source) => this.#foldPartition(last, keyspace, source));
    }
  }

  async #foldPartition(last: Manifest, { name, ranges }: ArchivedKeyspace, source: RestoreSource): Promise<void> {
    const { partition } = source;
    const { digest, versions } = ranges.find((range) => range.partition === partition)!;
    const tally = new ContentTally();
    const versionTally = new ContentTally();
    let at: Place = { archive: last.id, keyspace: name, partition };
    try {
      const read = (step: RestoreSource['steps'][number]): Promise<Buffer> => {
        at = { archive: step.archive, keyspace: name, partition, chunk: step.chunk.id };
        return this.#content(step.chunk);
      };
      for await (const { entries } of foldPartition({ source, read, belongs: () => true, overlayBytesMax: OVERLAY_BYTES_MAX, slice: SLICE })) {
        for (const { hash, value, expiresAtMs, version } of entries) {
          tally.add(hash, value, expiresAtMs);
          versionTally.addHash(entryVersionHash(hash, version, expiresAtMs));
        }
      }
    } catch (error) {
      await this.#noteChunk(at, error);
      return;
    }
    this.#run.meter.partitionsDone += 1;
    this.#entries += tally.entries;
    this.#run.meter.entries = this.#entries;
    const held = digest ?? versions;
    if (held === undefined) this.#rangesWithoutDigest += 1;
    else if ((digest === undefined || isSameContent(tally, digest)) && (versions === undefined || isSameContent(versionTally, versions))) this.#rangesEqual += 1;
    else this.#note({ archive: last.id, keyspace: name, partition }, 'DIGEST', `its ${tally.entries} entries are not the ${held.entries} that the partition held`);
  }

  async #readAll(manifest: Manifest, keyspace: string, range: ArchivedRange): Promise<void> {
    const at: Place = { archive: manifest.id, keyspace, partition: range.partition };
    for (const chunk of range.chunks) {
      if (this.#seen.has(chunk.id)) continue;
      try {
        const content = await this.#content(chunk);
        if (manifest.kind === 'LOG' && !this.isBytesOnly) checkLog(chunk, content);
      } catch (error) {
        await this.#noteChunk({ ...at, chunk: chunk.id }, error);
      }
    }
    const strangers = range.barriers.filter(({ id, seq }) => !manifest.barriers.some((barrier) => barrier.id === id) || seq > range.upTo.seq);
    if (strangers.length > 0) this.#note(at, 'MALFORMED', `it speaks of the barrier ${strangers[0]!.id}, which is not there`);
    const gap = range.chunks.find(({ log }, index) => log !== undefined && range.chunks[index - 1]?.log !== undefined && log.firstSeq !== range.chunks[index - 1]!.log!.lastSeq + 1);
    if (manifest.kind === 'LOG' && gap !== undefined) this.#note({ ...at, chunk: gap.id }, 'MALFORMED', `it begins at seq ${gap.log!.firstSeq}, and what is before it ends elsewhere`);
  }

  async #content(chunk: ChunkRef): Promise<Buffer> {
    const isNew = !this.#seen.has(chunk.id);
    this.#seen.add(chunk.id);
    if (isNew) this.#storedBytes += chunk.storedBytes;
    const content = await patiently(this.#run, async () => {
      if (!this.isBytesOnly) return this.#repository.readChunk(chunk);
      await this.#repository.checkChunk(chunk);
      return { kind: chunk.kind, plain: Buffer.alloc(0) };
    });
    if (isNew) this.#run.meter.bytesDone += chunk.plainBytes;
    if (content.kind !== chunk.kind) throw new AtollError('ARCHIVE_DAMAGED', `chunk ${chunk.id}: is ${content.kind}, and the manifest says ${chunk.kind}`, { metadata: { object: `chunk ${chunk.id}`, damage: 'MALFORMED' } });
    return this.isBytesOnly ? content.plain : sliceOf(content.plain, chunk);
  }

  async #noteChunk(at: Place, error: unknown): Promise<void> {
    this.#noteError(at, error);
    const { chunk } = at;
    // A repository that takes no writes keeps nobody from hearing of the damage.
    if (chunk !== undefined) await this.#repository.markSuspect(chunk).catch(() => undefined);
  }

  /** What is no damage is thrown. */
  #noteError(at: Place, error: unknown): void {
    if (!isAtollError(error) || error.reason !== 'ARCHIVE_DAMAGED' || mayPass(error)) throw error;
    this.#note(at, error.metadata['damage'] ?? 'ALTERED', error.message);
  }

  #note({ archive, keyspace = '', partition, chunk = '' }: Place, damage: string, problem: string): void {
    this.#damagesTotal += 1;
    if (this.#damages.length < DAMAGES_TOLD) this.#damages.push({ archive, keyspace, partition, chunk, damage, problem: problem.slice(0, 200) });
  }
}
