// What a cluster knows of a keyspace that it holds still for another one (R37), and whether it may give it away. That it has is
// one write to the keyspace's record, which compares what stood there: so a hold ends in one of two ways, and only one.
//
//            asked for            all confirmed             asked to move, and still whole
//   (open) -----------> HELD ---------------------> HELD ---------------------------------> MOVED, until an operator reopens it
//                        |  time is up, the other cluster gives it up, another coordinator is elected
//                        +---------------------------------------------------------------> (open)
import type { PartitionRecord } from '@atoll/core-membership';

/** Of one partition, as its leader confirmed it. */
export interface ConfirmedBarrier {
  /** Counter of the generation. */
  readonly generation: number;
}

/**
 * Why the keyspace cannot be moved: what was acknowledged may not be all before the barriers. Undefined when it can. `records`: all
 * of the keyspace that there are. A record that was thawed is not frozen again behind its barrier.
 */
export function refusalOfMove(hold: string, partitionCount: number, records: readonly Pick<PartitionRecord, 'partition' | 'frozen' | 'generation'>[], barriers: ReadonlyMap<number, ConfirmedBarrier>): string | undefined {
  if (records.length < partitionCount) return `${partitionCount - records.length} of ${partitionCount} partitions have no record`;
  for (const { partition, frozen, generation } of records) {
    const barrier = barriers.get(partition);
    if (barrier === undefined) return `partition ${partition} has not confirmed that nothing more is written`;
    if (frozen !== hold) return `partition ${partition} takes writes again`;
    if (generation.counter !== barrier.generation) return `partition ${partition} began a new generation`;
  }
  return undefined;
}
