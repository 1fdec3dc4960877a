// etcd as its users see it: one history of revisions, compare-and-swap, leases, watches; and as it fails: requests or
// answers lost, a request applied after its sender gave it up (R7), all of it away for a while, or as it was some time
// ago, restored from a backup (R13).
import type { MetadataSight } from '@atoll/core-membership';
import type { Dice, EventQueue } from '@atoll/core-replication/testing';
import type { SimProcess } from './sim-process.ts';
import { CHANGE_KEY, JOBS, RECOVERY_KEY, REGRESSED_KEY, isConfiguration } from '../names.ts';
import { EtcdBackups } from './etcd-backups.ts';
import type { Network } from './network.ts';

export const ETCD = 'etcd';

export interface Stored {
  readonly value: unknown;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly lease: SimLease | undefined;
}

export type Compare = { readonly key: string; readonly modRevision: number } | { readonly key: string; readonly atLeast: number } | { readonly key: string; readonly createRevision: number };

export interface Put {
  readonly key: string;
  /** Undefined deletes. */
  readonly value: unknown;
  readonly lease?: SimLease | undefined;
  /** Create revision of the election key of the coordinator that writes. */
  readonly term?: number | undefined;
}

export type TransactOutcome = { readonly kind: 'succeeded'; readonly revision: number } | { readonly kind: 'refused' | 'unknown' };

/** A lease as the server keeps it: gone when it was not renewed for its ttl. */
export interface SimLease {
  readonly ttlMs: number;
  expiresAtMs: number;
  isGone: boolean;
}

export interface WatchEvent {
  readonly key: string;
  /** Undefined: deleted. */
  readonly stored: Stored | undefined;
  readonly revision: number;
  readonly term: number | undefined;
}

const DEADLINE_MS = 500;
const LEASE_CHECK_MS = 100;
const LATE_MS_MAX = 2500;
export interface WatchHandle {
  /** Begins anew, with everything that is there. */
  restart(): void;
}

interface Watcher {
  readonly process: SimProcess;
  readonly onEvents: (events: readonly WatchEvent[], snapshotRevision: number | undefined) => void;
  /** What it has not been sent yet; while etcd or the link to it is away. */
  waiting: WatchEvent[];
  /** What waits begins with everything that was there at this revision. */
  snapshotRevision: number | undefined;
  lastMs: number;
  isScheduled: boolean;
}

export class SimEtcd {
  /** A request may be lost, or its answer, or come very late. */
  isLossy = false;
  isAway = false;
  /** Told of each transaction that was applied, before its answer leaves. */
  onApplied: (from: SimProcess, puts: readonly Put[]) => void = () => undefined;
  readonly #events: EventQueue;
  readonly #dice: Dice;
  readonly #network: Network;
  readonly #data = new Map<string, Stored>();
  readonly #leases = new Set<SimLease>();
  #watchers: Watcher[] = [];
  #revision = 1;
  #inFlight = 0;
  readonly #backups: EtcdBackups;
  /** Requests that were sent to the server of before a restore never arrive. */
  #life = 0;
  #isBehind = false;
  readonly #onChange: (event: WatchEvent) => void;

  constructor(options: { events: EventQueue; dice: Dice; network: Network; onChange: (event: WatchEvent) => void }) {
    this.#events = options.events;
    this.#dice = options.dice;
    this.#network = options.network;
    this.#onChange = options.onChange;
    this.#checkLeases();
    this.#backups = new EtcdBackups({ events: this.#events, take: () => (this.#isBehind ? undefined : { revision: this.#revision, data: new Map(this.#data), leases: new Set(this.#leases) }) });
  }

  /** For those who stand outside of the world: the truth of this moment. */
  get(key: string): Stored | undefined {
    return this.#data.get(key);
  }

  /** As `get`. */
  list(prefix: string): readonly (readonly [string, Stored])[] {
    return [...this.#data].filter(([key]) => key.startsWith(prefix));
  }

  /** Whether a transaction is on its way that may still change something. */
  get isBusy(): boolean {
    return this.#inFlight > 0;
  }

  /** Puts something there, by the hand of an operator. */
  seed(key: string, value: unknown): void {
    this.#apply([], [{ key, value }, ...(isConfiguration(key) ? [{ key: CHANGE_KEY, value: key }] : [])]);
  }

  // --- restored from a backup (R13) -------------------------------------------------------------------------------

  /** Whether it was set back, and is not recovered yet. */
  get isBehind(): boolean {
    return this.#isBehind;
  }

  sight(): MetadataSight {
    const revisionOf = (key: string): number => this.#data.get(key)?.modRevision ?? 0;
    const noticed = this.#data.get(REGRESSED_KEY)?.value as readonly string[] | undefined;
    return { clusterId: 'world', revision: this.#revision, changeRevision: revisionOf(CHANGE_KEY), recoveryRevision: revisionOf(RECOVERY_KEY), noticed: noticed ?? [] };
  }

  /** Everything as it was at least `ageMs` ago. Revisions are counted on from there, and watches begin anew. */
  setBack(ageMs: number): boolean {
    const backup = this.#backups.find(ageMs);
    if (backup === undefined || this.#isBehind) return false;
    this.#isBehind = true;
    this.#life += 1;
    this.#revision = backup.revision;
    this.#data.clear();
    for (const [key, stored] of backup.data) this.#data.set(key, stored);
    for (const lease of this.#leases) lease.isGone = !backup.leases.has(lease);
    this.#leases.clear();
    for (const lease of backup.leases) {
      lease.isGone = false;
      lease.expiresAtMs = this.#events.nowMs + lease.ttlMs;
      this.#leases.add(lease);
    }
    for (const watcher of this.#watchers) this.#begin(watcher);
    return true;
  }

  /** Everything that was counted is below `revision`; the election begins anew. */
  recover(revision: number, puts: readonly Put[], electionKey: string): void {
    this.#revision = Math.max(this.#revision, revision);
    this.#isBehind = false;
    this.#backups.clear();
    this.#apply([], [...puts, { key: RECOVERY_KEY, value: 'recovered' }, { key: REGRESSED_KEY, value: undefined }, { key: CHANGE_KEY, value: RECOVERY_KEY }, { key: electionKey, value: undefined }]);
  }

  // --- requests ---------------------------------------------------------------------------------------------------

  transact(from: SimProcess, compares: readonly Compare[], puts: readonly Put[], answer: (outcome: TransactOutcome) => void): void {
    const fate = this.#fateOf(from);
    let isAnswered = false;
    const answerOnce = (outcome: TransactOutcome): void => {
      if (isAnswered) return;
      isAnswered = true;
      answer(outcome);
    };
    from.after(DEADLINE_MS, () => answerOnce({ kind: 'unknown' }));
    if (fate === 'lost') return;
    this.#inFlight += 1;
    const life = this.#life;
    const lateMs = fate === 'late' ? DEADLINE_MS + this.#dice.below(LATE_MS_MAX) : 0;
    this.#events.after(this.#network.delayMs(from.id) + lateMs, () => {
      this.#inFlight -= 1;
      if (this.isAway || life !== this.#life) return;
      const outcome = this.#apply(compares, puts);
      if (outcome.kind === 'succeeded') this.onApplied(from, puts);
      if (fate === 'well' && !this.#network.isCut(ETCD, from.id)) this.#events.after(this.#network.delayMs(ETCD), () => from.run(() => answerOnce(outcome)));
    });
  }

  /** Linearizable; `answer` gets undefined when nothing came in time. */
  read<T>(from: SimProcess, look: () => T, answer: (found: T | undefined) => void): void {
    const fate = this.#fateOf(from);
    let isAnswered = false;
    const answerOnce = (found: T | undefined): void => {
      if (isAnswered) return;
      isAnswered = true;
      answer(found);
    };
    from.after(DEADLINE_MS, () => answerOnce(undefined));
    if (fate !== 'well') return;
    this.#events.after(this.#network.delayMs(from.id), () => {
      if (this.isAway || this.#network.isCut(ETCD, from.id)) return;
      const found = look();
      this.#events.after(this.#network.delayMs(ETCD), () => from.run(() => answerOnce(found)));
    });
  }

  // --- leases -----------------------------------------------------------------------------------------------------

  grantLease(ttlMs: number): SimLease {
    const lease: SimLease = { ttlMs, expiresAtMs: this.#events.nowMs + ttlMs, isGone: false };
    this.#leases.add(lease);
    return lease;
  }

  /** `answer`: whether the lease still stands. Not called when nothing came through. */
  keepAlive(from: SimProcess, lease: SimLease, answer: (stands: boolean) => void): void {
    if (this.#fateOf(from) !== 'well') return;
    this.#events.after(this.#network.delayMs(from.id), () => {
      if (this.isAway) return;
      if (!lease.isGone) lease.expiresAtMs = this.#events.nowMs + lease.ttlMs;
      if (!this.#network.isCut(ETCD, from.id)) this.#events.after(this.#network.delayMs(ETCD), () => from.run(() => answer(!lease.isGone)));
    });
  }

  #checkLeases(): void {
    this.#events.after(LEASE_CHECK_MS, () => {
      this.#checkLeases();
      for (const lease of this.#leases) {
        // Time that etcd was away for is given back, as its new leader does.
        if (this.isAway) lease.expiresAtMs += LEASE_CHECK_MS;
        else if (lease.expiresAtMs <= this.#events.nowMs) this.#expire(lease);
      }
    });
  }

  #expire(lease: SimLease): void {
    lease.isGone = true;
    this.#leases.delete(lease);
    const puts = [...this.#data].filter(([, stored]) => stored.lease === lease).map(([key]) => ({ key, value: undefined }));
    if (puts.length > 0) this.#apply([], puts);
  }

  // --- watches ----------------------------------------------------------------------------------------------------

  /** Everything that is there, then every change, in order. It ends with the process. */
  watch(process: SimProcess, onEvents: Watcher['onEvents']): WatchHandle {
    const watcher: Watcher = { process, onEvents, waiting: [], snapshotRevision: undefined, lastMs: 0, isScheduled: false };
    this.#watchers.push(watcher);
    process.onDeath(() => {
      this.#watchers = this.#watchers.filter((other) => other !== watcher);
    });
    this.#begin(watcher);
    return { restart: () => this.#begin(watcher) };
  }

  #begin(watcher: Watcher): void {
    watcher.waiting = [...this.#data].filter(([key]) => !key.startsWith(JOBS)).map(([key, stored]) => ({ key, stored, revision: stored.modRevision, term: undefined }));
    watcher.snapshotRevision = this.#revision;
    this.#deliverSoon(watcher);
  }

  #deliverSoon(watcher: Watcher): void {
    if (watcher.isScheduled) return;
    watcher.isScheduled = true;
    const { id } = watcher.process;
    const isStuck = this.isAway || this.#network.isCut(ETCD, id) || this.#network.isCut(id, ETCD);
    this.#events.after(isStuck ? 100 : this.#network.delayMs(ETCD), () => {
      watcher.isScheduled = false;
      if (this.isAway || this.#network.isCut(ETCD, id) || this.#network.isCut(id, ETCD)) return this.#deliverSoon(watcher);
      const { waiting, snapshotRevision } = watcher;
      watcher.waiting = [];
      watcher.snapshotRevision = undefined;
      watcher.process.run(() => watcher.onEvents(waiting, snapshotRevision));
    });
  }

  // --- the server -------------------------------------------------------------------------------------------------

  #fateOf(from: SimProcess): 'well' | 'lost' | 'answer lost' | 'late' {
    if (this.isAway || this.#network.isCut(from.id, ETCD)) return 'lost';
    if (!this.isLossy || !this.#dice.chance(0.4)) return 'well';
    return this.#dice.pick(['lost', 'answer lost', 'late'] as const);
  }

  #apply(compares: readonly Compare[], puts: readonly Put[]): TransactOutcome {
    const holds = compares.every((compare) => {
      const stored = this.#data.get(compare.key);
      if ('atLeast' in compare) return (stored?.modRevision ?? 0) >= compare.atLeast;
      return 'modRevision' in compare ? (stored?.modRevision ?? 0) === compare.modRevision : (stored?.createRevision ?? 0) === compare.createRevision;
    });
    if (!holds || puts.some(({ lease }) => lease?.isGone === true)) return { kind: 'refused' };
    this.#revision += 1;
    const revision = this.#revision;
    for (const { key, value, lease, term } of puts) {
      if (value === undefined) this.#data.delete(key);
      else this.#data.set(key, { value, lease, modRevision: revision, createRevision: this.#data.get(key)?.createRevision ?? revision });
      const event = { key, stored: this.#data.get(key), revision, term };
      this.#onChange(event);
      if (key.startsWith(JOBS)) continue;
      for (const watcher of this.#watchers) {
        watcher.waiting.push(event);
        this.#deliverSoon(watcher);
      }
    }
    return { kind: 'succeeded', revision };
  }
}
