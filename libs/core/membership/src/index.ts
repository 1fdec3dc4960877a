export {
  FREEZE_NOTE_MAX,
  SOURCE_ROUTERS_MAX,
  UPDATABLE_FIELDS,
  checkKeyspaceName,
  createKeyspaceSpec,
  keyspaceNotFound,
  resolveKeyspace,
  updateKeyspaceSpec,
} from './keyspace-spec.ts';
export type { AckLevel, CopyOf, CutOver, Durability, Eviction, KeyspaceFreeze, KeyspaceRequest, KeyspaceSpec, MovedTo, OnDataLoss, SourceCluster, UpdatableField } from './keyspace-spec.ts';
export type { NodeRecord, NodeSpec } from './node-record.ts';
export { assertRecord, hasReplica, isLastingFreeze, isSameMember, isStandbyFence, lastingFreeze, membersOf, standbyFence, withoutReplica } from './partition-record.ts';
export type { Generation, Member, PartitionRecord, PartitionState, VersionedRecord } from './partition-record.ts';
export { MAIN_POOL, POOL_NAME_RANGE, checkPoolName, isPoolName, poolOf, withPool } from './pool.ts';
export { lastInSyncByNode, namesText, stopRiskOf } from './stop-risk.ts';
export type { StopRisk, StopRiskView } from './stop-risk.ts';
export type { Action, DecisionKind, NodeNews, WriteRecord } from './decisions/action.ts';
export { CALM } from './decisions/failover-state.ts';
export type { FailoverState, Recovery } from './decisions/failover-state.ts';
export { nameOf, partitionName } from './decisions/cluster-state.ts';
export type { ClusterState, HeldReplica, NodeInventory } from './decisions/cluster-state.ts';
export { decide, isRetired, placementNodes } from './decisions/decide.ts';
export type { DecideOptions } from './decisions/decide.ts';
export { HAND_OVER_REASONS, planHandOvers } from './decisions/hand-overs.ts';
export type { ActiveFailover, HandOver, HandOverReason } from './decisions/hand-overs.ts';
export { LeaderCounts } from './decisions/leader-counts.ts';
export { RedundancyClock } from './decisions/overdue.ts';
export { promote } from './decisions/succession.ts';
export { isSettled } from './decisions/first-placement.ts';
export { isLeaderGone, isNodeDown, isReachable, isUsable, statusOf } from './decisions/member-status.ts';
export type { MemberStatus } from './decisions/member-status.ts';
export { FailureDetector } from './failure/failure-detector.ts';
export type { FailureDetectorOptions, TickOutcome, VerdictChange } from './failure/failure-detector.ts';
export type { NodeReport, PartitionTerm, PeerSight, Probe, ProbeOutcome, RemovalQuestion, ReportedMark } from './failure/node-report.ts';
export { NODE_VERDICT_STATES } from './failure/verdict.ts';
export type { NodeVerdict, NodeVerdictState } from './failure/verdict.ts';
export { PlacementPlans, nodesAfter, type DueMove, type MigratingPlacement } from './decisions/placement-plans.ts';
export { ContentProgress, type RangeReading } from './verify/content-progress.ts';
export { judgeLeaves } from './verify/judge-leaves.ts';
export type { LeafJudgement, ReplicaLeaves } from './verify/judge-leaves.ts';
export { HighWaterMark, NO_MARK, olderThan, termOf } from './metadata/high-water-mark.ts';
export type { MarkChange, MetadataMark, MetadataSight, RecordTerm, SeenMark, SentLook, VersionedTerm } from './metadata/high-water-mark.ts';
export { planMetadataRecovery } from './metadata/plan-recovery.ts';
export type { KeyspaceOutcome, MetadataRecovery, RebuiltPartition, RecoveryInput, RememberedRecord, StoredConfiguration, Testimony } from './metadata/plan-recovery.ts';
