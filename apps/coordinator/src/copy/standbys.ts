// Copies that are kept as standbys of keyspaces of another cluster, and become keyspaces of their own: with the primary, by a
// cut-over, or without it, by the word of an operator. In the latter case the primary does not know, and is told as soon as it
// can be reached.
import { setTimeout as pause } from 'node:timers/promises';
import type { Migration } from '@atoll/contracts/atoll/v1/migration';
import type { StandbyStatus } from '@atoll/contracts/atoll/v1/standby';
import { AtollError, isAtollError } from '@atoll/core-errors';
import type { KeyspaceSpec } from '@atoll/core-membership';
import { hasCopyEnded, promoteAlone, refusalOfPromotion, timeOfPrimary, type CopyJob, type StandbyPair } from '@atoll/core-migration';
import { randomHex, type Random } from '@atoll/core-runtime';
import type { ClusterView } from '@atoll/platform-etcd';
import type { Events } from '../events.ts';
import type { CopyStore } from './copy-store.ts';
import type { HoldCalls } from './hold-calls.ts';
import { toStandbyStatus } from './standby-messages.ts';

/** Longest question whether the primary answers, in ms. A router itself waits a second for its leaders. */
const SURVEY_MS = 1500;
/** For how long a promotion waits until the former primary was told, in ms. */
const TELL_MS_MAX = 1000;
/** Between two tries to tell a former primary that it is none any more, in ms. */
const FENCE_EVERY_MS = 5000;
/** A write to etcd whose answer is lost is done again so often. */
const ATTEMPTS_MAX = 5;

export interface StandbysOptions {
  readonly store: CopyStore;
  readonly view: ClusterView;
  readonly calls: HoldCalls;
  readonly random: Random;
  readonly wallMs: () => number;
  /** As it stands; undefined when there is no such job. */
  readonly describe: (id: string) => Migration | undefined;
  /** What the leaders of the standby last said. */
  readonly pairsOf: (job: CopyJob) => readonly StandbyPair[];
  /** Asks them anew; resolves when they have answered, or do not. */
  readonly refresh: (job: CopyJob) => Promise<void>;
  readonly onPromoted: (job: CopyJob, former: CopyJob) => void;
  readonly events: Pick<Events, 'primaryFenced'>;
}

/** Of another cluster: for callers of this one they would mean this very coordinator. */
const AWAY: ReadonlySet<string> = new Set(['PEER_UNAVAILABLE', 'DEADLINE_EXCEEDED', 'NOT_COORDINATOR']);

/** What of a primary answers. */
export interface PrimarySurvey {
  readonly answers: boolean;
  /** Every partition of the keyspace has a leader that answers. */
  readonly isWhole: boolean;
}

export class Standbys {
  readonly #options: StandbysOptions;
  #fencedMs = -Infinity;
  #isFencing = false;

  constructor(options: StandbysOptions) {
    this.#options = options;
  }

  /** In order of keyspace; what was promoted for as long as nothing else became of it. */
  jobs(): readonly CopyJob[] {
    return this.#options.store.jobs().filter((job) => this.#isStandby(job)).sort((a, b) => (a.target < b.target ? -1 : 1));
  }

  all(): readonly StandbyStatus[] {
    return this.jobs().map(({ id }) => this.status(id));
  }

  /** By its name here, or at its primary. Throws STANDBY_NOT_FOUND. */
  require(keyspace: string): CopyJob {
    const jobs = this.jobs();
    const job = jobs.find(({ target }) => target === keyspace) ?? jobs.find(({ source }) => source === keyspace);
    if (job === undefined) throw new AtollError('STANDBY_NOT_FOUND', `keyspace: ${JSON.stringify(keyspace.slice(0, 80))} is no standby of this cluster`, { metadata: { field: 'keyspace', keyspace: keyspace.slice(0, 80) } });
    return job;
  }

  /** `pairs`: of a promotion that was just made. */
  status(id: string, pairs?: readonly StandbyPair[]): StandbyStatus {
    return toStandbyStatus(this.#options.store.job(id)!, this.#options.describe(id)!, pairs);
  }

  /** Whether the primary can be reached; within SURVEY_MS. */
  async survey({ cluster, source, sourceId }: CopyJob): Promise<PrimarySurvey> {
    const told = await this.#options.calls.survey(cluster!.routers, source, SURVEY_MS);
    const own = told.filter(({ clusterId, keyspaceId }) => clusterId === cluster!.id && keyspaceId === sourceId);
    return { answers: own.length > 0, isWhole: own.some(({ partitions }) => partitions.length === cluster!.partitionCount) };
  }

  /**
   * Has a standby take writes at what it has. `isThere`: the primary's routers answer, and it is told first. Answers what it
   * had. Throws CUT_OVER_REFUSED, METADATA_CONFLICT, METADATA_UNAVAILABLE.
   */
  async promoteAlone(job: CopyJob, { acceptsIncomplete, isThere }: { readonly acceptsIncomplete: boolean; readonly isThere: boolean }): Promise<readonly StandbyPair[]> {
    const { store, random, wallMs, refresh, pairsOf, describe, onPromoted } = this.#options;
    await refresh(job);
    const pairs = pairsOf(job);
    const { bytes = 0, entries = 0 } = describe(job.id) ?? {};
    const refusal = refusalOfPromotion(job, pairs, acceptsIncomplete);
    if (refusal !== undefined) throw new AtollError('CUT_OVER_REFUSED', `keyspace: ${refusal}`, { metadata: { field: 'keyspace', keyspace: job.target } });
    // Of its routers some may be silent: it is told later then.
    const isFenced = isThere && (await Promise.race([this.#tell(job).then(() => true, ignoreAway), pause(TELL_MS_MAX, false, { ref: false })]));
    const cutOver = { job: job.id, id: `promotion-${randomHex(random, 8)}`, timeMs: timeOfPrimary(pairs), from: { cluster: job.cluster!.id, keyspaceId: job.sourceId } };
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
      const written = await store.promote(job.id, (stored) => promoteAlone(stored, pairs, { atMs: wallMs(), isFenced, extent: { bytes, entries } }), (spec, revision) => withSourceName({ ...spec, copyOf: undefined, cutOver: { ...cutOver, fencesBelow: revision + 1 } }, job));
      if (!hasCopyEnded(written)) continue;
      if (written.state !== 'SUCCEEDED') break;
      onPromoted(written, job);
      return pairs;
    }
    throw new AtollError('METADATA_CONFLICT', `the promotion of ${job.target} could not be written; it may have been cancelled, or another coordinator elected`);
  }

  /** Tells a former primary that it is none any more, and writes that down. Throws what its routers say. */
  async fence(job: CopyJob): Promise<void> {
    const { store, events } = this.#options;
    if (job.promotion === undefined || job.promotion.isFenced) return;
    if (!this.#isStill(job)) throw new AtollError('MIGRATION_CONFLICT', `keyspace: ${job.target} is not served here any more`, { metadata: { field: 'keyspace', keyspace: job.target } });
    await this.#tell(job);
    const fenced = await store.update(job.id, (stored) => (stored.promotion === undefined ? stored : { ...stored, promotion: { ...stored.promotion, isFenced: true } }));
    events.primaryFenced(fenced);
  }

  /** Goes on with telling former primaries. Does not wait. */
  step(nowMs: number): void {
    const due = this.jobs().filter(({ promotion }) => promotion?.isFenced === false);
    if (due.length === 0 || this.#isFencing || nowMs - this.#fencedMs < FENCE_EVERY_MS) return;
    this.#fencedMs = nowMs;
    this.#isFencing = true;
    void Promise.all(due.map((job) => this.fence(job).catch(ignoreAway))).finally(() => (this.#isFencing = false));
  }

  async #tell({ cluster, source, sourceId, target }: CopyJob): Promise<void> {
    const { calls, view } = this.#options;
    try {
      await calls.fence(cluster!.routers, { clusterId: cluster!.id, keyspace: source, keyspaceId: sourceId, toClusterId: view.clusterId, toKeyspace: target });
    } catch (error) {
      if (!isAtollError(error) || !AWAY.has(error.reason)) throw error;
      throw new AtollError('SOURCE_UNREACHABLE', `cluster ${cluster!.id} does not answer: ${error.message}`, { cause: error });
    }
  }

  #isStandby(job: CopyJob): boolean {
    return job.isStandby === true && job.cluster !== undefined && (!hasCopyEnded(job) || (job.state === 'SUCCEEDED' && this.#isStill(job)));
  }

  /** Nobody else has the keyspace since this job promoted it: only then may its former primary be told so. */
  #isStill({ id, target, targetId }: CopyJob): boolean {
    const spec = this.#options.view.keyspace(target);
    return spec?.id === targetId && spec.copyOf === undefined && spec.freeze?.movedTo === undefined && (spec.cutOver === undefined || spec.cutOver.job === id);
  }
}

/** Clients go on under the name that the keyspace had at its primary: it is an alias where the standby has another one. */
export const withSourceName = (spec: KeyspaceSpec, { source, isStandby }: CopyJob): KeyspaceSpec =>
  isStandby !== true || source === spec.name || spec.aliases?.includes(source) === true ? spec : { ...spec, aliases: [source, ...(spec.aliases ?? [])] };

/** It is tried again. */
function ignoreAway(error: unknown): false {
  if (!isAtollError(error)) throw error;
  return false;
}
