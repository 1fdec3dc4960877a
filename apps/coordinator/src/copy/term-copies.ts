// The copies of keyspaces of one term (R37). The nodes do the work by the record of the keyspace that is filled; here jobs are
// kept, asked after, and brought to their end.
import type { Migration, PartitionMigration } from '@atoll/contracts/atoll/v1/migration';
import { AtollError, isAtollError } from '@atoll/core-errors';
import type { KeyspaceSpec, VersionedRecord, WriteRecord } from '@atoll/core-membership';
import { abortCutOver, beginCutOver, commandCopy, frozenForNothing, hasCopyEnded, refusalOfCutOver, retiredBy, withFrozen, withPlacesTaken, type CopyExtent, type CopyJob, type JobCommand } from '@atoll/core-migration';
import { sourcePartitionsOf } from '@atoll/core-placement';
import { randomHex, type Random } from '@atoll/core-runtime';
import type { ClusterView, Comparison, GuardedMetadataStore } from '@atoll/platform-etcd';
import type { Logger, Telemetry } from '@atoll/platform-telemetry';
import type { KeyspaceStore } from '../adapters/keyspace-store.ts';
import type { Events } from '../events.ts';
import type { Failpoints } from '../migration/failpoints.ts';
import { toCopiedPartition, toCopyMigration } from './copy-messages.ts';
import { CopySpans } from './copy-spans.ts';
import { CopyStore } from './copy-store.ts';
import { CopyWatch } from './copy-watch.ts';
import { CutOverElsewhere } from './cut-over-elsewhere.ts';
import { CutOverRun } from './cut-over-run.ts';
import { CutOverSpan } from './cut-over-spans.ts';
import { FreezeCalls } from './freeze-calls.ts';
import { HoldCalls } from './hold-calls.ts';
import { KeyspaceFreezes } from './keyspace-freezes.ts';
import { SourceHolds } from './source-holds.ts';
import { toStandbyPairs } from './standby-messages.ts';
import { PoolStandbys } from './pool-standbys.ts';
import { Standbys } from './standbys.ts';
import type { CoordinatorMetrics } from '../coordinator-metrics.ts';

/** Longest call to a leader that is asked to stand still, in ms. */
const FREEZE_CALL_MS_MAX = 250;

export interface TermCopiesOptions {
  readonly store: GuardedMetadataStore;
  readonly election: Comparison;
  readonly view: ClusterView;
  readonly keyspaces: KeyspaceStore;
  /** Longest call to a node, in ms. */
  readonly nodeCallMs: number;
  /** See COORDINATOR_FENCE_AFTER_MS. */
  readonly fenceAfterMs: number;
  readonly wallMs: () => number;
  /** Monotonic. */
  readonly nowMs: () => number;
  readonly random: Random;
  readonly events: Events;
  readonly metrics: Pick<CoordinatorMetrics, 'migration'>;
  readonly telemetry: Pick<Telemetry, 'tracing'>;
  readonly logger: Logger;
  readonly failpoints: Failpoints | undefined;
  /** Writes records, tells those whom they concern, and waits until the view shows them. What was refused is left out. */
  readonly writeRecords: (records: readonly WriteRecord[]) => Promise<void>;
  /** Whether no write of this record whose answer was lost can be carried out any more (R7). */
  readonly isSettled: (versioned: VersionedRecord) => boolean;
  /** There may be something new to decide, at once or in so many ms. */
  readonly onNews: (inMs?: number) => void;
}

export class TermCopies {
  readonly store: CopyStore;
  readonly #options: TermCopiesOptions;
  readonly #watch: CopyWatch;
  readonly #spans: CopySpans;
  /** Keyspaces that operators have frozen. */
  readonly freezes: KeyspaceFreezes;
  /** Keyspaces that stand still for other clusters. */
  readonly holds: SourceHolds;
  /** Copies that are kept as standbys. */
  readonly standbys: Standbys;
  readonly #freezeCalls: FreezeCalls;
  readonly #holdCalls = new HoldCalls();
  /** Cut-overs that were asked for in this term, by the id that the job names. */
  readonly #runs = new Map<string, CutOverRun | CutOverElsewhere>();

  constructor(options: TermCopiesOptions) {
    const { store, election, nodeCallMs, logger } = options;
    this.#options = options;
    this.#spans = new CopySpans(options.telemetry.tracing);
    this.store = new CopyStore({ store, election });
    this.#watch = new CopyWatch({ deadlineMs: nodeCallMs, onProblem: (node, err) => logger.debug({ node, err }, 'a node does not say how far its copies are') });
    this.#freezeCalls = new FreezeCalls({ deadlineMs: Math.min(nodeCallMs, FREEZE_CALL_MS_MAX), onProblem: (address, problem) => logger.debug({ address, problem }, 'partitions of a source do not stand still yet') });
    this.freezes = new KeyspaceFreezes({ ...options, freezes: this.#freezeCalls });
    const refresh = (job: CopyJob): Promise<void> => this.#watch.refresh(new Set(this.#leadersOf(job)), options.view.nodes(), FREEZE_CALL_MS_MAX);
    const pairsOf = (job: CopyJob) => this.#partitionsOf(job).flatMap((partition) => toStandbyPairs(job, this.#sourceCountOf(job), partition));
    const pools = new PoolStandbys({
      ...options,
      freezes: this.#freezeCalls,
      answering: (nodes, deadlineMs) => this.#watch.answering(nodes, options.view.nodes(), deadlineMs),
      pairsNow: (job) => refresh(job).then(() => pairsOf(job)),
    });
    this.standbys = new Standbys({
      ...options,
      pools,
      store: this.store,
      calls: this.#holdCalls,
      describe: (id) => this.describe(id)?.migration,
      pairsOf,
      refresh,
      onPromoted: (job, former) => this.#promoted(job, former),
    });
    this.holds = new SourceHolds({ ...options, freezes: this.#freezeCalls, cutOverOf: (spec) => this.#cutOverWithin(spec) });
  }

  /** What holds the writes of a keyspace back for some moments, for people; undefined when nothing does. */
  cutOverOf(spec: KeyspaceSpec): string | undefined {
    return this.holds.has(spec) ? 'a cut-over to another cluster' : this.#cutOverWithin(spec);
  }

  #cutOverWithin({ id }: KeyspaceSpec): string | undefined {
    const job = this.store.active().find(({ state, cluster, sourceId }) => state === 'CUTTING_OVER' && cluster === undefined && sourceId === id);
    return job && `the cut-over of migration ${job.id}`;
  }

  /** Throws as CopyStore.create. The nodes begin as soon as the keyspace is placed. */
  async begin(job: CopyJob, target: KeyspaceSpec): Promise<void> {
    const traceparent = this.#spans.asked(job);
    const begun = { ...job, traceparent };
    await this.store.create(begun, traceparent === '' || target.copyOf === undefined ? target : { ...target, copyOf: { ...target.copyOf, traceparent } });
    this.#options.events.copyBegan(begun);
    this.#options.onNews();
  }

  /** Throws MIGRATION_CONFLICT where the state of the job does not allow it, and as CopyStore.update. */
  async command(id: string, asked: JobCommand): Promise<void> {
    const former = this.store.job(id);
    const changed = await this.store.update(id, (job) => {
      const next = commandCopy(job, asked);
      if ('refusal' in next) throw new AtollError('MIGRATION_CONFLICT', `id: ${next.refusal}`, { metadata: { field: 'id', migration: id } });
      return next;
    });
    const run = this.#runs.get(former?.cutOver?.id ?? '');
    if (changed.state === 'CANCELLING' && run !== undefined) {
      this.#runs.delete(run.id);
      run.giveUp(changed, '');
    }
    this.#options.onNews();
  }

  /**
   * Begins a cut-over, unless it is under way or done. `step` carries it out. Throws CUT_OVER_REFUSED with what lacks,
   * MIGRATION_CONFLICT where the state of the job does not allow it, and as CopyStore.update.
   */
  async cutOver(id: string, maxPauseMs: number): Promise<void> {
    const { random, telemetry, wallMs, events } = this.#options;
    const job = this.store.job(id);
    if (job === undefined) throw new AtollError('MIGRATION_CONFLICT', `id: migration ${id} is no copy, and only a copy is cut over`, { metadata: { field: 'id', migration: id } });
    if (job.state === 'CUTTING_OVER' || job.state === 'SUCCEEDED') return;
    const cutOver = { id: randomHex(random, 8), maxPauseMs };
    const begin = (stored: CopyJob): CopyJob => {
      const next = beginCutOver(stored, cutOver);
      if ('refusal' in next) throw new AtollError('MIGRATION_CONFLICT', `id: ${next.refusal}`, { metadata: { field: 'id', migration: id } });
      return next;
    };
    begin(job);
    const extent = this.#requireReady(job);
    const span = new CutOverSpan(telemetry.tracing, wallMs, job);
    const run = job.cluster === undefined ? this.#run({ id: cutOver.id, extent, span }) : this.#runElsewhere({ id: cutOver.id, extent, span });
    await run.connect(job).catch((error: unknown) => {
      if (!isAtollError(error)) throw error;
      throw new AtollError(error.reason, `id: ${job.target} cannot take the place of ${job.source} now: ${error.message}`, { metadata: { ...error.metadata, field: 'id', migration: id }, cause: error });
    });
    this.#runs.set(cutOver.id, run);
    try {
      const begun = await this.store.update(id, begin);
      if (begun.cutOver?.id !== cutOver.id) this.#runs.delete(cutOver.id);
      else if (begun.state === 'CUTTING_OVER') events.cutOverBegan(begun);
    } catch (error) {
      this.#runs.delete(cutOver.id);
      throw error;
    }
    this.#options.onNews();
  }

  /** Has to succeed before anything that rests on who leads the partitions of a source (R7, R37). */
  settle(): Promise<void> {
    return this.store.settle();
  }

  /** The keyspaces as decisions may rest on them, however old what was read of them is. */
  withPlacesTaken(keyspaces: ReadonlyMap<string, KeyspaceSpec>): ReadonlyMap<string, KeyspaceSpec> {
    return withPlacesTaken(keyspaces, this.store.jobs());
  }

  /** The copy that a keyspace is part of, as source, as target, or as that whose place is taken. */
  copyWith(keyspace: KeyspaceSpec): CopyJob | undefined {
    return this.store.active().find((job) => keyspace.id === retiredBy(job)?.id || keyspace.id === job.targetId);
  }

  /** Asks how far copies are, and ends those that are to end. To be called after a round of decisions. Throws METADATA_UNAVAILABLE, METADATA_CONFLICT. */
  async step(nowMs: number): Promise<void> {
    const { view } = this.#options;
    await this.store.refresh();
    const jobs = this.store.jobs().filter((job) => !hasCopyEnded(job) || job.sourceRemains === true);
    const isUrgent = jobs.some(({ state }) => state === 'CUTTING_OVER');
    this.#watch.tick(new Set(jobs.flatMap((job) => this.#leadersOf(job))), view.nodes(), nowMs, isUrgent);
    for (const job of jobs) if (job.state === 'CUTTING_OVER') await this.#cutOver(job);
    await this.holds.step();
    await this.freezes.step();
    await this.#thaw();
    await this.standbys.step(nowMs);
    for (const job of jobs) {
      if (job.state === 'CANCELLING') await this.#cancel(job);
      if (job.sourceRemains === true) await this.#removeSource(job);
    }
  }

  #leadersOf({ target }: CopyJob): string[] {
    return this.#options.view.partitions(target).flatMap(({ record }) => record.leader?.node ?? []);
  }

  /** Throws CUT_OVER_REFUSED. */
  #requireReady(job: CopyJob): CopyExtent {
    const copy = this.describe(job.id)!.migration;
    const { following, lagMs, comparedEntries, differing } = copy.copy!;
    const refusal = refusalOfCutOver({ isFollowing: following, partitions: job.partitionCount, following: copy.partitionsDone, lagMs, comparedEntries, differing });
    if (refusal === undefined) return { comparedEntries: comparedEntries!, bytes: copy.bytes, entries: copy.entries };
    throw new AtollError('CUT_OVER_REFUSED', `id: ${job.target} cannot take the place of ${job.source} now: ${refusal}`, { metadata: { field: 'id', migration: job.id } });
  }

  #run(options: { readonly id: string; readonly extent: CopyExtent; readonly span: CutOverSpan }): CutOverRun {
    const { view, random, nowMs, wallMs, writeRecords, isSettled, onNews } = this.#options;
    return new CutOverRun(
      {
        view,
        random,
        nowMs,
        wallMs,
        store: this.store,
        freezes: this.#freezeCalls,
        statuses: (node, keyspaceId, partition) => this.#watch.of(node, keyspaceId, partition),
        refreshStatuses: (job) => this.#watch.refresh(new Set(this.#leadersOf(job)), view.nodes(), FREEZE_CALL_MS_MAX),
        write: writeRecords,
        isSettled,
        isTaken: ({ sourceId }) => this.holds.has({ id: sourceId }),
        isHeld: ({ source }) => this.#options.failpoints?.holdsCutOver(source, 'before') === true,
        wake: onNews,
      },
      options,
    );
  }

  #runElsewhere(options: { readonly id: string; readonly extent: CopyExtent | undefined; readonly span: CutOverSpan }): CutOverElsewhere {
    const { view, nowMs, wallMs, onNews, failpoints } = this.#options;
    return new CutOverElsewhere(
      {
        view,
        nowMs,
        wallMs,
        store: this.store,
        calls: this.#holdCalls,
        statuses: (node, keyspaceId, partition) => this.#watch.of(node, keyspaceId, partition),
        isHeld: ({ source }) => failpoints?.holdsCutOver(source, 'before') === true,
        isHeldBehind: ({ source }) => failpoints?.holdsCutOver(source, 'after') === true,
        wake: onNews,
      },
      options,
    );
  }

  /** Where it is not known how a cut-over ended that another coordinator began, the other cluster is asked. */
  #taken(job: CopyJob): CutOverElsewhere {
    const { telemetry, wallMs } = this.#options;
    const { id } = job.cutOver!;
    const run = this.#runElsewhere({ id, extent: undefined, span: new CutOverSpan(telemetry.tracing, wallMs, job) });
    this.#runs.set(id, run);
    return run;
  }

  /**
   * One that another coordinator began is given up: how long writes have waited already is not known (R37). But for one that
   * another cluster was asked to end.
   */
  async #cutOver(job: CopyJob): Promise<void> {
    const { events, metrics } = this.#options;
    const { id } = job.cutOver!;
    const run = this.#runs.get(id) ?? (job.cutOver!.hold === undefined ? undefined : this.#taken(job));
    const problem = run === undefined ? 'another coordinator was elected meanwhile' : await run.step(job);
    const now = problem === undefined ? this.store.job(job.id)! : await this.store.update(job.id, (stored) => abortCutOver(stored, id, problem));
    if (now.state === 'CUTTING_OVER') return;
    this.#runs.delete(id);
    run?.span.ended(problem ?? '', { 'atoll.pause_ms': now.pauseMsMax ?? 0 });
    if (now.state === 'RUNNING') return events.cutOverGivenUp(now);
    if (now.state !== 'SUCCEEDED') return;
    metrics.migration.cutOver(now.pausesMs ?? []);
    events.copyEnded(now);
    this.#spans.ended(now);
    this.#options.onNews();
  }

  /**
   * Has writes taken again wherever a record says FROZEN for no cut-over that is under way: whoever gave it up, and whatever
   * was written late (R7). Never of a source whose place was taken, nor of a keyspace that is frozen itself, however old the
   * view is.
   */
  async #thaw(): Promise<void> {
    const { view, random, writeRecords } = this.#options;
    const left = frozenForNothing({ jobs: this.store.jobs(), holds: this.holds.ids(), keyspaces: view.keyspaces(), recordsOf: (name) => view.partitions(name) });
    const frozen = left.length === 0 ? left : await this.freezes.withoutWish(left);
    if (frozen.length > 0) await writeRecords(frozen.map((versioned) => withFrozen(versioned, undefined, random)));
  }

  /** A cut-over that was under way is not gone on with: the primary has been declared stopped in the middle of it. */
  #promoted(job: CopyJob, former: CopyJob): void {
    this.#runs.get(former.cutOver?.id ?? '')?.span.ended('promoted without the primary', {});
    this.#runs.delete(former.cutOver?.id ?? '');
    this.#options.events.standbyPromoted(job);
    this.#spans.ended(job);
    this.#options.onNews();
  }

  /** By the usual deletion, once nobody follows it any more. */
  async #removeSource(job: CopyJob): Promise<void> {
    const { keyspaces, view, onNews, failpoints } = this.#options;
    const { name, id } = retiredBy(job)!;
    if (keyspaces.deletions().includes(name) || failpoints?.holdsCutOver(job.source, 'after') === true) return;
    if ((await keyspaces.idOf(name)) !== id) {
      await this.store.update(job.id, (stored) => ({ ...stored, sourceRemains: false }));
      return this.store.prune();
    }
    const isThere = view.keyspace(job.target)?.id === job.targetId;
    const isFollowed = isThere && job.cluster === undefined && this.#partitionsOf(job).some(({ leader, statuses }) => !this.#watch.hasAnswered(leader) || statuses.length > 0);
    if (isFollowed) return;
    await keyspaces.markDeleted(name);
    onNews();
  }

  /** The job with its partitions as they stand; undefined when there is none. */
  describe(id: string): { readonly migration: Migration; readonly partitions: PartitionMigration[] } | undefined {
    const job = this.store.job(id);
    if (job === undefined) return undefined;
    const partitions = hasCopyEnded(job) ? [] : this.#partitionsOf(job);
    const described = partitions.map((partition) => toCopiedPartition(job, partition));
    const restarts = partitions.flatMap(({ statuses }) => statuses).reduce((total, status) => total + status.restarts, 0);
    return { migration: toCopyMigration(job, described, restarts, this.#problemOf(job)), partitions: described };
  }

  end(): void {
    this.#freezeCalls.close();
    this.#holdCalls.close();
    this.#watch.close();
  }

  #partitionsOf(job: CopyJob) {
    const { view } = this.#options;
    const sourceCount = this.#sourceCountOf(job);
    const leaderOf = (keyspace: string, partition: number): string | undefined => view.partition(keyspace, partition)?.record.leader?.node;
    return Array.from({ length: job.partitionCount }, (_, partition) => {
      const from = sourceCount === 0 ? undefined : sourcePartitionsOf(partition, { sourceCount, targetCount: job.partitionCount, tokens: job.tokens });
      const leader = leaderOf(job.target, partition);
      const sourceLeaders = job.cluster === undefined ? (from ?? []).flatMap((source) => leaderOf(job.source, source) ?? []) : [];
      return { partition, leader, sourceLeaders, sources: from?.length, statuses: this.#watch.of(leader, job.targetId, partition) };
    });
  }

  #sourceCountOf({ cluster, source }: CopyJob): number {
    return cluster?.partitionCount ?? this.#options.view.partitions(source).length;
  }

  #problemOf(job: CopyJob): string {
    if (hasCopyEnded(job)) return '';
    const run = this.#runs.get(job.cutOver?.id ?? '');
    if (job.cluster !== undefined) return run instanceof CutOverElsewhere ? run.problem : '';
    const source = this.#options.view.keyspace(job.source);
    return source?.id === job.sourceId ? '' : `keyspace ${job.source} is gone: nothing more can be copied from it`;
  }

  /** Removes what the job made: marks it first, and waits, round by round, until it is gone. */
  async #cancel(job: CopyJob): Promise<void> {
    const { keyspaces, wallMs, events } = this.#options;
    if (keyspaces.deletions().includes(job.target)) return;
    const present = await keyspaces.idOf(job.target);
    if (present === job.targetId) {
      await keyspaces.markDeleted(job.target);
      return this.#options.onNews();
    }
    if (job.isStandby === true && job.cluster === undefined) await this.#standsAlone(job);
    const ended = await this.store.update(job.id, (stored) => (stored.state === 'CANCELLING' ? { ...stored, state: 'CANCELLED', endedMs: wallMs() } : stored));
    events.copyEnded(ended);
    this.#spans.ended(ended);
    await this.store.prune();
  }

  /** Its primary has no standby any more, and goes on without etcd for as long as it takes (R12). */
  async #standsAlone({ source, sourceId, target }: CopyJob): Promise<void> {
    const { keyspaces } = this.#options;
    if ((await keyspaces.specOf(source))?.id !== sourceId) return;
    await keyspaces.update(source, (spec) => (spec.id === sourceId && spec.standby === target ? { ...spec, standby: undefined } : spec));
  }
}
