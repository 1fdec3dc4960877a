import type { PartitionReplica } from '../partition-replica.ts';
import type { LeaseAnswer, LeaseBeat, LeaseItem } from './peer-lease.ts';

/** The granting side of one stream of beats (R14). A partition that is not granted at the asked epoch is an exception. */
export class LeaseGranter {
  readonly #find: (keyspace: string, partition: number) => PartitionReplica | undefined;
  #listVersion = 0;
  #items: readonly LeaseItem[] = [];

  constructor(options: { find: (keyspace: string, partition: number) => PartitionReplica | undefined }) {
    this.#find = options.find;
  }

  /** `leaseMs`: for how long the asking node counts. Every promise is made, and counted, from `nowMs`: when the beat arrived. */
  onBeat(beat: LeaseBeat, leaseMs: number, nowMs: number): LeaseAnswer {
    if (beat.listVersion !== this.#listVersion) {
      this.#listVersion = beat.listVersion;
      this.#items = beat.items;
    }
    const exceptions: number[] = [];
    this.#items.forEach((item, place) => {
      const isGranted = this.#find(item.keyspace, item.partition)?.grantLease(item, leaseMs, nowMs) === true;
      if (!isGranted) exceptions.push(place);
    });
    return { beat: beat.beat, listVersion: this.#listVersion, exceptions };
  }
}
