import type { SimClock } from '../base/sim-clock.ts';
import { SimProcess } from '../base/sim-process.ts';
import { GuardedEtcd } from '../base/guarded-etcd.ts';
import type { SimLease, WatchEvent } from '../base/sim-etcd.ts';
import { ELECTION_KEY } from '../names.ts';
import { SETTINGS } from '../plan.ts';
import type { World } from '../world.ts';
import { RecordView } from './record-view.ts';
import { Term } from './term.ts';

/** The last part of its lease that a coordinator does not count on: clocks differ. */
const MARGIN_MS = 300;

/** A coordinator's process: it campaigns, and holds office as long as it knows that its lease stands (R11). */
export class SimCoordinator extends SimProcess {
  readonly view = new RecordView();
  readonly etcd: GuardedEtcd;
  readonly #world: World;
  #lease: SimLease | undefined;
  /** Own time until which the lease certainly stands, counted from sending. */
  #heldUntilMs = 0;
  #clingUntilMs = 0;
  #term: Term | undefined;
  #isCampaigning = false;
  /** Own time since when etcd has not been heard. */
  #etcdHeardMs: number;

  constructor(options: { world: World; id: string; incarnation: string; clock: SimClock }) {
    super({ ...options, events: options.world.events });
    this.#world = options.world;
    this.#etcdHeardMs = this.clock.monotonicMs;
    const { dice } = this.#world;
    const onEvents = (events: readonly WatchEvent[]): void => {
      this.#etcdHeardMs = this.clock.monotonicMs;
      this.view.onEvents(events);
      this.#term?.wake();
    };
    this.etcd = new GuardedEtcd({ etcd: this.#world.etcd, process: this, onEvents });
    this.after(dice.below(SETTINGS.coordinatorTickMs), () => this.every(SETTINGS.coordinatorTickMs, () => this.#tick()));
    this.after(dice.below(500), () => this.every(SETTINGS.electionTtlMs / 3, () => this.#keepAlive()));
  }

  get term(): Term | undefined {
    return this.#term;
  }

  /** For so long it does not notice that it may have lost its office: two are active then (R11). */
  cling(ms: number): void {
    this.#clingUntilMs = this.clock.monotonicMs + ms;
  }

  isHeld(): boolean {
    if (this.#term !== undefined && this.clock.monotonicMs < this.#clingUntilMs) return true;
    return this.#lease !== undefined && this.clock.monotonicMs < this.#heldUntilMs;
  }

  #tick(): void {
    if (this.#term !== undefined && !this.isHeld()) this.#end();
    if (this.#term === undefined) return this.#campaign();
    this.#term.tick(!this.etcd.isRegressed && this.clock.monotonicMs - this.#etcdHeardMs < SETTINGS.electionTtlMs);
  }

  #end(): void {
    this.#term?.end();
    this.#term = undefined;
    this.#lease = undefined;
  }

  #campaign(): void {
    if (this.#isCampaigning) return;
    this.#isCampaigning = true;
    const { etcd } = this.#world;
    const lease = etcd.grantLease(SETTINGS.electionTtlMs);
    const sentMs = this.clock.monotonicMs;
    etcd.transact(this, [{ key: ELECTION_KEY, createRevision: 0 }], [{ key: ELECTION_KEY, value: this.id, lease }], (outcome) => {
      this.#isCampaigning = false;
      if (outcome.kind !== 'succeeded') return;
      this.#lease = lease;
      this.#heldUntilMs = sentMs + SETTINGS.electionTtlMs - MARGIN_MS;
      if (!this.isHeld()) return this.#end();
      this.#term = new Term({ world: this.#world, coordinator: this, fence: { key: ELECTION_KEY, createRevision: outcome.revision } });
    });
  }

  #keepAlive(): void {
    const lease = this.#lease;
    if (lease === undefined) return;
    const sentMs = this.clock.monotonicMs;
    this.#world.etcd.keepAlive(this, lease, (stands) => {
      if (this.#lease !== lease) return;
      this.#etcdHeardMs = this.clock.monotonicMs;
      if (stands) this.#heldUntilMs = Math.max(this.#heldUntilMs, sentMs + SETTINGS.electionTtlMs - MARGIN_MS);
      else if (!this.isHeld()) this.#end();
    });
  }
}
