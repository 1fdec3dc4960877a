// Writes that are gone since a reset or an unclean recovery, as far as this node can still read them: found where its
// replicas held another generation, written down, and told to the elected coordinator.
import type { DiscardedWrites } from '@atoll/contracts/atoll/v1/heartbeat';
import type { DiscardReport } from '@atoll/core-replication';
import type { Logger } from '@atoll/platform-telemetry';
import type { StorageNodeEvents } from '../events.ts';
import type { HostedReplica } from '../hosted-replica.ts';
import { DiscardFile } from './discard-file.ts';
import { DiscardLedger } from './discard-ledger.ts';
import { FormerReaders } from './former-readers.ts';

export interface DiscardsOptions {
  readonly dataDir: string | undefined;
  /** Whether the memory of former data is needed for what is served. */
  readonly isScarce: (hosted: HostedReplica) => boolean;
  readonly events: StorageNodeEvents;
  readonly logger: Logger;
}

export class Discards {
  readonly #events: StorageNodeEvents;
  readonly #readers: FormerReaders;
  readonly #ledger: DiscardLedger;

  constructor({ dataDir, isScarce, events, logger }: DiscardsOptions) {
    this.#events = events;
    this.#ledger = new DiscardLedger({ file: dataDir === undefined ? undefined : new DiscardFile(dataDir), wallMs: () => Date.now(), logger });
    this.#readers = new FormerReaders({ isScarce, onReport: (hosted, report) => this.#tell(hosted, report) });
  }

  /** To be called for every replica, now and then. */
  look(hosted: HostedReplica): void {
    if (hosted.replica.state.hasFormer) this.#readers.read(hosted);
  }

  /** The record does not name the replica, and its data goes. It tells of what is of another generation, or was in the way of a reset. */
  dropping(hosted: HostedReplica): void {
    const { state, record } = hosted.replica;
    const { generation } = state;
    const wanted = record?.record;
    if (wanted === undefined) return;
    const isLast = wanted.state === 'FENCING' || wanted.generation.counter !== generation.counter || wanted.generation.id !== generation.id;
    const report = isLast ? state.giveUpAll() : state.giveUpFormer();
    if (report !== undefined) this.#tell(hosted, report);
  }

  tick(nowMs: number): void {
    this.#ledger.tick(nowMs);
  }

  list(): DiscardedWrites[] {
    return this.#ledger.list();
  }

  taken(number: number): void {
    this.#ledger.taken(number);
  }

  /** A partition became a copy, and what its source does not have is gone from here (R37). */
  resynced(hosted: HostedReplica, report: DiscardReport): void {
    this.#tell(hosted, report);
  }

  close(): Promise<void> {
    this.#readers.close();
    return this.#ledger.close();
  }

  #tell(hosted: HostedReplica, report: DiscardReport): void {
    this.#events.dataDiscarded(hosted.replica.state.identity, report);
    if (report.discarded + report.unknown > 0) this.#ledger.add(hosted, report, performance.now());
  }
}
