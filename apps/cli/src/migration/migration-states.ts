import { MigrationState, MigrationStep, migrationStateToJSON, migrationStepToJSON, type Migration, type PartitionMigration } from '@atoll/contracts/atoll/v1/migration';

/** `RUNNING`. */
export const stateName = (state: MigrationState): string => migrationStateToJSON(state).replace('MIGRATION_STATE_', '');

/** `CATCH_UP`. */
export const stepName = (step: MigrationStep): string => migrationStepToJSON(step).replace('MIGRATION_STEP_', '');

/** Nothing will happen to it any more. */
export function hasEnded({ state }: Migration): boolean {
  return state === MigrationState.MIGRATION_STATE_SUCCEEDED || state === MigrationState.MIGRATION_STATE_FAILED || state === MigrationState.MIGRATION_STATE_CANCELLED;
}

/** Neither waits for its turn nor is at an end. */
export function isUnderWay({ step }: PartitionMigration): boolean {
  return step !== MigrationStep.MIGRATION_STEP_WAITING && !isOver(step);
}

/** Done, or back where it was; a copy that follows has nothing left to bring. */
export function isOver(step: MigrationStep): boolean {
  return step === MigrationStep.MIGRATION_STEP_DONE || step === MigrationStep.MIGRATION_STEP_FOLLOW || step === MigrationStep.MIGRATION_STEP_ROLLED_BACK;
}

/** `default/3`. */
export const partitionName = ({ keyspace, partition }: PartitionMigration): string => `${keyspace}/${partition}`;
