// The copies of one term of the coordinator (R37): production's jobs, tasks and decisions, and the shell of them in small.
import { resolveKeyspace, type KeyspaceSpec } from '@atoll/core-membership';
import { abortCutOver, beginCutOver, commandCopy, frozenForNothing, hasCopyEnded, refreshCopies, refusalOfCutOver, settleCopies, updateCopy, withFrozen, withPlacesTaken, type CopyJob, type JobCommand } from '@atoll/core-migration';
import { sourcePartitionsOf } from '@atoll/core-placement';
import type { Term } from '../control/term.ts';
import { KEYSPACE, copyKey, copyName, keyspaceIdOf, keyspaceKey, slotOf } from '../names.ts';
import type { World } from '../world.ts';
import { CopyRecords } from './copy-records.ts';
import { CopyWatch } from './copy-watch.ts';
import { CutOverRun } from './cut-over-run.ts';
import { carryOut, wait, waitAll, type Later } from './later.ts';

/** Generations of a copy begin so far above those of its source. */
const GENERATIONS = 65_536;
const ASK_MS = 300;
const ASK_SOON_MS = 20;
const TAKE_OVER_AGAIN_MS = 200;

export class TermCopies {
  readonly #world: World;
  readonly #term: Term;
  readonly #records: CopyRecords;
  readonly #watch: CopyWatch;
  readonly #runs = new Map<string, CutOverRun>();
  #isReady = false;
  #isStepping = false;
  #isSettling = false;
  #isAsking = false;
  #askedMs = Number.NEGATIVE_INFINITY;

  constructor(options: { world: World; term: Term }) {
    this.#world = options.world;
    this.#term = options.term;
    this.#records = new CopyRecords(options);
    this.#watch = new CopyWatch(options);
    if (this.#world.hasCopies) this.#takeOver();
  }

  #takeOver(): void {
    carryOut(
      this.#records.run(() => refreshCopies(this.#records.table)),
      (result) => {
        if (result === undefined) return this.#term.coordinator.after(TAKE_OVER_AGAIN_MS, () => this.#term.isOver || this.#takeOver());
        this.#isReady = true;
        this.#term.wake();
      },
    );
  }

  /** Not while a source is sealed, nor until it is known what became of a cut-over (R7). */
  get mayDecide(): boolean {
    if (!this.#world.hasCopies) return true;
    if (this.#records.table.unsettled !== undefined && !this.#isStepping) this.#settle();
    return this.#isReady && !this.#isStepping && this.#records.table.unsettled === undefined;
  }

  #settle(): void {
    if (this.#isSettling) return;
    this.#isSettling = true;
    carryOut(
      this.#records.run(() => settleCopies(this.#records.table)),
      () => {
        this.#isSettling = false;
        this.#term.coordinator.after(TAKE_OVER_AGAIN_MS, () => this.#term.wake());
      },
    );
  }

  withPlacesTaken(keyspaces: ReadonlyMap<string, KeyspaceSpec>): ReadonlyMap<string, KeyspaceSpec> {
    return withPlacesTaken(keyspaces, this.#records.table.jobs());
  }

  // --- what somebody asks for -------------------------------------------------------------------------------------

  /** A copy of what clients call `default`. */
  begin(number: number, partitionCount: number): void {
    const { coordinator, revision } = this.#term;
    const source = resolveKeyspace(coordinator.view.keyspaces, KEYSPACE);
    if (!this.#isReady || source === undefined || source.copyOf !== undefined || this.#records.table.active().length > 0) return;
    const name = copyName(number);
    const id = `copy-${number}`;
    const generations = coordinator.view.records().flatMap(({ record }) => (record.keyspace === source.name ? [record.generation.counter] : []));
    const { aliases: _aliases, cutOver: _cutOver, ...like } = source;
    const copyOf = { job: id, keyspace: source.name, keyspaceId: source.id, isPaused: false, firstGeneration: Math.max(0, ...generations) + GENERATIONS };
    const spec: KeyspaceSpec = { ...like, name, id: keyspaceIdOf(name), partitionCount, copyOf };
    const job: CopyJob = { id, state: 'RUNNING', source: source.name, sourceId: source.id, target: name, targetId: spec.id, partitionCount, bytesPerSecond: 0, traceparent: '', createdMs: coordinator.clock.moment.wallMs, endedMs: 0, problem: '' };
    this.#world.trace(`${coordinator.id} begins ${id}: ${source.name} > ${name} of ${partitionCount}`);
    this.#world.copyChecker.begins(name, { source: source.name, sourceCount: source.partitionCount, targetCount: partitionCount });
    const puts = [{ key: copyKey(id), value: job, term: revision }, { key: keyspaceKey(name), value: spec, term: revision }];
    coordinator.etcd.transact([...this.#term.compares, { key: copyKey(id), modRevision: 0 }, { key: keyspaceKey(name), modRevision: 0 }], puts, () => {
      this.#records.table.onSent();
      this.#term.wake();
    });
  }

  ask(kind: JobCommand['kind']): void {
    const job = this.#records.table.active()[0];
    if (!this.#isReady || job === undefined) return;
    this.#world.trace(`${this.#term.coordinator.id} ${kind} ${job.id}`);
    const change = (stored: CopyJob): CopyJob => {
      const next = commandCopy(stored, { kind });
      return 'refusal' in next ? stored : next;
    };
    carryOut(
      this.#records.run(() => updateCopy(this.#records.table, job.id, change)),
      (changed) => {
        if (changed?.value.state === 'CANCELLING') this.#runs.delete(job.cutOver?.id ?? '');
        this.#term.wake();
      },
    );
  }

  cutOver(maxPauseMs: number): void {
    const job = this.#records.table.active()[0];
    if (!this.#isReady || job?.state !== 'RUNNING' || this.#refusal(job) !== undefined) return;
    const cutOver = { id: this.#world.hex(), maxPauseMs };
    this.#world.trace(`${this.#term.coordinator.id} cut-over ${job.id}`);
    const run = new CutOverRun({ world: this.#world, term: this.#term, records: this.#records, watch: this.#watch, id: cutOver.id, extent: { comparedEntries: 0, bytes: 0, entries: 0 } });
    this.#runs.set(cutOver.id, run);
    const change = (stored: CopyJob): CopyJob => {
      const next = beginCutOver(stored, cutOver);
      return 'refusal' in next ? stored : next;
    };
    carryOut(
      this.#records.run(() => updateCopy(this.#records.table, job.id, change)),
      (begun) => {
        if (begun?.value.cutOver?.id !== cutOver.id) this.#runs.delete(cutOver.id);
        this.#term.wake();
      },
    );
  }

  #refusal(job: CopyJob): string | undefined {
    const { view } = this.#term.coordinator;
    const sourceCount = view.keyspaces.get(job.source)?.partitionCount;
    if (sourceCount === undefined) return 'the source is gone';
    const statuses = Array.from({ length: job.partitionCount }, (_, partition) => {
      const told = this.#watch.of(view, slotOf({ keyspace: job.target, partition }));
      return told.length === sourcePartitionsOf(partition, { sourceCount, targetCount: job.partitionCount, tokens: undefined }).length ? told : undefined;
    });
    const isFollowing = statuses.every((told) => told?.every((status) => status.isFollowing) === true);
    const all = statuses.flatMap((told) => told ?? []);
    return refusalOfCutOver({
      isFollowing,
      partitions: job.partitionCount,
      following: statuses.filter((told) => told !== undefined).length,
      lagMs: all.some(({ lagMs }) => lagMs === undefined) ? undefined : Math.max(0, ...all.map(({ lagMs }) => lagMs!)),
      comparedEntries: all.some(({ comparedEntries }) => comparedEntries === undefined) ? undefined : 0,
      differing: all.reduce((sum, { differing }) => sum + differing, 0),
    });
  }

  // --- rounds -----------------------------------------------------------------------------------------------------

  tick(): void {
    const { coordinator, nowMs } = this.#term;
    const [job] = this.#records.table.jobs().filter((each) => !hasCopyEnded(each) || each.sourceRemains === true);
    if (job === undefined || this.#isAsking || nowMs - this.#askedMs < (job.state === 'CUTTING_OVER' ? ASK_SOON_MS : ASK_MS)) return;
    this.#askedMs = nowMs;
    this.#isAsking = true;
    this.#watch.ask(coordinator.view, job, 1000, () => {
      this.#isAsking = false;
      if (job.state === 'CUTTING_OVER') this.#term.wake();
    });
  }

  /** Behind a round of decisions. */
  step(done: () => void): void {
    if (!this.#world.hasCopies || !this.#isReady) return done();
    this.#isStepping = true;
    carryOut(this.#step(), () => {
      this.#isStepping = false;
      done();
    });
  }

  *#step(): Later<void> {
    const { table } = this.#records;
    if ((yield* this.#records.run(() => refreshCopies(table))) === undefined || !this.#term.isActing) return;
    this.tick();
    for (const job of table.jobs()) if (job.state === 'CUTTING_OVER') yield* this.#cutOver(job);
    if (table.unsettled !== undefined || !this.#term.isActing) return;
    yield* this.#thaw();
    for (const job of table.jobs()) {
      if (job.state === 'CANCELLING') yield* this.#cancel(job);
      if (job.sourceRemains === true) yield* this.#removeSource(job);
    }
  }

  /** One that another coordinator began is given up: how long writes have waited already is not known. */
  *#cutOver(job: CopyJob): Later<void> {
    const { table } = this.#records;
    const { id } = job.cutOver!;
    const run = this.#runs.get(id);
    const problem = run === undefined ? 'another coordinator was elected meanwhile' : yield* run.step(job);
    const now = problem === undefined ? table.job(job.id) : (yield* this.#records.run(() => updateCopy(table, job.id, (stored) => abortCutOver(stored, id, problem))))?.value;
    if (now === undefined || now.state === 'CUTTING_OVER') return;
    this.#runs.delete(id);
    this.#world.trace(`${this.#term.coordinator.id} ${job.id} is ${now.state} ${problem ?? ''}`);
    if (now.state === 'RUNNING') this.#world.copyChecker.givenUp += 1;
    this.#term.wake();
  }

  *#thaw(): Later<void> {
    const { view } = this.#term.coordinator;
    const left = frozenForNothing({ jobs: this.#records.table.jobs(), holds: [], keyspaces: view.keyspaces, recordsOf: (name) => view.records().filter(({ record }) => record.keyspace === name) });
    yield* waitAll(left.map((versioned) => (resume: (isDone: boolean) => void) => this.#term.write(slotOf(versioned.record), withFrozen(versioned, undefined, this.#world.dice.random), resume)));
  }

  /** Removes what the job made, and waits, round by round, until it is gone. */
  *#cancel(job: CopyJob): Later<void> {
    if ((yield* this.#isGone(job.target)) !== true) {
      yield* this.#delete(job.target);
      return;
    }
    const endedMs = this.#term.coordinator.clock.moment.wallMs;
    yield* this.#records.run(() => updateCopy(this.#records.table, job.id, (stored) => (stored.state === 'CANCELLING' ? { ...stored, state: 'CANCELLED', endedMs } : stored)));
  }

  /** Once nobody follows it any more. */
  *#removeSource(job: CopyJob): Later<void> {
    const { view } = this.#term.coordinator;
    if (yield* this.#isGone(job.source)) {
      yield* this.#records.run(() => updateCopy(this.#records.table, job.id, (stored) => ({ ...stored, sourceRemains: false })));
      return;
    }
    const slots = Array.from({ length: job.partitionCount }, (_, partition) => slotOf({ keyspace: job.target, partition }));
    const isFollowed = [...this.#watch.leadersOf(view, job)].some((node) => !this.#watch.hasAnswered(node)) || slots.some((slot) => this.#watch.of(view, slot).length > 0);
    if (!isFollowed) yield* this.#delete(job.source);
  }

  /** As etcd says; undefined while that is not known. */
  *#isGone(keyspace: string): Later<boolean | undefined> {
    return yield* wait<boolean | undefined>((resume) =>
      this.#term.coordinator.etcd.read(
        () => ({ isGone: this.#world.etcd.get(keyspaceKey(keyspace)) === undefined }),
        (found) => resume(found?.isGone),
      ),
    );
  }

  /** Its records go with the next rounds, since no keyspace owns them any more. */
  *#delete(keyspace: string): Later<void> {
    const key = keyspaceKey(keyspace);
    yield* wait<void>((resume) => {
      const modRevision = this.#world.etcd.get(key)?.modRevision ?? -1;
      this.#term.coordinator.etcd.transact([...this.#term.compares, { key, modRevision }], [{ key, value: undefined, term: this.#term.revision }], () => resume());
    });
    this.#term.wake();
  }
}
