// Migrations that nobody asked for: replicas that should change their nodes because nodes came, went, are drained, or
// changed their weight or zone. One job for each reason.
import { AtollError, isAtollError } from '@atoll/core-errors';
import type { Action } from '@atoll/core-membership';
import { MIGRATION_REASONS, shortageText, takeWhatFits, targetsOf, type MethodPlan, type MigrationJob, type MigrationOperator, type PlannedOperator } from '@atoll/core-migration';
import { randomHex, type Random } from '@atoll/core-runtime';
import { draftMigration } from './begin-migration.ts';
import type { ClusterSurvey } from './cluster-survey.ts';

/** After a job that could not be begun, or that failed, the same is tried again after so long. */
export const AGAIN_MS = 30_000;
/** Something was written at the same time. */
const CONFLICT_AGAIN_MS = 500;

type MigrateAction = Extract<Action, { kind: 'migrate' }>;

export interface AutomaticMigrationsOptions {
  readonly random: Random;
  readonly nowMs: () => number;
  readonly wallMs: () => number;
  readonly survey: () => Promise<ClusterSurvey>;
  /** How it copies. */
  readonly planMethod: (planned: readonly PlannedOperator[], survey: ClusterSurvey) => MethodPlan;
  /** Whether the keyspace makes room for entries by evicting others. */
  readonly evicts: (keyspace: string) => boolean;
  readonly begin: (job: MigrationJob, operators: readonly MigrationOperator[]) => Promise<void>;
  /** Why a job could not be begun; it is tried again. */
  readonly onProblem: (reason: string, error: unknown) => void;
}

export class AutomaticMigrations {
  readonly #options: AutomaticMigrationsOptions;
  #isBeginning = false;
  #notBeforeMs = -Infinity;

  constructor(options: AutomaticMigrationsOptions) {
    this.#options = options;
  }

  /** Begins jobs for what is due, unless some are being begun. Does not wait. */
  take(actions: readonly MigrateAction[]): void {
    if (actions.length === 0 || this.#isBeginning || this.#options.nowMs() < this.#notBeforeMs) return;
    this.#isBeginning = true;
    void this.#begin(actions).finally(() => {
      this.#isBeginning = false;
    });
  }

  async #begin(actions: readonly MigrateAction[]): Promise<void> {
    const { random, wallMs, survey: ask, planMethod, begin, onProblem } = this.#options;
    const byReason = [...Map.groupBy(actions, ({ move }) => move.reason)].sort(([a], [b]) => MIGRATION_REASONS.indexOf(a) - MIGRATION_REASONS.indexOf(b));
    const survey = await ask();
    for (const [reason, group] of byReason) {
      try {
        const planned = group.map(({ record, move: { before, after } }): PlannedOperator => ({ record, before, after }));
        const id = `${reason.toLowerCase()}-${randomHex(random, 8)}`;
        const { job, operators } = draftMigration({ id, reason, description: describe(reason, planned), planned, method: planMethod(planned, survey), bytesPerSecond: 0, fullVerify: false }, survey, wallMs());
        // A keyspace that evicts makes room by itself: a full cache must not keep nodes from being drained.
        const { fitting, shortages } = takeWhatFits(operators, ({ keyspace, bytesTotal }) => (this.#options.evicts(keyspace) ? 0 : bytesTotal), (node) => survey.memory.get(node));
        if (fitting.length > 0) await begin({ ...job, total: fitting.length }, fitting);
        if (shortages.length > 0) throw new AtollError('CAPACITY_SHORT', shortages.map(shortageText).join('; '));
      } catch (error) {
        const isConflict = isAtollError(error) && error.reason !== 'CAPACITY_SHORT';
        this.#notBeforeMs = this.#options.nowMs() + (isConflict ? CONFLICT_AGAIN_MS : AGAIN_MS);
        onProblem(reason, error);
      }
    }
  }
}

const WHY: Readonly<Record<MigrateAction['move']['reason'], string>> = {
  MISSING: 'partitions have fewer replicas than they should',
  LOST: 'nodes that held replicas are gone',
  DRAIN: 'nodes are drained',
  ZONE: 'replicas of one partition share a zone',
  JOIN: 'nodes joined',
  BALANCE: 'nodes hold too much or too little',
};

function describe(reason: MigrateAction['move']['reason'], planned: readonly PlannedOperator[]): string {
  const targets = [...new Set(planned.flatMap((operator) => targetsOf(operator)))].sort();
  return `${WHY[reason]}; to ${targets.length > 5 ? `${targets.length} nodes` : targets.join(', ') || 'nobody'}`;
}
