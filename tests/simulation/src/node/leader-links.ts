import type { FollowerProgress, SubscribeMessage } from '@atoll/core-replication';
import type { ReplicaId } from '@atoll/core-runtime';
import type { SimStream } from '../base/network.ts';
import type { World } from '../world.ts';
import type { HostedReplica } from './hosted-replica.ts';
import type { LeaderMessage } from './messages.ts';

/** Messages of one stream that may be under way: what a window would hold. */
const WINDOW = 4;

interface Link {
  readonly stream: SimStream;
  readonly channel: number;
  underWay: number;
  readonly deliver: (message: LeaderMessage) => void;
}

/** The leader's ends of its followers' streams. */
export class LeaderLinks {
  readonly #world: World;
  readonly #hosted: HostedReplica;
  readonly #links = new Map<ReplicaId, Link>();
  readonly #pumping = new Set<ReplicaId>();

  constructor(options: { world: World; hosted: HostedReplica }) {
    this.#world = options.world;
    this.#hosted = options.hosted;
  }

  closeAll(): void {
    this.#links.clear();
  }

  /** A follower asks for the log, on a stream that it opened. `deliver` runs at the follower. */
  onSubscribe(stream: SimStream, honest: SubscribeMessage, follower: HostedReplica, deliver: (message: LeaderMessage) => void): void {
    const { replica, node } = this.#hosted;
    const { channel } = honest;
    const { member } = follower;
    const send = (message: LeaderMessage): void => stream.toOpener(() => deliver(message));
    // In another epoch than this leader's, one of the two has not heard the news (R27).
    this.#hosted.hearEpoch(honest.epoch);
    const { leader } = replica;
    if (leader === undefined) return send({ kind: 'refusal', message: { channel, epoch: replica.record?.record.epoch ?? 0 } });
    const message = this.#world.mutant?.subscription?.(this.#hosted, honest, follower) ?? honest;
    const answer = leader.subscribe(message, member, node.moment().monotonicMs);
    if (answer.kind === 'refusal') return send({ kind: 'refusal', message: { channel, epoch: leader.epoch } });
    if (answer.kind === 'divergence') return send({ kind: 'divergence', message: answer.message });
    if (answer.kind === 'install') send({ kind: 'install', message: answer.message });
    this.#links.set(member.replica, { stream, channel, underWay: 0, deliver });
    stream.onBreak('acceptor', () => this.#onGone(stream));
    this.#pump(member.replica);
  }

  #onGone(stream: SimStream): void {
    for (const [replica, link] of this.#links) {
      if (link.stream !== stream) continue;
      this.#links.delete(replica);
      this.#hosted.replica.leader?.unlink(replica, this.#hosted.node.moment().monotonicMs);
    }
  }

  cutOff(follower: FollowerProgress): void {
    const link = this.#links.get(follower.member.replica);
    if (link === undefined || link.channel !== follower.channel) return;
    const { channel } = link;
    link.stream.toOpener(() => link.deliver({ kind: 'refusal', message: { channel, epoch: 0 } }));
  }

  pumpSoon(follower: FollowerProgress, delayMs: number): void {
    const { replica } = follower.member;
    if (this.#pumping.has(replica)) return;
    this.#pumping.add(replica);
    this.#hosted.node.after(delayMs, () => this.#pump(replica));
  }

  #pump(replica: ReplicaId): void {
    this.#pumping.delete(replica);
    const { leader } = this.#hosted.replica;
    const progress = leader?.follower(replica);
    const link = this.#links.get(replica);
    if (leader === undefined || progress === undefined || link?.channel !== progress.channel) return;
    while (link.stream.isOpen && link.underWay < WINDOW) {
      const next = leader.nextMessage(progress, this.#world.dice.pick([64, 1024, 64 * 1024]), this.#hosted.node.moment().monotonicMs);
      if (next === undefined) return;
      const message: LeaderMessage =
        'append' in next
          ? { kind: 'append', message: { ...next.append, entries: Buffer.from(next.append.entries) } }
          : { kind: 'part', message: { ...next.part, data: Buffer.from(next.part.data) } };
      link.underWay += 1;
      link.stream.toOpener(() => {
        link.underWay -= 1;
        this.#hosted.node.run(() => this.#pump(replica));
        link.deliver(message);
      });
    }
  }
}
