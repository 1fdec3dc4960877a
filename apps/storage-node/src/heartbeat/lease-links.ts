import type { Member } from '@atoll/core-membership';
import { leaseLists } from '@atoll/core-replication';
import type { HostedReplica } from '../hosted-replica.ts';
import type { TurnEnd } from '../turn.ts';
import { LeaseLink, type LeaseLinkOptions } from './lease-link.ts';

export interface LeaseLinksOptions extends Omit<LeaseLinkOptions, 'peer' | 'onAnswer'> {
  readonly turn: TurnEnd;
  readonly replicas: () => Iterable<HostedReplica>;
}

/** The nodes that hold replicas of what this node leads: one link for each, and one list of partitions on it (R14). */
export class LeaseLinks {
  readonly #options: LeaseLinksOptions;
  readonly #links = new Map<string, LeaseLink>();
  /** What stands on a link's list: who is told when the peer has answered. */
  readonly #led = new Map<LeaseLink, readonly HostedReplica[]>();
  #isScheduled = false;
  #isClosed = false;

  constructor(options: LeaseLinksOptions) {
    this.#options = options;
  }

  /** An office, or the members of a partition that is led here, changed: the lists are made anew when this turn ends. */
  noteChanged(): void {
    if (this.#isScheduled || this.#isClosed) return;
    this.#isScheduled = true;
    this.#options.turn.schedule(() => {
      this.#isScheduled = false;
      this.#refresh();
    });
  }

  /** -Infinity without a promise. */
  leaseUntilMs(hosted: HostedReplica, member: Member, epoch: number): number {
    return this.#links.get(member.node)?.leaseUntilMs(hosted.keyspace, hosted.partition, epoch, member.replica) ?? Number.NEGATIVE_INFINITY;
  }

  links(): Iterable<LeaseLink> {
    return this.#links.values();
  }

  link(peer: string): LeaseLink | undefined {
    return this.#links.get(peer);
  }

  /** To be called every heartbeat interval. */
  tick(nowMs: number): void {
    for (const link of this.#links.values()) link.tick(nowMs);
  }

  /** The clock stood still (R17): no office may answer before its leases are granted anew. */
  dropAll(nowMs: number): void {
    // All of them before anybody is told: a partition may need leases of several nodes.
    for (const link of this.#links.values()) link.dropAll();
    for (const link of this.#links.values()) {
      for (const { replica } of this.#led.get(link) ?? []) replica.leader?.onLeasesDropped(nowMs);
      link.beat();
    }
  }

  close(): void {
    this.#isClosed = true;
    for (const link of this.#links.values()) link.close();
    this.#links.clear();
    this.#led.clear();
  }

  #refresh(): void {
    if (this.#isClosed) return;
    const lists = leaseLists(this.#options.replicas());
    for (const [peer, link] of this.#links) if (!lists.has(peer)) this.#drop(peer, link);
    for (const [peer, { items, led }] of lists) {
      const link = this.#links.get(peer) ?? this.#open(peer);
      this.#led.set(link, led);
      link.setItems(items);
    }
  }

  #open(peer: string): LeaseLink {
    const link = new LeaseLink({ ...this.#options, peer, onAnswer: (answered) => this.#tell(answered, performance.now()) });
    this.#links.set(peer, link);
    return link;
  }

  #drop(peer: string, link: LeaseLink): void {
    link.close();
    this.#links.delete(peer);
    this.#led.delete(link);
  }

  #tell(link: LeaseLink, nowMs: number): void {
    for (const { replica } of this.#led.get(link) ?? []) replica.leader?.onLeaseChanged(nowMs);
  }
}
