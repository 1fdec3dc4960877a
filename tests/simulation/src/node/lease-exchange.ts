import type { Member } from '@atoll/core-membership';
import { ClockGuard, LeaseGranter, PeerLease, leaseLists, type PartitionReplica } from '@atoll/core-replication';
import type { SimStream } from '../base/network.ts';
import { placeOfSlot, slotOf } from '../names.ts';
import { SETTINGS } from '../plan.ts';
import type { World } from '../world.ts';
import type { HostedReplica } from './hosted-replica.ts';
import type { SimNode } from './sim-node.ts';

const { leaseMs, driftMs } = SETTINGS;
const RECONNECT_MS = 50;

interface PeerLink {
  readonly peer: string;
  readonly lease: PeerLease;
  stream: SimStream | undefined;
  granter: LeaseGranter | undefined;
  led: readonly HostedReplica[];
  isRefused: boolean;
}

/** Leases asked of other nodes for what this one leads, and granted to them (R14, R17). */
export class LeaseExchange {
  readonly #world: World;
  readonly #node: SimNode;
  readonly #links = new Map<string, PeerLink>();
  readonly #guard = new ClockGuard({ leaseMs, driftMs });
  readonly #heardMs = new Map<string, number>();
  #isDue = false;

  constructor(options: { world: World; node: SimNode }) {
    this.#world = options.world;
    this.#node = options.node;
  }

  /** An office, or the members of a partition that is led here, changed. */
  noteChanged(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    this.#node.after(0, () => {
      this.#isDue = false;
      this.#refresh();
    });
  }

  leaseUntilMs(slot: number, member: Member, epoch: number): number {
    const { keyspace, partition } = placeOfSlot(slot);
    const honest = this.#links.get(member.node)?.lease.leaseUntilMs(keyspace, partition, epoch, member.replica) ?? Number.NEGATIVE_INFINITY;
    return this.#world.mutant?.leaseUntilMs?.(honest, { member, leader: this.#node.hosted(slot)?.replica.leader }) ?? honest;
  }

  /** How each peer is seen: when it was heard last, and whether its address refuses connections. */
  *sights(): Iterable<{ readonly node: string; readonly silentMs: number; readonly isRefused: boolean }> {
    const nowMs = this.#node.clock.monotonicMs;
    for (const node of new Set([...this.#heardMs.keys(), ...this.#links.keys()])) {
      const link = this.#links.get(node);
      const heardMs = Math.max(this.#heardMs.get(node) ?? Number.NEGATIVE_INFINITY, link?.lease.heardMs ?? Number.NEGATIVE_INFINITY);
      yield { node, silentMs: Math.min(nowMs - this.#node.startedMs, nowMs - heardMs), isRefused: link?.isRefused === true };
    }
  }

  /** Every heartbeat interval. */
  tick(): void {
    this.checkClock();
    for (const link of this.#links.values()) this.#beat(link);
  }

  /** Before an office serves a request (R16, R17). */
  beforeServing(): void {
    if (this.#guard.isLookDue(this.#node.moment())) this.checkClock();
  }

  checkClock(): void {
    if (this.#guard.check(this.#node.clock.look()) === 0 || this.#world.mutant?.ignoresClockJumps === true) return;
    for (const link of this.#links.values()) link.lease.dropAll();
    for (const link of this.#links.values()) {
      for (const { replica } of link.led) replica.leader?.onLeasesDropped(this.#node.clock.monotonicMs);
    }
  }

  #refresh(): void {
    const lists = leaseLists(this.#node.replicas());
    for (const [peer, link] of this.#links) {
      if (lists.has(peer)) continue;
      this.#links.delete(peer);
      link.stream?.break();
    }
    for (const [peer, { items, led }] of lists) {
      let link = this.#links.get(peer);
      if (link === undefined) {
        link = { peer, lease: new PeerLease({ leaseMs, driftMs }), stream: undefined, granter: undefined, led, isRefused: false };
        this.#links.set(peer, link);
        this.#connect(link);
      }
      link.led = led;
      if (link.lease.setItems(items)) this.#beat(link);
    }
  }

  #connect(link: PeerLink): void {
    if (this.#links.get(link.peer) !== link || link.stream !== undefined) return;
    const later = (): void => this.#node.after(RECONNECT_MS, () => this.#connect(link));
    const target = this.#world.nodeOf(link.peer);
    const isCut = this.#world.network.isCut(this.#node.id, link.peer) || this.#world.network.isCut(link.peer, this.#node.id);
    link.isRefused = target === undefined && !isCut;
    if (target === undefined || isCut) return later();
    const stream = this.#world.network.open(this.#node, target);
    link.stream = stream;
    // A leader that goes on whatever it hears does not hear of its successor's epoch either (R27).
    const isDeaf = (replica: PartitionReplica | undefined): boolean => this.#world.mutant?.acceptsOldEpochs === true && replica?.leader !== undefined;
    link.granter = new LeaseGranter({
      find: (keyspace, partition) => {
        const replica = target.hosted(slotOf({ keyspace, partition }))?.replica;
        return isDeaf(replica) ? undefined : replica;
      },
    });
    stream.onBreak('opener', () => {
      if (link.stream !== stream) return;
      link.stream = undefined;
      later();
    });
    link.lease.onStreamOpened();
    this.#beat(link);
  }

  #beat(link: PeerLink): void {
    const { stream, granter } = link;
    if (stream === undefined || granter === undefined) return;
    const beat = link.lease.nextBeat(this.#node.clock.monotonicMs);
    const target = this.#world.nodeOf(link.peer);
    if (target !== stream.acceptor) return;
    stream.toAcceptor(() => {
      target.leases.heard(this.#node.id);
      const roles = [...target.replicas()].map((hosted) => hosted.replica.role);
      const answer = granter.onBeat(beat, leaseMs, target.clock.monotonicMs);
      // A beat may bring news of a higher epoch (R27).
      [...target.replicas()].forEach((hosted, index) => {
        if (hosted.replica.role !== roles[index]) hosted.noteRole();
      });
      stream.toOpener(() => {
        if (link.stream !== stream) return;
        const promised = this.#world.mutant?.acceptsOldEpochs === true ? { ...answer, exceptions: [] } : answer;
        link.lease.onAnswer(promised, this.#node.clock.monotonicMs);
        this.#tell(link);
      });
    });
  }

  heard(peer: string): void {
    this.#heardMs.set(peer, this.#node.clock.monotonicMs);
  }

  #tell(link: PeerLink): void {
    const nowMs = this.#node.clock.monotonicMs;
    for (const { replica } of link.led) replica.leader?.onLeaseChanged(nowMs);
  }
}
