// A restore: the backup service serves an archive as a source of COPY, the cluster fills keyspaces from it as from another cluster, and when
// all of them are there and equal they are cut over one by one. docs/design/restore.md has the story.
//
//   PLAN      which archives lead to the moment; keyspaces of the same name are looked at, and held still
//   FILL      one migration per keyspace; nothing that was there is touched
//   MERGE     into keyspaces that are there and are kept, entries are written beside those of clients (KEEP_NEWER)
//   CUT_OVER  each that was filled takes writes, and the name that it is to have
import type { RestoreResult } from '@atoll/contracts/atoll/v1/backup';
import { MigrationState } from '@atoll/contracts/atoll/v1/migration';
import { AtollError } from '@atoll/core-errors';
import { poolOf } from '@atoll/core-membership';
import { lackOfRoom } from '@atoll/core-migration';
import type { Repository, Session } from '@atoll/platform-repository';
import { beginSession } from '../jobs/duty.ts';
import type { JobKind, JobOutcome, JobRun } from '../jobs/job-kind.ts';
import { patiently } from '../jobs/patience.ts';
import { ArchiveSource } from './archive-source.ts';
import type { ArchiveSources } from './archive-sources.ts';
import { keyspacesOf, planOf, readChain, type ArchiveAsk, type ArchiveChain } from './archive-chain.ts';
import { ChunkCache } from './chunk-cache.ts';
import { ClusterCalls, mayPassInCluster } from '../jobs/cluster-calls.ts';
import type { UnreadableManifests } from '../repository/unreadable-manifests.ts';
import { MergeParts, fenceOff, leftBehind, mergeText, toRestoredKeyspace } from './merge/merge-parts.ts';
import { memoryOfNodes } from './merge/merge-target.ts';
import type { RestoreAsk } from './restore-ask.ts';
import { cancelPart, cutOver, migrationOf, migrationRequest, newPart, requireEmpty, sourceNameOf, untilFilled, type PartRun, type RestorePart } from './restore-parts.ts';

export interface RestoreJobOptions {
  readonly sources: ArchiveSources;
  /** host:port under which nodes and coordinators reach this service. */
  readonly address: () => string;
  /** Chunks that are kept for who reads them next. */
  readonly cacheBytes: number;
  /** Takes note of manifests that cannot be read, which keep no others from being restored. */
  readonly unreadable: Pick<UnreadableManifests, 'note'>;
}

/** `checkpoint` of the job. */
interface RestoreNotes {
  /** Fixed with the first plan, so that it is the same whoever goes on. */
  readonly archive: string;
  readonly atMs?: number | undefined;
  readonly parts: readonly RestorePart[];
  /** Entries may have been sent to keyspaces that are kept. */
  readonly isMerging?: boolean | undefined;
}

export class RestoreJob implements JobKind {
  readonly kind = 'RESTORE';
  readonly #options: RestoreJobOptions;

  constructor(options: RestoreJobOptions) {
    this.#options = options;
  }

  async run(run: JobRun): Promise<JobOutcome> {
    const repository = await patiently(run, () => run.duty.repository());
    const calls = new ClusterCalls(run.duty.view, run.signal);
    const ask = run.job.ask as unknown as RestoreAsk;
    await run.enter('PLAN');
    let session: Session | undefined;
    let work: RestoreRun | undefined;
    try {
      const notes = run.job.checkpoint as unknown as Partial<RestoreNotes>;
      const wanted: ArchiveAsk = { archive: notes.archive ?? run.job.archive, atMs: notes.atMs ?? ask.atMs, exact: ask.exact };
      const chain = await patiently(run, () => readChain(repository, wanted, this.#options.unreadable));
      const named = run.job.keyspaces.length > 0 ? run.job.keyspaces : keyspacesOf(chain).map(({ name }) => name);
      const plans = new Map(named.map((name) => [name, planOf(repository, chain, wanted, name)]));
      const archives = [...new Set([...plans.values()].flatMap((plan) => plan.archives))];
      session = await patiently(run, () => beginSession(run.duty, repository, { purpose: 'READ', uses: archives, owner: `restore ${run.job.id}` }));
      let { parts } = notes;
      if (parts === undefined) {
        const fresh: RestorePart[] = [];
        const ids = archivedIds(chain, run.duty.view.clusterId);
        for (const source of named) fresh.push(await patiently(run, () => newPart(calls, run.job.id, { source, archivedId: ids.get(source) }, ask), { isPassing: mayPassInCluster }));
        parts = fresh;
        await patiently(run, () => run.checkpoint({ archive: chain.archive, ...(wanted.atMs !== undefined && { atMs: wanted.atMs }), parts: fresh }));
      }
      work = new RestoreRun({ run, calls, ask, repository, chain, wanted, parts, archives, isFresh: notes.parts === undefined, ...this.#options });
      return await work.do();
    } finally {
      await work?.end();
      calls.close();
      await session?.leave();
    }
  }

  async takeBack(run: JobRun): Promise<void> {
    const { parts = [], isMerging } = run.job.checkpoint as unknown as Partial<RestoreNotes>;
    const left = leftBehind(parts, Date.now() - run.job.startedMs);
    if (left !== undefined) run.leaves(left);
    const calls = new ClusterCalls(run.duty.view, run.signal);
    const stays: string[] = [];
    try {
      for (const [index, part] of parts.entries()) {
        if (part.merge !== undefined) continue;
        const isGone = await cancelPart(run, calls, migrationOf(run.job.id, index, part.attempt));
        if (!isGone) stays.push(part.keyspace);
        else if (part.isFrozen && calls.keyspace(part.takesPlaceOf)?.freeze !== undefined) await patiently(run, () => calls.unfreeze(part.takesPlaceOf), { isPassing: mayPassInCluster });
      }
      if (isMerging === true) await fenceOff(run, parts);
    } finally {
      calls.close();
    }
    if (stays.length > 0) throw new AtollError('MIGRATION_CONFLICT', `${stays.join(', ')} took writes already: delete what is not wanted`);
  }
}

/** Of the keyspaces in the archive, where it is of this cluster: by their names in it. */
function archivedIds({ archive, manifests }: ArchiveChain, clusterId: string): ReadonlyMap<string, string> {
  const manifest = manifests.find(({ id }) => id === archive);
  return new Map(manifest?.clusterId === clusterId ? manifest.keyspaces.map(({ name, id }) => [name, id]) : []);
}

interface RestoreRunOptions extends RestoreJobOptions {
  readonly run: JobRun;
  readonly calls: ClusterCalls;
  readonly ask: RestoreAsk;
  readonly repository: Repository;
  readonly chain: ArchiveChain;
  readonly wanted: ArchiveAsk;
  readonly parts: readonly RestorePart[];
  readonly archives: readonly string[];
  /** Nothing was begun yet. */
  readonly isFresh: boolean;
}

/** A restore in the hands of this process. */
class RestoreRun {
  readonly #options: RestoreRunOptions;
  readonly #served: readonly ArchiveSource[];
  /** Of each part, partitions that have everything, and how many there are. */
  readonly #partitions = new Map<number, { readonly done: number; readonly total: number }>();
  readonly #merges: MergeParts;
  /** Keys and values, and entries, of the archive that were merged. */
  #merged = { bytes: 0, entries: 0 };
  #parts: readonly RestorePart[];

  constructor(options: RestoreRunOptions) {
    const { repository, chain, wanted, parts, cacheBytes, run, sources, ask } = options;
    this.#options = options;
    this.#parts = parts;
    const cache = new ChunkCache({ bytesMax: cacheBytes, read: async (chunk) => (await repository.readChunk(chunk)).plain });
    const archived = keyspacesOf(chain);
    this.#served = parts.map(
      ({ source }, index) =>
        new ArchiveSource({
          id: `${run.job.id}.${index}`,
          name: sourceNameOf(run.job.id, index),
          title: `${chain.archive}/${source}`,
          archived: archived.find(({ name }) => name === source)!,
          plan: planOf(repository, chain, wanted, source),
          prefix: Buffer.from(ask.prefix, 'base64'),
          read: ({ chunk }, next) => cache.take(chunk, next?.chunk),
        }),
    );
    for (const [index, source] of this.#served.entries()) if (parts[index]!.merge === undefined) sources.offer(source);
    this.#merged = { bytes: 0, entries: parts.reduce((sum, { merge }) => sum + (merge?.notes.counts.reduce((all, count) => all + count, 0) ?? 0), 0) };
    this.#merges = new MergeParts({
      run,
      parts: parts.flatMap((part, index) => (part.merge === undefined ? [] : [{ index, part, merge: part.merge, source: this.#served[index]! }])),
      bytesPerSecond: ask.bytesPerSecond,
      note: (index, changes) => this.#keep(index, changes),
      onMoved: (bytes, entries) => {
        this.#merged = { bytes: this.#merged.bytes + bytes, entries: this.#merged.entries + entries };
        this.#measure();
      },
    });
  }

  async do(): Promise<JobOutcome> {
    const { run, calls, chain, archives, isFresh } = this.#options;
    const indices = [...this.#parts.keys()].filter((index) => this.#parts[index]!.merge === undefined);
    run.meter.bytesTotal = this.#served.reduce((sum, source) => sum + source.contentBytes, 0);
    if (isFresh) {
      await this.#merges.requireRoom();
      await this.#measurePrefix(indices);
    }
    for (const index of indices) await this.#begin(index);
    if (indices.length > 0) {
      await run.enter('FILL');
      await Promise.all(indices.map((index) => untilFilled(this.#partRun(index))));
    }
    if (indices.length < this.#parts.length) {
      await patiently(run, () => run.checkpoint({ ...run.job.checkpoint, isMerging: true }));
      await run.enter('MERGE');
      this.#measure();
      await this.#merges.do();
    }
    if (indices.length > 0) await run.enter('CUT_OVER');
    for (const index of indices) await this.#cutOver(index, calls);
    this.#measure();
    const plans = this.#served.map(({ plan }) => plan);
    const result: RestoreResult = {
      archives: [...archives],
      atMs: Math.max(...plans.map(({ atMs }) => atMs)),
      keyspaces: this.#parts.map(toRestoredKeyspace),
      tookMs: Math.max(0, Date.now() - run.job.startedMs),
    };
    const as = `from ${chain.archive}, as of ${new Date(result.atMs).toISOString()}`;
    const made = this.#parts.filter(({ merge }) => merge === undefined);
    const names = made.map(({ name, keyspace }) => (name === keyspace ? name : `${name} (${keyspace})`));
    const entries = made.reduce((sum, part) => sum + part.entries, 0);
    const texts = [
      ...(made.length > 0 ? [`restored ${names.join(', ')} ${as}: ${entries} entries, all compared`] : []),
      ...(made.length < this.#parts.length ? [`merged ${as}: ${this.#parts.filter(({ merge }) => merge !== undefined).map(mergeText).join('; ')}`] : []),
    ];
    return { summary: texts.join('; '), result: { ...result } };
  }

  /** In whatever way it ended. */
  async end(): Promise<void> {
    for (const source of this.#served) this.#options.sources.withdraw(source);
    // Also where it was cancelled: it is told what was written.
    await this.#merges.end();
  }

  /** What a part of the keys takes is not known before it is read: it is, where all of them would not fit. */
  async #measurePrefix(indices: readonly number[]): Promise<void> {
    const { run, ask } = this.#options;
    if (ask.prefix === '') return;
    for (const index of indices) {
      const source = this.#served[index]!;
      const memory = await memoryOfNodes(run.duty.view, poolOf(source.spec), run.signal);
      const bytes = source.sizesMax().reduce((sum, size) => sum + size.bytes, 0);
      if (lackOfRoom({ bytes, replicationFactor: ask.replicationFactor || source.spec.replicationFactor, memory }) === undefined) continue;
      await run.enter('MEASURE');
      await patiently(run, () => source.measure(run.signal));
    }
  }

  /** Has the migration run, and the keyspace whose place is taken stand still where it has to be empty. */
  async #begin(index: number): Promise<void> {
    const { run, calls, ask, address } = this.#options;
    const { isDone, takesPlaceOf } = this.#parts[index]!;
    if (isDone) return;
    if (takesPlaceOf !== '' && ask.policy === 'FAIL') await this.#freeze(index);
    const isPassing = mayPassInCluster;
    const found = await patiently(run, () => calls.get(this.#migration(index)), { isPassing });
    const { state, copy } = found?.migration ?? {};
    const isMine = copy?.sourceRouters.includes(address()) === true || state === MigrationState.MIGRATION_STATE_SUCCEEDED;
    if (found?.migration !== undefined && isMine) return;
    if (found?.migration !== undefined) {
      // It was filled by a service that is at another address: nobody serves that any more.
      await cancelPart(run, calls, this.#migration(index));
      await this.#note(index, { attempt: this.#parts[index]!.attempt + 1 });
    }
    await patiently(run, () => calls.start(migrationRequest(this.#migration(index), this.#served[index]!.name, [address()], this.#parts[index]!, ask)), { isPassing });
  }

  /** Told before it is done: whoever takes it back knows. One that an operator froze stays his. */
  async #freeze(index: number): Promise<void> {
    const { run, calls, ask } = this.#options;
    const { takesPlaceOf, isFrozen } = this.#parts[index]!;
    const isPassing = mayPassInCluster;
    if (!isFrozen && calls.keyspace(takesPlaceOf)?.freeze === undefined) await this.#note(index, { isFrozen: true });
    await patiently(run, () => calls.freeze(takesPlaceOf, `restore ${run.job.id}`), { isPassing });
    if (ask.policy === 'FAIL') await patiently(run, () => requireEmpty(calls, takesPlaceOf), { isPassing });
  }

  async #cutOver(index: number, calls: ClusterCalls): Promise<void> {
    const { ask, run } = this.#options;
    if (this.#parts[index]!.isDone) return;
    const found = await patiently(run, () => calls.get(this.#migration(index)), { isPassing: mayPassInCluster });
    const isOver = found?.migration?.state === MigrationState.MIGRATION_STATE_SUCCEEDED;
    if (!isOver && this.#parts[index]!.takesPlaceOf !== '' && ask.policy === 'REPLACE') await this.#freeze(index);
    const { entries, partitionsTotal, copy } = await cutOver(this.#partRun(index));
    await this.#note(index, { isDone: true, entries, partitions: partitionsTotal, comparedEntries: copy?.comparedEntries ?? 0 });
  }

  #migration(index: number): string {
    return migrationOf(this.#options.run.job.id, index, this.#parts[index]!.attempt);
  }

  #partRun(index: number): PartRun {
    const { run, calls } = this.#options;
    return {
      run,
      calls,
      migration: this.#migration(index),
      failure: () => this.#served[index]!.failure,
      onSeen: ({ partitionsDone, partitionsTotal }) => {
        this.#partitions.set(index, { done: partitionsDone, total: partitionsTotal });
        this.#measure();
      },
      memory: () => memoryOfNodes(run.duty.view, poolOf(this.#served[index]!.spec), run.signal),
    };
  }

  #measure(): void {
    const { meter } = this.#options.run;
    const merged = this.#merges.partitions;
    meter.bytesDone = this.#served.reduce((sum, { sentBytes }) => sum + sentBytes, this.#merged.bytes);
    meter.entries = this.#served.reduce((sum, { sentEntries }) => sum + sentEntries, this.#merged.entries);
    meter.partitionsDone = [...this.#partitions.values()].reduce((sum, { done }) => sum + done, merged.done);
    meter.partitionsTotal = [...this.#partitions.values()].reduce((sum, { total }) => sum + total, merged.total);
  }

  async #note(index: number, changes: Partial<RestorePart>): Promise<void> {
    await patiently(this.#options.run, () => this.#keep(index, changes));
  }

  /** Throws METADATA_*; it is kept with the next one then. */
  async #keep(index: number, changes: Partial<RestorePart>): Promise<void> {
    const { run } = this.#options;
    this.#parts = this.#parts.map((part, at) => (at === index ? { ...part, ...changes } : part));
    await run.checkpoint({ ...run.job.checkpoint, parts: this.#parts });
  }
}
