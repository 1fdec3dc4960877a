// etcd as one process sees it: with the memory of production (R13), whose shell is libs/platform/etcd/src/regression.
// While etcd shows less than was seen it counts as away for all that is configuration.
import { HighWaterMark, olderThan, termOf, type MetadataMark, type SeenMark, type SentLook, type VersionedTerm } from '@atoll/core-membership';
import { CHANGE_KEY, NODES, PARTITIONS, RECOVERY_KEY, REGRESSED_KEY, isConfiguration } from '../names.ts';
import type { MetadataSight } from '@atoll/core-membership';
import type { Compare, Put, SimEtcd, TransactOutcome, WatchEvent, WatchHandle } from './sim-etcd.ts';
import type { SimProcess } from './sim-process.ts';
import { toVersioned } from './versioned.ts';

const LOOK_MS = 500;
const RETRY_MS = 100;

/** What another process says of etcd. */
export interface HeardMark {
  readonly mark: MetadataMark;
  /** Empty: it holds etcd to be sound. */
  readonly reasons: readonly string[];
}

export class GuardedEtcd {
  readonly #etcd: SimEtcd;
  readonly #process: SimProcess;
  readonly #mark: HighWaterMark;
  readonly #onEvents: (events: readonly WatchEvent[]) => void;
  readonly #told = new Map<string, VersionedTerm>();
  #watch: WatchHandle | undefined;
  /** What came behind a snapshot that is not judged yet; undefined when there is none. */
  #waiting: WatchEvent[] | undefined;
  #turn = 0;
  /** A look is under way for what another process told. */
  #isHearing = false;

  /** `onEvents`: everything that is there, then every change, in order, for as long as the process lives. */
  constructor(options: { etcd: SimEtcd; process: SimProcess; seen?: MetadataMark | undefined; onEvents: (events: readonly WatchEvent[]) => void }) {
    const { etcd, process, seen } = options;
    this.#etcd = etcd;
    this.#process = process;
    this.#onEvents = options.onEvents;
    const memory: SeenMark | undefined = seen && { clusterId: etcd.sight().clusterId!, mark: seen };
    this.#mark = new HighWaterMark(memory);
    this.#watch = etcd.watch(process, (events, snapshotRevision) => this.#onWatch(events, snapshotRevision));
  }

  get isRegressed(): boolean {
    return this.#mark.isRegressed;
  }

  /** For other processes. */
  get word(): HeardMark {
    return { mark: this.#mark.mark, reasons: this.#mark.reasons };
  }

  get ownMark(): MetadataMark {
    return this.#mark.own;
  }

  hear({ mark, reasons }: HeardMark): void {
    const isNews = this.#mark.raise(mark, reasons.length > 0);
    if (this.isRegressed || this.#isHearing || (!isNews && reasons.length === 0)) return;
    this.#isHearing = true;
    this.#look(() => {
      this.#isHearing = false;
      if (reasons.length > 0 && this.#mark.recoveryRevision <= mark.revision) this.#regress(reasons);
    });
  }

  /** A change of configuration compares that the last one that was seen is still there, and is one itself. */
  transact(compares: readonly Compare[], puts: readonly Put[], answer: (outcome: TransactOutcome) => void): void {
    const first = puts.find(({ key }) => isConfiguration(key));
    if (first === undefined) return this.#etcd.transact(this.#process, compares, puts, answer);
    if (this.isRegressed) return this.#process.after(1, () => answer({ kind: 'refused' }));
    const { changeRevision } = this.#mark.mark;
    const guard: Compare[] = [{ key: REGRESSED_KEY, modRevision: 0 }, { key: CHANGE_KEY, atLeast: changeRevision }];
    this.#etcd.transact(this.#process, [...compares, ...guard], [...puts, { key: CHANGE_KEY, value: first.key }], (outcome) => {
      if (outcome.kind === 'succeeded') this.#mark.note({ revision: outcome.revision, changeRevision: outcome.revision });
      if (outcome.kind === 'refused') this.#look(() => undefined);
      answer(outcome);
    });
  }

  /** Configuration, linearizable; `answer` gets undefined when nothing came in time, or etcd is behind. */
  read<T>(look: () => T, answer: (found: T | undefined) => void): void {
    if (this.isRegressed) return this.#process.after(1, () => answer(undefined));
    const sent = this.#mark.sending;
    this.#etcd.read(this.#process, () => ({ found: look(), sight: this.#etcd.sight() }), (read) => {
      if (read !== undefined) this.#observe(read.sight, sent);
      answer(read === undefined || this.isRegressed ? undefined : read.found);
    });
  }

  #look(then: (isAnswered: boolean) => void): void {
    const sent = this.#mark.sending;
    this.#etcd.read(this.#process, () => this.#etcd.sight(), (sight) => {
      if (sight !== undefined) this.#observe(sight, sent);
      then(sight !== undefined);
    });
  }

  #observe(sight: MetadataSight, sent: SentLook): void {
    const change = this.#mark.observe(sight, sent);
    if (change === 'regressed') this.#onRegressed();
    if (change === 'recovered') this.#restart();
    if (this.isRegressed && sight.noticed.length === 0) this.#leaveNote();
  }

  #regress(reasons: readonly string[]): void {
    if (this.#mark.regress(reasons) === 'regressed') this.#onRegressed();
  }

  #leaveNote(): void {
    const unseen: Compare[] = [{ key: REGRESSED_KEY, modRevision: 0 }, { key: RECOVERY_KEY, modRevision: this.#mark.recoveryRevision }];
    this.#etcd.transact(this.#process, unseen, [{ key: REGRESSED_KEY, value: this.#mark.reasons }], () => undefined);
  }

  #onRegressed(): void {
    this.#waiting = undefined;
    const lookAgain = (): void =>
      this.#look(() => {
        if (this.isRegressed) this.#process.after(LOOK_MS, lookAgain);
      });
    lookAgain();
  }

  /** The recovery counts above everything that was told. */
  #restart(): void {
    this.#told.forEach((_, key) => this.#told.set(key, { modRevision: 0 }));
    this.#watch?.restart();
  }

  #onWatch(events: readonly WatchEvent[], snapshotRevision: number | undefined): void {
    if (snapshotRevision !== undefined) return this.#judge(events, snapshotRevision);
    if (this.isRegressed) return this.#tell(events.filter(({ key, stored }) => key.startsWith(NODES) && stored !== undefined));
    if (this.#waiting !== undefined) this.#waiting.push(...events);
    else this.#tell(events);
  }

  /** A snapshot, and what comes behind it, waits for a look at etcd that finds it sound. */
  #judge(snapshot: readonly WatchEvent[], snapshotRevision: number): void {
    this.#turn += 1;
    const turn = this.#turn;
    this.#waiting = [];
    const judge = (): void =>
      this.#look((isAnswered) => {
        if (this.#turn !== turn) return;
        if (!isAnswered) return this.#process.after(RETRY_MS, judge);
        const latest = new Map([...snapshot, ...(this.#waiting ?? [])].map((event) => [event.key, event]));
        const revision = Math.max(snapshotRevision, ...[...latest.values()].map((event) => event.revision));
        // It was read before a recovery that the look was the first to show.
        if (!this.isRegressed && revision < this.#mark.recoveryRevision) return this.#watch?.restart();
        const terms = [...latest.values()].flatMap((event): [string, VersionedTerm][] => (event.stored !== undefined && isConfiguration(event.key) ? [[event.key, termIn(event)]] : []));
        if (!this.isRegressed) this.#regress(olderThan(this.#told, terms));
        const behind = this.#waiting ?? [];
        this.#waiting = undefined;
        if (this.isRegressed) return this.#tell(snapshot.filter(({ key }) => key.startsWith(NODES)));
        const present = new Set(snapshot.map(({ key }) => key));
        const gone = [...this.#told.keys()].filter((key) => !present.has(key)).map((key): WatchEvent => ({ key, stored: undefined, revision: 0, term: undefined }));
        this.#tell([...snapshot, ...gone, ...behind], true);
      });
    judge();
  }

  #tell(events: readonly WatchEvent[], isWhole = false): void {
    for (const event of events) {
      if (event.stored === undefined) this.#told.delete(event.key);
      else this.#told.set(event.key, termIn(event));
      if (this.isRegressed) continue;
      this.#mark.note({ revision: event.revision, ...(event.key === CHANGE_KEY ? { changeRevision: event.revision } : {}) });
    }
    if (events.length > 0 || isWhole) this.#onEvents(events);
  }
}

function termIn({ key, stored }: WatchEvent): VersionedTerm {
  return key.startsWith(PARTITIONS) ? termOf(toVersioned(stored!)) : { modRevision: stored!.modRevision };
}
