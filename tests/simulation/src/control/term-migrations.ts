// The migrations of one term: production's rounds, tasks and plans, and the shell of them in small.
import { MIGRATION_REASONS, MOVE_PLAN, MigrationRounds, command, createMigration, destinationOf, draftMigration, isEnded, officeWanted, placementsOf, planMove, recordsOf, refreshMigrations, settleMigrations, takeOverMigrations, updateMigration, writeSteps, type JobCommand, type MigrationReason, type PlannedOperator } from '@atoll/core-migration';
import { nameOf, partitionName, type Action, type ClusterState, type MigratingPlacement, type PartitionRecord, type WriteRecord } from '@atoll/core-membership';
import { toNodeId } from '@atoll/core-runtime';
import { SETTINGS } from '../plan.ts';
import type { World } from '../world.ts';
import { MigrationRecords } from './migration-records.ts';
import { Proofs } from './proofs.ts';
import type { Term } from './term.ts';

/** A hand-over that did not come about is asked for again after so long. */
const HAND_OVER_AGAIN_MS = 1000;
const TAKE_OVER_AGAIN_MS = 200;
/** So few that jobs of several partitions take more than one transaction. */
const OPERATORS_PER_TRANSACTION = 2;

type MigrateAction = Extract<Action, { kind: 'migrate' }>;

export class TermMigrations {
  readonly #world: World;
  readonly #term: Term;
  readonly #records: MigrationRecords;
  readonly #proofs: Proofs;
  readonly #rounds: MigrationRounds;
  readonly #handedOver = new Map<string, { readonly epoch: number; readonly atMs: number }>();
  #isReady = false;
  #isStepping = false;
  #isBeginning = false;
  #notBeforeMs = Number.NEGATIVE_INFINITY;
  #replanAtMs: number | undefined;
  /** Another coordinator began what this one goes on with. */
  #hasTakenOver = false;

  constructor(options: { world: World; term: Term }) {
    this.#world = options.world;
    this.#term = options.term;
    this.#records = new MigrationRecords(options);
    this.#proofs = new Proofs(options);
    this.#rounds = new MigrationRounds({
      ports: {
        verdictOf: (operator) => this.#world.mutant?.verdict?.(operator) ?? this.#proofs.verdictOf(operator),
        isInQueue: (operator) => this.#proofs.isInQueue(operator),
        copiedBytes: () => 0,
        memoryOf: () => undefined,
        refusalOf: () => undefined,
        // Nobody asks here for how long writes waited: it is known at once.
        pauseMsOf: () => 0,
      },
      limits: { perTarget: SETTINGS.fillsPerNode, perCluster: SETTINGS.migrationsMax },
    });
    this.#takeOver();
  }

  /** Decisions wait for what stands in etcd, and for steps that are being written. */
  get mayDecide(): boolean {
    return this.#isReady && !this.#isStepping;
  }

  /** Failed jobs are planned anew after a while. */
  isReplanDue(): boolean {
    if (this.#replanAtMs === undefined || this.#term.nowMs < this.#replanAtMs) return false;
    this.#replanAtMs = undefined;
    return true;
  }

  placements(state: ClusterState): ReadonlyMap<string, MigratingPlacement> {
    const mutant = this.#world.mutant;
    if (mutant?.forgetsPlacements === true && this.#hasTakenOver) return new Map();
    const operators = this.#records.table.operators();
    const placements = new Map(placementsOf(operators, state));
    for (const operator of operators) {
      const now = mutant?.placement?.(operator);
      if (now !== undefined) placements.set(partitionName(operator.keyspace, operator.partition), { now, end: destinationOf(operator) });
    }
    return placements;
  }

  /** The record that a decision writes, or what a mutant makes of it. */
  twisted(action: WriteRecord): PartitionRecord {
    const { keyspace, partition } = action.record;
    const operator = this.#records.table.operatorOf(keyspace, partition);
    return (operator && this.#world.mutant?.decided?.(action, operator)) ?? action.record;
  }

  /** A move that somebody asks for. */
  move(partitions: readonly number[], from: string, to: string): void {
    if (!this.#isReady) return;
    const wanted = this.#term.coordinator.view.records().map(({ record }) => record).filter(({ partition }) => partitions.includes(partition));
    const { operators } = planMove(wanted, { from: toNodeId(from), to: toNodeId(to), isNamed: false });
    if (operators.length > 0) this.#begin('REQUESTED', operators, () => undefined);
  }

  /** Asks it of a job that runs. */
  ask(kind: JobCommand['kind'], pick: (ids: readonly string[]) => string): void {
    const { table } = this.#records;
    const ids = table.jobs().filter((job) => !isEnded(job)).map(({ id }) => id);
    if (!this.#isReady || ids.length === 0) return;
    const id = pick(ids);
    this.#world.trace(`${this.#term.coordinator.id} ${kind} ${id}`);
    this.#records.run(
      () =>
        updateMigration(table, id, (job) => {
          const next = command(job, { kind });
          return 'refusal' in next ? job : next;
        }),
      () => this.#term.wake(),
    );
  }

  /** What is due by the plan: one job for each reason. */
  take(actions: readonly MigrateAction[]): void {
    if (actions.length === 0 || this.#isBeginning || this.#term.nowMs < this.#notBeforeMs) return;
    this.#isBeginning = true;
    const groups = [...Map.groupBy(actions, ({ move }) => move.reason)].sort(([a], [b]) => MIGRATION_REASONS.indexOf(a) - MIGRATION_REASONS.indexOf(b));
    const next = (): void => {
      const group = groups.shift();
      if (group === undefined) {
        this.#isBeginning = false;
        return;
      }
      const planned = group[1].map(({ record, move: { before, after } }): PlannedOperator => ({ record, before, after }));
      this.#begin(group[0], planned, (isBegun) => {
        if (!isBegun) this.#notBeforeMs = this.#term.nowMs + SETTINGS.conflictAgainMs;
        next();
      });
    };
    next();
  }

  #begin(reason: MigrationReason, planned: readonly PlannedOperator[], done: (isBegun: boolean) => void): void {
    const id = `${reason.toLowerCase()}-${this.#world.hex()}`;
    const { job, operators } = draftMigration({ id, reason, description: '', planned, method: MOVE_PLAN, bytesPerSecond: 0, fullVerify: false }, () => undefined, this.#wallMs());
    this.#world.trace(`${this.#term.coordinator.id} begins ${id}: ${operators.map(({ partition, before, after }) => `p${partition} ${before.join()}>${after.join()}`).join('; ')}`);
    this.#records.run(
      () => createMigration(this.#records.table, job, operators, OPERATORS_PER_TRANSACTION),
      (result) => {
        this.#term.wake();
        done(result !== undefined);
      },
    );
  }

  /** Behind a round of decisions, with the records as they are then. */
  step(state: ClusterState, done: () => void): void {
    const { table } = this.#records;
    this.#isStepping = true;
    const end = (): void => {
      this.#isStepping = false;
      done();
    };
    this.#records.run(
      () => refreshMigrations(table),
      (isRead) => {
        if (isRead === undefined || !this.#term.isActing) return end();
        const changes = this.#rounds.changes(table.operators(), table.jobsById(), state, { nowMs: this.#term.nowMs, wallMs: this.#wallMs() });
        for (const { from, to } of changes) this.#world.trace(`${this.#term.coordinator.id} ${to.job} p${to.partition} ${from.step} > ${to.step} ${to.problem}`);
        this.#records.run(
          () => writeSteps(table, changes),
          () => {
            this.#go(state);
            this.#settle(end);
          },
        );
      },
    );
  }

  #go(state: ClusterState): void {
    const { table } = this.#records;
    const recordOf = recordsOf(state);
    this.#proofs.tick(
      table.operators().flatMap((operator) => {
        const record = recordOf(operator);
        return operator.step === 'VERIFY' && record !== undefined && table.job(operator.job)?.state === 'RUNNING' ? [{ operator, record }] : [];
      }),
    );
    for (const operator of table.operators()) {
      const record = recordOf(operator);
      const node = officeWanted(operator, table.job(operator.job), record);
      if (record === undefined || node === undefined) continue;
      const known = this.#handedOver.get(nameOf(record));
      if (known?.epoch === record.epoch && this.#term.nowMs - known.atMs < HAND_OVER_AGAIN_MS) continue;
      this.#handedOver.set(nameOf(record), { epoch: record.epoch, atMs: this.#term.nowMs });
      this.#term.request(record, node);
    }
  }

  #settle(done: () => void): void {
    const { table } = this.#records;
    this.#records.run(
      () => settleMigrations(table, this.#wallMs()),
      (result) => {
        for (const { state, reason } of result?.value ?? []) {
          if (state === 'FAILED' && reason !== 'REQUESTED') this.#replanAtMs = this.#term.nowMs + SETTINGS.migrateAgainMs;
        }
        done();
      },
    );
  }

  #takeOver(): void {
    const { table } = this.#records;
    this.#records.run(
      () => takeOverMigrations(table),
      (result) => {
        if (result === undefined) return this.#term.coordinator.after(TAKE_OVER_AGAIN_MS, () => this.#term.isOver || this.#takeOver());
        this.#isReady = true;
        this.#hasTakenOver = table.operators().length > 0;
        if (this.#world.mutant?.beginsAnew === true && this.#hasTakenOver) {
          const changes = table.operators().map((from) => ({ from, to: { ...from, step: 'WAITING', proof: undefined } as const }));
          this.#records.run(() => writeSteps(table, changes), () => undefined);
        }
        this.#term.wake();
      },
    );
  }

  #wallMs(): number {
    return this.#term.coordinator.clock.moment.wallMs;
  }
}
