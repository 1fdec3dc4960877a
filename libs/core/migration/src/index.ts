export { findShortages, FILL_SHARE_MAX, shortageText, type NodeMemory, type Shortage } from './capacity.ts';
export { command, isEnded, MIGRATION_REASONS, type JobCommand, type MigrationJob, type MigrationReason, type MigrationState } from './migration-job.ts';
export { destinationOf, hasEnded, isFilling, OPERATOR_STEPS, placementOf, sourcesOf, targetsOf, type MigrationOperator, type MigrationProof, type OperatorStep } from './operator.ts';
export { STEPS } from './steps.ts';
export { advance, noteEnd, settleJob, type OperatorFacts } from './advance.ts';
export { admit, type MigrationLimits } from './limits.ts';
export { placedOn, planMove, type MoveAsk, type PlannedMoves, type PlannedOperator } from './plan-move.ts';
export { planRebalance, type PlannedRebalance } from './plan-rebalance.ts';
