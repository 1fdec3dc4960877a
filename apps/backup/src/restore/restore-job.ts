// A restore: the backup service serves an archive as a source of COPY, the cluster fills keyspaces from it as from another cluster, and when
// all of them are there and equal they are cut over one by one. docs/design/restore.md has the story.
//
//   PLAN      which archives lead to the moment; keyspaces of the same name are looked at, and held still
//   FILL      one migration per keyspace; nothing that was there is touched
//   CUT_OVER  each takes writes, and the name that it is to have
import type { RestoreResult } from '@atoll/contracts/atoll/v1/backup';
import { MigrationState } from '@atoll/contracts/atoll/v1/migration';
import { AtollError } from '@atoll/core-errors';
import type { Repository, Session } from '@atoll/platform-repository';
import { beginSession } from '../jobs/duty.ts';
import type { JobKind, JobOutcome, JobRun } from '../jobs/job-kind.ts';
import { patiently } from '../jobs/patience.ts';
import { ArchiveSource } from './archive-source.ts';
import type { ArchiveSources } from './archive-sources.ts';
import { keyspacesOf, planOf, readChain, type ArchiveAsk, type ArchiveChain } from './archive-chain.ts';
import { ChunkCache } from './chunk-cache.ts';
import { ClusterCalls, mayPassInCluster } from '../jobs/cluster-calls.ts';
import type { RestoreAsk } from './restore-ask.ts';
import { cancelPart, cutOver, migrationOf, migrationRequest, newPart, requireEmpty, sourceNameOf, untilFilled, type PartRun, type RestorePart } from './restore-parts.ts';

export interface RestoreJobOptions {
  readonly sources: ArchiveSources;
  /** host:port under which nodes and coordinators reach this service. */
  readonly address: () => string;
  /** Chunks that are kept for who reads them next. */
  readonly cacheBytes: number;
}

/** `checkpoint` of the job. */
interface RestoreNotes {
  /** Fixed with the first plan, so that it is the same whoever goes on. */
  readonly archive: string;
  readonly atMs?: number | undefined;
  readonly parts: readonly RestorePart[];
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
      const chain = await patiently(run, () => readChain(repository, wanted));
      const named = run.job.keyspaces.length > 0 ? run.job.keyspaces : keyspacesOf(chain).map(({ name }) => name);
      const plans = new Map(named.map((name) => [name, planOf(repository, chain, wanted, name)]));
      const archives = [...new Set([...plans.values()].flatMap((plan) => plan.archives))];
      session = await patiently(run, () => beginSession(run.duty, repository, { purpose: 'READ', uses: archives, owner: `restore ${run.job.id}` }));
      let { parts } = notes;
      if (parts === undefined) {
        const fresh: RestorePart[] = [];
        for (const name of named) fresh.push(await patiently(run, () => newPart(calls, run.job.id, name, ask), { isPassing: mayPassInCluster }));
        parts = fresh;
        await patiently(run, () => run.checkpoint({ archive: chain.archive, ...(wanted.atMs !== undefined && { atMs: wanted.atMs }), parts: fresh }));
      }
      work = new RestoreRun({ run, calls, ask, repository, chain, wanted, parts, archives, ...this.#options });
      return await work.do();
    } finally {
      work?.end();
      calls.close();
      await session?.leave();
    }
  }

  async takeBack(run: JobRun): Promise<void> {
    const { parts = [] } = run.job.checkpoint as unknown as Partial<RestoreNotes>;
    const calls = new ClusterCalls(run.duty.view, run.signal);
    const stays: string[] = [];
    try {
      for (const [index, part] of parts.entries()) {
        const isGone = await cancelPart(run, calls, migrationOf(run.job.id, index, part.attempt));
        if (!isGone) stays.push(part.keyspace);
        else if (part.isFrozen && calls.keyspace(part.takesPlaceOf)?.freeze !== undefined) await patiently(run, () => calls.unfreeze(part.takesPlaceOf), { isPassing: mayPassInCluster });
      }
    } finally {
      calls.close();
    }
    if (stays.length > 0) throw new AtollError('MIGRATION_CONFLICT', `${stays.join(', ')} took writes already: delete what is not wanted`);
  }
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
}

/** A restore in the hands of this process. */
class RestoreRun {
  readonly #options: RestoreRunOptions;
  readonly #served: readonly ArchiveSource[];
  /** Of each part, partitions that have everything, and how many there are. */
  readonly #partitions = new Map<number, { readonly done: number; readonly total: number }>();
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
    this.#served.forEach((source) => sources.offer(source));
  }

  async do(): Promise<JobOutcome> {
    const { run, calls, chain, archives } = this.#options;
    const indices = [...this.#parts.keys()];
    run.meter.bytesTotal = this.#served.reduce((sum, source) => sum + source.contentBytes, 0);
    for (const index of indices) await this.#begin(index);
    await run.enter('FILL');
    await Promise.all(indices.map((index) => untilFilled(this.#partRun(index))));
    await run.enter('CUT_OVER');
    for (const index of indices) await this.#cutOver(index, calls);
    this.#measure();
    const plans = this.#served.map(({ plan }) => plan);
    const result: RestoreResult = {
      archives: [...archives],
      atMs: Math.max(...plans.map(({ atMs }) => atMs)),
      keyspaces: this.#parts.map(({ source, keyspace, name, entries, comparedEntries, partitions }) => ({ source, keyspace, name, entries, comparedEntries, partitions })),
      tookMs: Date.now() - run.job.startedMs,
    };
    const names = this.#parts.map(({ name, keyspace }) => (name === keyspace ? name : `${name} (${keyspace})`));
    const entries = this.#parts.reduce((sum, part) => sum + part.entries, 0);
    return { summary: `restored ${names.join(', ')} from ${chain.archive}, as of ${new Date(result.atMs).toISOString()}: ${entries} entries, all compared`, result: { ...result } };
  }

  end(): void {
    for (const source of this.#served) this.#options.sources.withdraw(source);
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
    };
  }

  #measure(): void {
    const { meter } = this.#options.run;
    meter.bytesDone = this.#served.reduce((sum, { sentBytes }) => sum + sentBytes, 0);
    meter.entries = this.#served.reduce((sum, { sentEntries }) => sum + sentEntries, 0);
    meter.partitionsDone = [...this.#partitions.values()].reduce((sum, { done }) => sum + done, 0);
    meter.partitionsTotal = [...this.#partitions.values()].reduce((sum, { total }) => sum + total, 0);
  }

  async #note(index: number, changes: Partial<RestorePart>): Promise<void> {
    const { run } = this.#options;
    this.#parts = this.#parts.map((part, at) => (at === index ? { ...part, ...changes } : part));
    await patiently(run, () => run.checkpoint({ ...run.job.checkpoint, parts: this.#parts }));
  }
}
