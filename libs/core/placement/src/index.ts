export { planLeaders } from './plan-leaders.ts';
export type { LeaderChange, PartitionLeadership } from './plan-leaders.ts';
export { desiredReplicas, planPlacement } from './plan-placement.ts';
export type { PlacementPlan, PlanPlacementInput } from './plan-placement.ts';
export type { AssignmentOptions } from './assignment.ts';
export type { Drop, Move, MoveReason } from './moves.ts';
export { NODE_WEIGHT_MAX, VIRTUAL_NODES_DEFAULT, buildRing } from './ring.ts';
export type { PlacementNode, Ring } from './ring.ts';
export { sourcePartitionsOf, type CopiedShape } from './source-partitions.ts';
export { WHOLE_RANGE, contains, holdsToken, overlaps } from './token-range.ts';
export {
  checkPartitionCount,
  hashTagOf,
  partitionOfToken,
  tokenFromBigInt,
  tokenOfKey,
  tokenRangeOf,
  tokenRangeToBigInt,
  tokenToBigInt,
} from './token.ts';
export type { TokenRange } from './token.ts';
