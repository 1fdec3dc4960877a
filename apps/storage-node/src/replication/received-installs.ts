import type { SnapshotInstall } from '@atoll/core-replication';
import type { HostedReplica } from '../hosted-replica.ts';

/** How long a replica is told of when nothing is missing any more, in ms. */
const TOLD_MS = 60_000;

export interface ReceivedInstall {
  readonly hosted: HostedReplica;
  /** Keys and values received since the install was ordered, and how many. */
  readonly bytes: number;
  readonly entries: number;
  /** Share of the key hashes that is installed, 0 to 1. */
  readonly progress: number;
  readonly isInstalled: boolean;
}

interface Account {
  /** The order that it is of; undefined once nothing is missing. */
  install: SnapshotInstall | undefined;
  bytes: number;
  entries: number;
  endedMs: number | undefined;
}

/** What came to the replicas of this node that are being filled, or were a short time ago. One row for each at most. */
export class ReceivedInstalls {
  readonly #accounts = new Map<HostedReplica, Account>();

  /** An install was ordered, or goes on with another leader. */
  began(hosted: HostedReplica): void {
    const { install } = hosted.replica.state;
    if (this.#accounts.get(hosted)?.install === install) return;
    this.#accounts.set(hosted, { install, bytes: 0, entries: 0, endedMs: undefined });
  }

  took(hosted: HostedReplica, { bytes, entries }: { bytes: number; entries: number }): void {
    const account = this.#accounts.get(hosted);
    if (account === undefined) return;
    account.bytes += bytes;
    account.entries += entries;
  }

  /** What it has received so far; nothing when it is not told of. */
  of(hosted: HostedReplica): { readonly bytes: number; readonly entries: number } {
    return this.#accounts.get(hosted) ?? { bytes: 0, entries: 0 };
  }

  /** Forgets what ended long ago. To be called about every second. */
  tick(nowMs: number): void {
    for (const [hosted, account] of this.#accounts) {
      if (account.endedMs === undefined && hosted.replica.state.isInstalled) account.endedMs = nowMs;
      const isOver = account.endedMs !== undefined && nowMs - account.endedMs > TOLD_MS;
      if (isOver || hosted.isDropped) this.#accounts.delete(hosted);
    }
  }

  list(): ReceivedInstall[] {
    const rows: ReceivedInstall[] = [];
    for (const [hosted, { bytes, entries }] of this.#accounts) {
      const { state } = hosted.replica;
      if (!hosted.isDropped) rows.push({ hosted, bytes, entries, progress: progressOf(state.install), isInstalled: state.isInstalled });
    }
    return rows;
  }
}

/** Key hashes are spread evenly, so their share is that of the entries. */
const progressOf = (install: SnapshotInstall | undefined): number => install?.progress ?? 1;
