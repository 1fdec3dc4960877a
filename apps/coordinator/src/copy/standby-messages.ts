import { CopyPhase, type CopyStatus } from '@atoll/contracts/atoll/v1/copy';
import type { Migration } from '@atoll/contracts/atoll/v1/migration';
import { StandbyState, type Promotion as PromotionMessage, type StandbyStatus } from '@atoll/contracts/atoll/v1/standby';
import { toPromotedPlace, type CopyJob, type Promotion, type PromotedPlace, type StandbyPair } from '@atoll/core-migration';
import { sourcePartitionsOf } from '@atoll/core-placement';
import type { CopiedPartition } from './copy-messages.ts';

/** What is known of one partition of a standby, by partition of its primary, which has `sourceCount`. */
export function toStandbyPairs({ partitionCount, tokens }: CopyJob, sourceCount: number, { partition: target, statuses }: CopiedPartition): StandbyPair[] {
  return sourcePartitionsOf(target, { sourceCount, targetCount: partitionCount, tokens }).map((source) => {
    const status = statuses.find(({ sourcePartition }) => sourcePartition === source);
    return { target, source, isFollowing: status?.phase === CopyPhase.COPY_PHASE_FOLLOWING, ageMs: status?.lagMs, ...momentsOf(status) };
  });
}

function momentsOf(status: CopyStatus | undefined): Pick<StandbyPair, 'held' | 'head'> {
  const { origin, stampMs = 0, lagSeq, headStampMs } = status ?? {};
  if (origin === undefined || origin.seq === 0) return { held: undefined, head: undefined };
  return { held: { seq: origin.seq, stampMs }, head: lagSeq === undefined || headStampMs === undefined ? undefined : { seq: origin.seq + lagSeq, stampMs: headStampMs } };
}

export interface StandbyFacts {
  /** Of a promotion that was just made, all of them; the job keeps some. */
  readonly pairs?: readonly StandbyPair[] | undefined;
  /** The pool of the standby. */
  readonly pool: string;
  /** Of one whose primary is in this cluster: the pool of that, and whether it is about to be promoted without it. */
  readonly within?: { readonly clusterId: string; readonly pool: string; readonly isFencing: boolean; readonly problem: string } | undefined;
}

export function toStandbyStatus(job: CopyJob, { copy, partitionsTotal, partitionsDone, entries, bytes, problem }: Migration, { pairs, pool, within }: StandbyFacts): StandbyStatus {
  return {
    keyspace: job.target,
    id: job.id,
    state: within?.isFencing === true ? StandbyState.STANDBY_STATE_PROMOTING : stateOf(job, copy?.following === true),
    pool,
    primary: job.source,
    primaryCluster: job.cluster?.id ?? within?.clusterId ?? '',
    primaryPool: within?.pool ?? '',
    primaryRouters: [...(job.cluster?.routers ?? [])],
    partitions: partitionsTotal,
    following: job.state === 'SUCCEEDED' ? 0 : partitionsDone,
    lagSeq: copy?.lagSeq,
    lagMs: copy?.lagMs,
    restarts: copy?.restarts ?? 0,
    comparedEntries: copy?.comparedEntries,
    differing: copy?.differing ?? 0,
    entries,
    bytes,
    problem: within?.problem || problem,
    createdAtMs: job.createdMs,
    promotion: job.state === 'SUCCEEDED' ? toPromotion(job, pairs) : undefined,
  };
}

function stateOf({ state }: CopyJob, isFollowing: boolean): StandbyState {
  switch (state) {
    case 'PAUSED':
      return StandbyState.STANDBY_STATE_PAUSED;
    case 'CUTTING_OVER':
      return StandbyState.STANDBY_STATE_PROMOTING;
    case 'SUCCEEDED':
      return StandbyState.STANDBY_STATE_PROMOTED;
    case 'CANCELLING':
    case 'CANCELLED':
      return StandbyState.STANDBY_STATE_REMOVING;
    default:
      state satisfies 'RUNNING';
      return isFollowing ? StandbyState.STANDBY_STATE_FOLLOWING : StandbyState.STANDBY_STATE_FILLING;
  }
}

/** A cut-over left nothing behind, and the other cluster closed the keyspace by itself. */
const PLANNED: Promotion = { atMs: 0, missingKnown: 0, ageMs: 0, unknown: 0, incomplete: 0, isFenced: true, places: [] };

function toPromotion({ promotion, endedMs, pauseMsMax = 0 }: CopyJob, pairs: readonly StandbyPair[] | undefined): PromotionMessage {
  const { missingKnown, ageMs, unknown, incomplete, isFenced, places } = promotion ?? PLANNED;
  return { atMs: endedMs, forced: promotion !== undefined, pauseMs: pauseMsMax, missingKnown, ageMs, unknown, incomplete, primaryFenced: isFenced, partitions: (pairs?.map(toPromotedPlace) ?? places).map(placeMessage) };
}

const placeMessage = ({ target, source, heldSeq, heldMs, knownSeq, knownMs }: PromotedPlace) => ({ partition: target, primaryPartition: source, heldSeq, heldAtMs: heldMs, knownSeq, knownAtMs: knownMs });
