import type { Dice, EventQueue } from '@atoll/core-replication/testing';
import type { SimProcess } from './sim-process.ts';

/** How often a message behind a cut is tried again: as TCP does, late, not lost. */
const RETRANSMIT_MS = 60;
/** A connection that was cut for so long is given up by its ends. */
const CUT_BREAK_MS = 700;

/** Links between machines. A cut has a direction. */
export class Network {
  /** Longest usual delay one way, in ms. */
  delayMsMax: number;
  /** Now and then a message takes much longer. */
  isRough = true;
  readonly #events: EventQueue;
  readonly #dice: Dice;
  readonly #cuts = new Map<string, number>();
  readonly #streams = new Set<SimStream>();
  readonly #slow = new Map<string, number>();

  constructor(options: { events: EventQueue; dice: Dice; delayMsMax: number }) {
    this.#events = options.events;
    this.#dice = options.dice;
    this.delayMsMax = options.delayMsMax;
  }

  get nowMs(): number {
    return this.#events.nowMs;
  }

  get streams(): ReadonlySet<SimStream> {
    return this.#streams;
  }

  cut(from: string, to: string): void {
    if (!this.isCut(from, to)) this.#cuts.set(`${from}>${to}`, this.nowMs);
  }

  heal(from: string, to: string): void {
    this.#cuts.delete(`${from}>${to}`);
  }

  healAll(): void {
    this.#cuts.clear();
    this.#slow.clear();
  }

  isCut(from: string, to: string): boolean {
    return this.#cuts.size > 0 && this.#cuts.has(`${from}>${to}`);
  }

  /** Extra delay of everything that a machine sends, in ms; 0 for none. */
  setSlow(from: string, extraMs: number): void {
    this.#slow.set(from, extraMs);
  }

  delayMs(from: string): number {
    const { delayMsMax } = this;
    const usual = 0.2 + (this.#dice.below(1000) / 1000) * delayMsMax;
    const slow = this.#slow.size > 0 ? (this.#slow.get(from) ?? 0) : 0;
    return slow + (this.isRough && this.#dice.chance(0.01) ? usual + this.#dice.below(delayMsMax * 20 + 20) : usual);
  }

  /**
   * One request or answer on its own. Behind a cut it is lost. Sometimes it comes twice where `isRepeatable`: a client
   * that asks again.
   */
  send(from: SimProcess, to: SimProcess, arrive: () => void): void {
    if (this.isCut(from.id, to.id)) return;
    this.#events.after(this.delayMs(from.id), () => {
      if (!this.isCut(from.id, to.id)) to.run(arrive);
    });
  }

  open(opener: SimProcess, acceptor: SimProcess): SimStream {
    const stream = new SimStream({ network: this, events: this.#events, opener, acceptor });
    this.#streams.add(stream);
    return stream;
  }

  forget(stream: SimStream): void {
    this.#streams.delete(stream);
  }

  isOverdue(from: string, to: string): boolean {
    const sinceMs = this.#cuts.size > 0 ? this.#cuts.get(`${from}>${to}`) : undefined;
    return sinceMs !== undefined && this.nowMs - sinceMs > CUT_BREAK_MS;
  }
}

/** A connection: in order both ways, until all of it breaks; a cut delays what it carries, for long ends it. */
export class SimStream {
  readonly opener: SimProcess;
  readonly acceptor: SimProcess;
  readonly #network: Network;
  readonly #events: EventQueue;
  readonly #lastMs = { opener: 0, acceptor: 0 };
  readonly #onBreak: { opener: (() => void)[]; acceptor: (() => void)[] } = { opener: [], acceptor: [] };
  #isOpen = true;

  constructor(options: { network: Network; events: EventQueue; opener: SimProcess; acceptor: SimProcess }) {
    this.#network = options.network;
    this.#events = options.events;
    this.opener = options.opener;
    this.acceptor = options.acceptor;
    for (const end of ['opener', 'acceptor'] as const) this[end].onDeath(() => this.break());
    // Nobody listens there.
    if (this.acceptor.isDead) this.break();
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  onBreak(end: 'opener' | 'acceptor', listener: () => void): void {
    this.#onBreak[end].push(listener);
  }

  toAcceptor(arrive: () => void): void {
    this.#send('acceptor', arrive);
  }

  toOpener(arrive: () => void): void {
    this.#send('opener', arrive);
  }

  #send(to: 'opener' | 'acceptor', arrive: () => void): void {
    if (!this.#isOpen) return;
    const [from, target] = to === 'acceptor' ? [this.opener, this.acceptor] : [this.acceptor, this.opener];
    const atMs = Math.max(this.#lastMs[to], this.#events.nowMs + this.#network.delayMs(from.id));
    this.#lastMs[to] = atMs;
    const deliver = (): void => {
      if (!this.#isOpen) return;
      if (this.#network.isCut(from.id, target.id)) {
        if (this.#network.isOverdue(from.id, target.id)) return this.break();
        // What comes behind it must not overtake it.
        this.#lastMs[to] = Math.max(this.#lastMs[to], this.#events.nowMs + RETRANSMIT_MS);
        return this.#events.after(RETRANSMIT_MS, deliver);
      }
      target.run(() => {
        if (this.#isOpen) arrive();
      });
    };
    this.#events.at(atMs, deliver);
  }

  /** Each end notices by itself, a little later. What is under way is lost. */
  break(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#network.forget(this);
    for (const end of ['opener', 'acceptor'] as const) {
      this[end].after(this.#network.delayMs(this[end].id), () => {
        for (const listener of this.#onBreak[end]) listener();
      });
    }
  }
}
