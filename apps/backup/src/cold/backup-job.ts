// A backup as a job: rows of every partition and the log beside them, the cut, the log up to the cut, the manifest.
import { totalsOf, type ArchivedRange, type Manifest } from '@atoll/core-archive';
import { AtollError } from '@atoll/core-errors';
import { resolveKeyspace, type KeyspaceSpec } from '@atoll/core-membership';
import { tokenRangeOf } from '@atoll/core-placement';
import { toPartitionId } from '@atoll/core-runtime';
import { ByteRate } from '@atoll/platform-grpc';
import { VERSION } from '@atoll/platform-lifecycle';
import type { Repository, Session } from '@atoll/platform-repository';
import type { JobDefaults } from '../config.ts';
import { beginSession } from '../jobs/duty.ts';
import type { JobKind, JobOutcome, JobRun } from '../jobs/job-kind.ts';
import { toArchiveInfo } from '../jobs/job-messages.ts';
import { patiently } from '../jobs/patience.ts';
import type { RepositoryAccess } from '../repository/repository-access.ts';
import type { RangeJob } from './archived-range.ts';
import { settingsOf } from './archived-settings.ts';
import type { BackupAsk } from './backup-ask.ts';
import { BackupRanges } from './backup-ranges.ts';
import { takeCut, type Cut } from './cut.ts';
import { freezeAll, requireFrozen, thawAll } from './freezes.ts';
import { NodeClients } from './node-clients.ts';
import { findParent, sinceOf } from './parent.ts';
import { RangeWriter } from './range-writer.ts';
import { SavedProgress } from './saved-progress.ts';

/** A cut that is void is tried again with growing pauses: some minutes in all. */
const CUT_ATTEMPTS_MAX = 60;

export interface BackupJobOptions {
  readonly access: RepositoryAccess;
  readonly defaults: JobDefaults;
}

/** Kept in the record. */
interface Checkpoint {
  /** It has begun: an archive of its name is its own. */
  readonly startedAtMs: number;
  readonly parent?: string | undefined;
  /** OFFLINE: the keyspaces were frozen. */
  readonly isFrozen?: boolean | undefined;
}

interface Figures {
  writtenBytes: number;
  holdMsMax: number;
  cutAttempts: number;
}

export class BackupJobKind implements JobKind {
  readonly kind = 'BACKUP';
  readonly #options: BackupJobOptions;

  constructor(options: BackupJobOptions) {
    this.#options = options;
  }

  async run(run: JobRun): Promise<JobOutcome> {
    const ask = run.job.ask as unknown as BackupAsk;
    const repository = await patiently(run, () => run.duty.repository());
    const begun = await this.#begin(run, repository);
    if ('summary' in begun) return begun;
    const figures: Figures = { writtenBytes: 0, holdMsMax: 0, cutAttempts: 0 };
    const keyspaces = keyspacesOf(run);
    const parent = ask.kind === 'FULL' ? undefined : await patiently(run, () => findParent(repository, { parent: begun.parent ?? ask.parent, clusterId: run.duty.view.clusterId, keyspaces, archive: run.job.archive, unreadable: this.#options.access.unreadable }));
    if (parent !== undefined && begun.parent === undefined) await run.checkpoint({ ...begun, parent: parent.id });
    const session = await patiently(run, () =>
      beginSession(run.duty, repository, { purpose: 'WRITE', archive: run.job.archive, uses: parent === undefined ? [] : [parent.id], owner: `backup ${run.job.id}` }),
    );
    const clients = new NodeClients();
    try {
      const ranges = this.#ranges(run, { repository, session, keyspaces, parent, figures });
      const progress = new SavedProgress(repository, run.job.id);
      await patiently(run, () => resume(run, ranges, progress, session));
      if (ask.offline) {
        await run.enter('FREEZE');
        await this.#freeze(run, begun, keyspaces);
      }
      const cut = await this.#copyAndCut(run, { ranges, clients, progress, figures });
      if (ask.offline) await requireFrozen(run, keyspaces);
      await run.enter('PUBLISH');
      const manifest = this.#manifest(run, { begun, session, keyspaces, parent, ranges, cut });
      await this.#publish(run, session, manifest);
      if (ask.offline) await thawAll(run, keyspaces);
      await progress.remove().catch(() => undefined);
      return outcomeOf(manifest, figures, ranges);
    } finally {
      clients.close();
      await session.leave();
    }
  }

  async takeBack(run: JobRun): Promise<void> {
    const ask = run.job.ask as unknown as BackupAsk;
    const view = run.duty.view;
    if (ask.offline) await thawAll(run, [...view.keyspaces().values()]);
    // A repository that is full or away keeps what nobody asks for: a few small objects.
    const repository = await run.duty.repository().catch(() => undefined);
    if (repository !== undefined) await new SavedProgress(repository, run.job.id).remove().catch(() => undefined);
  }

  /** What it came to, where it was done and only its record could not be written. */
  async #begin(run: JobRun, repository: Repository): Promise<Checkpoint | JobOutcome> {
    const { archive } = run.job;
    const isThere = await patiently(run, () => repository.hasArchive(archive));
    const known = run.job.checkpoint as Partial<Checkpoint>;
    if (known.startedAtMs === undefined) {
      if (isThere) throw new AtollError('BACKUP_JOB_CONFLICT', `archive: there is an archive ${archive} already`, { metadata: { field: 'archive', archive } });
      const begun: Checkpoint = { startedAtMs: Date.now() };
      await patiently(run, () => run.checkpoint({ ...begun }));
      return begun;
    }
    if (!isThere) return { startedAtMs: known.startedAtMs, parent: known.parent, isFrozen: known.isFrozen };
    const ask = run.job.ask as unknown as BackupAsk;
    const manifest = await patiently(run, () => repository.readManifest(archive));
    if (ask.offline) await thawAll(run, keyspacesOf(run));
    await new SavedProgress(repository, run.job.id).remove().catch(() => undefined);
    return outcomeOf(manifest, { writtenBytes: 0, holdMsMax: 0, cutAttempts: 0 }, []);
  }

  /** Once: that they are not frozen any more when the job is taken up was somebody's will. */
  async #freeze(run: JobRun, { isFrozen }: Checkpoint, keyspaces: readonly KeyspaceSpec[]): Promise<void> {
    if (isFrozen === true) return requireFrozen(run, keyspaces);
    await freezeAll(run, keyspaces);
    await patiently(run, () => run.checkpoint({ ...run.job.checkpoint, isFrozen: true }));
  }

  #ranges(run: JobRun, { repository, session, keyspaces, parent, figures }: { repository: Repository; session: Session; keyspaces: readonly KeyspaceSpec[]; parent: Manifest | undefined; figures: Figures }): readonly RangeJob[] {
    const { access, defaults } = this.#options;
    const { compressionLevel } = run.job.ask as unknown as BackupAsk;
    const chunks = { level: compressionLevel ?? defaults.compressionLevel, key: access.key };
    const onWritten = (bytes: number): void => {
      figures.writtenBytes += bytes;
    };
    return keyspaces.flatMap((keyspace) =>
      Array.from({ length: keyspace.partitionCount }, (_, partition): RangeJob => {
        const since = parent && sinceOf(parent, keyspace, partition);
        const writer = new RangeWriter({ codec: repository.codec, put: (chunk) => patiently(run, () => session.putChunk(chunk)), chunks, isIncrement: since !== undefined, onWritten });
        if (since !== undefined) writer.restart({ generation: since.generation, position: since.position, nextHigh: undefined, nextLow: undefined });
        return { keyspace, partition, writer, since, bytesLeft: undefined, readMs: 0, marker: undefined, versions: undefined, restarts: 0 };
      }),
    );
  }

  async #copyAndCut(run: JobRun, { ranges, clients, progress, figures }: { ranges: readonly RangeJob[]; clients: NodeClients; progress: SavedProgress; figures: Figures }): Promise<Cut> {
    const { defaults } = this.#options;
    const { bytesPerSecond } = run.job.ask as unknown as BackupAsk;
    const rate = new ByteRate(bytesPerSecond === 0 ? defaults.bytesPerSecond : bytesPerSecond, performance.now());
    const work = new BackupRanges({ run, ranges, clients, rate, progress, partitionsAtOnce: defaults.partitionsAtOnce });
    for (;;) {
      await run.enter('COPY');
      await work.copy();
      await work.catchUp();
      await run.enter('CUT');
      const cut = await this.#cut(run, { ranges, clients, figures });
      if (!(await work.finish(cut.markers))) continue;
      await work.flush();
      return cut;
    }
  }

  async #cut(run: JobRun, { ranges, clients, figures }: { ranges: readonly RangeJob[]; clients: NodeClients; figures: Figures }): Promise<Cut> {
    const { barrierHoldMs } = this.#options.defaults;
    let attempts = 0;
    return patiently(run, async () => {
      attempts += 1;
      figures.cutAttempts += 1;
      const cut = await takeCut({ ranges, view: run.duty.view, clients, holdMs: barrierHoldMs, signal: run.signal });
      if ('problem' in cut) throw new AtollError(attempts < CUT_ATTEMPTS_MAX ? 'PARTITION_UNAVAILABLE' : 'CUT_NOT_REACHED', `no cut in ${attempts} attempts: ${cut.problem}`);
      figures.holdMsMax = Math.max(figures.holdMsMax, cut.holdMs);
      return cut;
    });
  }

  #manifest(run: JobRun, { begun, session, keyspaces, parent, ranges, cut }: { begun: Checkpoint; session: Session; keyspaces: readonly KeyspaceSpec[]; parent: Manifest | undefined; ranges: readonly RangeJob[]; cut: Cut }): Manifest {
    return {
      id: run.job.archive,
      kind: parent === undefined ? 'FULL' : 'INCREMENTAL',
      clusterId: run.duty.view.clusterId,
      parent: parent?.id,
      session: session.id,
      writtenBy: VERSION,
      startedAtMs: begun.startedAtMs,
      finishedAtMs: Math.max(begun.startedAtMs, Date.now()),
      barriers: [{ id: cut.id, atMs: cut.atMs }],
      keyId: this.#options.access.key?.id,
      keyspaces: keyspaces.map((keyspace) => ({
        name: keyspace.name,
        id: keyspace.id,
        partitionCount: keyspace.partitionCount,
        settings: settingsOf(keyspace),
        ranges: ranges.filter((range) => range.keyspace === keyspace).map((range) => toArchivedRange(range)),
      })),
    };
  }

  /** The answer may be lost: whether the archive is there tells what became of it. */
  async #publish(run: JobRun, session: Session, manifest: Manifest): Promise<void> {
    const { access } = this.#options;
    let isSent = false;
    await patiently(run, async () => {
      if (isSent && (await run.duty.repository().then((repository) => repository.hasArchive(manifest.id)))) return;
      isSent = true;
      await session.publish(manifest, access.key);
    });
  }
}

/** Of those that are asked for; of all, those that are no copies in the making and were not moved away. */
function keyspacesOf(run: JobRun): readonly KeyspaceSpec[] {
  const all = run.duty.view.keyspaces();
  if (run.job.keyspaces.length === 0) return [...all.values()].filter(({ copyOf, freeze, movedTo }) => copyOf === undefined && freeze?.movedTo === undefined && movedTo === undefined).sort((a, b) => (a.name < b.name ? -1 : 1));
  const found = run.job.keyspaces.map((name) => {
    const keyspace = resolveKeyspace(all, name);
    if (keyspace === undefined) throw new AtollError('KEYSPACE_NOT_FOUND', `keyspaces: there is no keyspace ${name}`, { metadata: { field: 'keyspaces', keyspace: name } });
    if (keyspace.copyOf !== undefined) throw new AtollError('KEYSPACE_COPYING', `keyspaces: ${name} is being copied from ${keyspace.copyOf.keyspace}`, { metadata: { field: 'keyspaces', keyspace: name } });
    return keyspace;
  });
  return [...new Set(found)];
}

async function resume(run: JobRun, ranges: readonly RangeJob[], progress: SavedProgress, session: Session): Promise<void> {
  run.meter.bytesDone = 0;
  run.meter.entries = 0;
  for (const range of ranges) {
    const saved = await progress.load(range, session);
    if (saved === undefined) continue;
    range.writer.adopt(saved);
    range.bytesLeft = 0;
    run.meter.bytesDone += saved.contentBytes;
    run.meter.entries += saved.entries;
    // It may have become whole.
    if (!saved.isIncrement) range.since = undefined;
  }
}

function toArchivedRange({ keyspace, partition, writer, since, marker, versions }: RangeJob): ArchivedRange {
  const { position, generation, stampMs } = marker!;
  return {
    partition,
    tokens: tokenRangeOf(toPartitionId(partition), keyspace.partitionCount),
    generation: { counter: generation.counter, id: generation.id },
    after: since?.position,
    upTo: { epoch: position.epoch, seq: position.seq },
    firstMs: Math.min(writer.firstMs || stampMs, stampMs),
    lastMs: stampMs,
    contentBytes: writer.contentBytes,
    digest: writer.digest,
    versions,
    barriers: [],
    chunks: writer.chunks,
  };
}

function outcomeOf(manifest: Manifest, { writtenBytes, holdMsMax, cutAttempts }: Figures, ranges: readonly RangeJob[]): JobOutcome {
  const { entries, deletes, storedBytes } = totalsOf(manifest);
  const wholeCount = manifest.kind === 'INCREMENTAL' ? manifest.keyspaces.reduce((sum, keyspace) => sum + keyspace.ranges.filter(({ after }) => after === undefined).length, 0) : 0;
  const whole = wholeCount > 0 ? `; ${wholeCount} partitions were read whole` : '';
  const info = toArchiveInfo(manifest);
  return {
    summary: `${manifest.id}: ${entries} entries${deletes > 0 ? `, ${deletes} deletes` : ''} of ${ranges.length || info.keyspaces.reduce((sum, { partitions }) => sum + partitions, 0)} partitions in ${storedBytes} bytes${whole}`,
    // Names of many keyspaces would not fit into the record: they are told with the archive.
    result: { archive: { ...info, keyspaces: [] }, writtenBytes, holdMsMax: Math.round(holdMsMax * 10) / 10, cutAttempts, tookMs: Math.max(0, manifest.finishedAtMs - manifest.startedAtMs), partitionsWhole: wholeCount },
  };
}

