import type { HostedReplica } from '../hosted-replica.ts';
import type { RoleListener } from '../replica-host.ts';
import { LeaderLink, type LeaderLinkOptions } from './leader-link.ts';

export interface LeaderLinksOptions extends Omit<LeaderLinkOptions, 'leader'> {
  /** The replica follows nobody any more. */
  readonly onIdle: (hosted: HostedReplica) => void;
}

/** The nodes that lead what this node follows: one link for each. */
export class LeaderLinks implements RoleListener {
  readonly #options: LeaderLinksOptions;
  readonly #links = new Map<string, LeaderLink>();
  readonly #linkOf = new Map<HostedReplica, LeaderLink>();
  #isClosed = false;

  constructor(options: LeaderLinksOptions) {
    this.#options = options;
  }

  onRole(hosted: HostedReplica): void {
    if (this.#isClosed) return;
    const { role } = hosted.replica;
    const before = this.#linkOf.get(hosted);
    const link = role.kind === 'follower' ? this.#linkTo(role.of.node) : undefined;
    if (before !== undefined && before !== link) before.unfollow(hosted);
    if (link === undefined) {
      this.#linkOf.delete(hosted);
      this.#options.onIdle(hosted);
    } else {
      this.#linkOf.set(hosted, link);
      link.follow(hosted);
      // An install that was under way goes on at the new leader (R33).
      if (hosted.replica.state.install?.next !== undefined) this.#options.onInstall(hosted);
    }
    this.#closeUnused();
  }

  onDurable(hosted: HostedReplica): void {
    this.#linkOf.get(hosted)?.acknowledge(hosted);
  }

  onDropped(hosted: HostedReplica): void {
    this.#linkOf.get(hosted)?.unfollow(hosted);
    this.#linkOf.delete(hosted);
    this.#options.onIdle(hosted);
    this.#closeUnused();
  }

  onFlushed(): void {
    for (const link of this.#links.values()) link.onFlushed();
  }

  /** 0 for a leader under a lease; one without is as stale as its lease is old. Infinity when nothing is known (R35). */
  stalenessMs(hosted: HostedReplica, nowMs: number): number {
    const { leader } = hosted.replica;
    if (leader !== undefined) return leader.refusalOfReads(nowMs) === undefined ? 0 : nowMs - hosted.ledUntilMs;
    return this.#linkOf.get(hosted)?.stalenessMs(hosted, nowMs) ?? Number.POSITIVE_INFINITY;
  }

  tick(): void {
    for (const link of this.#links.values()) link.tick();
  }

  close(): void {
    this.#isClosed = true;
    for (const link of this.#links.values()) link.close();
    this.#links.clear();
    this.#linkOf.clear();
  }

  #linkTo(node: string): LeaderLink {
    const present = this.#links.get(node);
    if (present !== undefined) return present;
    const made = new LeaderLink({ ...this.#options, leader: node });
    this.#links.set(node, made);
    return made;
  }

  #closeUnused(): void {
    for (const [node, link] of this.#links) {
      if (!link.isUnused) continue;
      link.close();
      this.#links.delete(node);
    }
  }
}
