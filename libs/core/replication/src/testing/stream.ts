import type { ReplicaWorld } from './replica-world.ts';
import type { WorldProcess } from './world-process.ts';

/** A stream that a follower opened to its leader: in order both ways, until all of it breaks. */
export class Stream {
  readonly follower: WorldProcess;
  readonly leader: WorldProcess;
  readonly #world: ReplicaWorld;
  isOpen = true;
  /** Messages of the log that were sent and have not arrived. */
  underWay = 0;
  channel = 0;
  #toLeaderMs = 0;
  #toFollowerMs = 0;
  #onBreak: () => void = () => undefined;

  constructor(options: { world: ReplicaWorld; follower: WorldProcess; leader: WorldProcess }) {
    this.#world = options.world;
    this.follower = options.follower;
    this.leader = options.leader;
    this.#world.streams.add(this);
  }

  nextChannel(): number {
    this.channel = this.#world.newChannel();
    return this.channel;
  }

  onBreak(listener: () => void): void {
    this.#onBreak = listener;
  }

  toLeader(arrive: () => void): void {
    this.#toLeaderMs = this.#send(this.#toLeaderMs, this.leader, arrive);
  }

  toFollower(arrive: () => void): void {
    this.#toFollowerMs = this.#send(this.#toFollowerMs, this.follower, arrive);
  }

  #send(lastMs: number, to: WorldProcess, arrive: () => void): number {
    const { events } = this.#world;
    const atMs = Math.max(lastMs, events.nowMs + this.#world.delayMs());
    events.at(atMs, () => {
      to.run(() => {
        if (this.isOpen) arrive();
      });
    });
    return atMs;
  }

  /** Everything under way is lost. Each end notices by itself, the leader perhaps only by the next subscription. */
  break(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.#world.streams.delete(this);
    this.follower.after(this.#world.delayMs(), () => this.#onBreak());
    if (this.#world.dice.chance(0.7)) this.leader.after(this.#world.delayMs(), () => this.leader.onFollowerGone(this));
  }
}
