// Copies that are kept as standbys of keyspaces of another cluster, or of another pool of this one (pool-standbys.ts), and become
// keyspaces of their own: with the primary, by a cut-over, or without it, by the word of an operator. In the latter case a primary
// of another cluster does not know, and is told as soon as it can be reached.
import { setTimeout as pause } from 'node:timers/promises';
import type { Migration } from '@atoll/contracts/atoll/v1/migration';
import type { StandbyStatus } from '@atoll/contracts/atoll/v1/standby';
import { AtollError, isAtollError } from '@atoll/core-errors';
import { poolOf, resolveKeyspace, type KeyspaceSpec } from '@atoll/core-membership';
import { hasCopyEnded, promoteAlone, refusalOfPromotion, takePlace, timeOfPrimary, type CopyJob, type StandbyPair } from '@atoll/core-migration';
import { randomHex, type Random } from '@atoll/core-runtime';
import type { ClusterView } from '@atoll/platform-etcd';
import type { Events } from '../events.ts';
import type { CopyStore, Opening } from './copy-store.ts';
import type { HoldCalls } from './hold-calls.ts';
import type { PoolStandbys } from './pool-standbys.ts';
import { toStandbyStatus } from './standby-messages.ts';

/** Longest question whether the primary answers, in ms. A router itself waits a second for its leaders. */
export const SURVEY_MS = 1500;
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
  /** Those of this cluster. */
  readonly pools: PoolStandbys;
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

  get pools(): PoolStandbys {
    return this.#options.pools;
  }

  /** In order of keyspace; what was promoted for as long as nothing else became of it. */
  jobs(): readonly CopyJob[] {
    return this.#options.store.jobs().filter((job) => this.#isStandby(job)).sort((a, b) => (a.target < b.target ? -1 : 1));
  }

  all(): readonly StandbyStatus[] {
    return this.jobs().map(({ id }) => this.status(id));
  }

  /** By its name here, or that of its primary; by that which clients use, too. One that is promoted comes behind one that is not. Throws STANDBY_NOT_FOUND. */
  require(keyspace: string): CopyJob {
    const [ended, active] = [true, false].map((isEnded) => this.jobs().filter((job) => hasCopyEnded(job) === isEnded));
    const primary = resolveKeyspace(this.#options.view.keyspaces(), keyspace)?.name;
    const among = (jobs: readonly CopyJob[]): CopyJob | undefined =>
      jobs.find(({ target }) => target === keyspace) ?? jobs.find(({ source }) => source === keyspace) ?? jobs.find(({ source, cluster }) => cluster === undefined && source === primary);
    const job = among(active!) ?? among(ended!);
    if (job === undefined) throw new AtollError('STANDBY_NOT_FOUND', `keyspace: ${JSON.stringify(keyspace.slice(0, 80))} is no standby of this cluster`, { metadata: { field: 'keyspace', keyspace: keyspace.slice(0, 80) } });
    return job;
  }

  /** `pairs`: of a promotion that was just made. */
  status(id: string, pairs?: readonly StandbyPair[]): StandbyStatus {
    const { store, describe, pools, view } = this.#options;
    const job = store.job(id)!;
    const spec = view.keyspace(job.target);
    const within = job.cluster === undefined ? { clusterId: view.clusterId, pool: pools.primaryPool(job), isFencing: !hasCopyEnded(job) && pools.isFencing(job), problem: pools.problemOf(job) } : undefined;
    return toStandbyStatus(job, describe(id)!, { pairs, within, pool: poolOf(spec ?? {}) });
  }

  /** Whether the primary can be reached; within SURVEY_MS. */
  async survey({ cluster, source, sourceId }: CopyJob): Promise<PrimarySurvey> {
    const told = await this.#options.calls.survey(cluster!.routers, source, SURVEY_MS);
    const own = told.filter(({ clusterId, keyspaceId }) => clusterId === cluster!.id && keyspaceId === sourceId);
    return { answers: own.length > 0, isWhole: own.some(({ partitions }) => partitions.length === cluster!.partitionCount) };
  }

  /**
   * Has a standby take writes at what it has. `isThere`: the primary's routers answer, and it is told first. `fence`: only while a
   * primary of this cluster is frozen for that. Answers what it had. Throws CUT_OVER_REFUSED, METADATA_CONFLICT, METADATA_UNAVAILABLE.
   */
  async promoteAlone(job: CopyJob, { acceptsIncomplete, isThere = false, fence }: { readonly acceptsIncomplete: boolean; readonly isThere?: boolean; readonly fence?: string }): Promise<readonly StandbyPair[]> {
    const { store, view, pools, random, wallMs, refresh, pairsOf, describe, onPromoted } = this.#options;
    await refresh(job);
    const pairs = pairsOf(job);
    const { bytes = 0, entries = 0 } = describe(job.id) ?? {};
    const refusal = refusalOfPromotion(job, pairs, acceptsIncomplete);
    if (refusal !== undefined) throw refused(job, refusal);
    // Of its routers some may be silent: it is told later then.
    const isFenced = job.cluster === undefined || (isThere && (await Promise.race([this.#tell(job).then(() => true, ignoreAway), pause(TELL_MS_MAX, false, { ref: false })])));
    const cutOver = { job: job.id, id: `promotion-${randomHex(random, 8)}`, timeMs: timeOfPrimary(pairs), from: { cluster: job.cluster?.id ?? view.clusterId, keyspaceId: job.sourceId } };
    const open = ({ source, target }: Opening, revision: number): Opening | undefined => {
      const opened = { ...target, copyOf: undefined, cutOver: { ...cutOver, fencesBelow: revision + 1 } };
      if (job.cluster !== undefined) return { target: withSourceName(opened, job) };
      if (source === undefined || source.movedTo !== undefined || (fence !== undefined && source.freeze?.id !== fence)) return undefined;
      return takePlace({ source: { ...source, freeze: source.freeze?.forStandby === target.name ? source.freeze : pools.fenceOf(job) }, target: opened });
    };
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
      const written = await store.promote(job.id, (stored) => promoteAlone(stored, pairs, { atMs: wallMs(), isFenced, extent: { bytes, entries } }), open);
      if (!hasCopyEnded(written)) continue;
      if (written.state !== 'SUCCEEDED') break;
      onPromoted(written, job);
      return pairs;
    }
    throw new AtollError('METADATA_CONFLICT', `the promotion of ${job.target} could not be written; it may have been cancelled, or another coordinator elected`);
  }

  /** CUT_OVER_REFUSED, with what the standby lacks to be promoted without its primary; undefined: nothing. */
  async refusalOf(job: CopyJob): Promise<AtollError | undefined> {
    const { refresh, pairsOf } = this.#options;
    await refresh(job);
    const refusal = refusalOfPromotion(job, pairsOf(job), false);
    return refusal === undefined ? undefined : refused(job, refusal);
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

  /** Goes on with promotions that wait, and, without waiting, with telling former primaries. Throws METADATA_UNAVAILABLE, METADATA_CONFLICT. */
  async step(nowMs: number): Promise<void> {
    const within = this.#options.store.active().filter(({ isStandby, cluster, state }) => isStandby === true && cluster === undefined && state !== 'CANCELLING');
    await this.#options.pools.step(within, (job, fence) => this.promoteAlone(job, { acceptsIncomplete: false, fence }));
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
    return job.isStandby === true && (!hasCopyEnded(job) || (job.state === 'SUCCEEDED' && this.#isStill(job)));
  }

  /** Nobody else has the keyspace since this job promoted it: only then may its former primary be told so. */
  #isStill({ id, target, targetId }: CopyJob): boolean {
    const spec = this.#options.view.keyspace(target);
    return spec?.id === targetId && spec.copyOf === undefined && spec.movedTo === undefined && spec.freeze?.movedTo === undefined && (spec.cutOver === undefined || spec.cutOver.job === id);
  }
}

const refused = ({ target }: CopyJob, refusal: string): AtollError => new AtollError('CUT_OVER_REFUSED', `keyspace: ${refusal}`, { metadata: { field: 'keyspace', keyspace: target } });

/** Clients go on under the name that the keyspace had at its primary: it is an alias where the standby has another one. */
export const withSourceName = (spec: KeyspaceSpec, { source, isStandby }: CopyJob): KeyspaceSpec =>
  isStandby !== true || source === spec.name || spec.aliases?.includes(source) === true ? spec : { ...spec, aliases: [source, ...(spec.aliases ?? [])] };

/** It is tried again. */
function ignoreAway(error: unknown): false {
  if (!isAtollError(error)) throw error;
  return false;
}
