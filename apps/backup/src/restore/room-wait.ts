// A restore that has begun, and whose nodes have become full meanwhile: clients wrote more, or a part of the keys was more than the share
// of all of them. It is waited for, since a node may be added or something expire; not for ever, since it holds memory as well.
import type { PartitionMigration } from '@atoll/contracts/atoll/v1/migration';
import { AtollError } from '@atoll/core-errors';
import { freeRoom, type NodeMemory } from '@atoll/core-migration';

/** Without anything new for so long, in ms, while partitions lack memory, it is given up. */
export const ROOM_PATIENCE_MS = 120_000;

export class RoomWait {
  readonly #patienceMs: number;
  /** Most that there was. */
  #bytes = 0;
  #sinceMs: number | undefined;

  constructor(patienceMs = ROOM_PATIENCE_MS) {
    this.#patienceMs = patienceMs;
  }

  /** What a partition lacks memory for, in words; empty: none does, or it gets on all the same. `nowMs`: monotonic. */
  look(partitions: readonly PartitionMigration[], nowMs: number): { readonly problem: string; readonly isOver: boolean } {
    const bytes = partitions.reduce((sum, partition) => sum + partition.bytes, 0);
    const short = partitions.find(({ problemReason }) => problemReason === 'MEMORY_EXHAUSTED');
    const isNews = bytes > this.#bytes;
    this.#bytes = Math.max(this.#bytes, bytes);
    if (short === undefined || isNews) {
      this.#sinceMs = undefined;
      return { problem: '', isOver: false };
    }
    this.#sinceMs ??= nowMs;
    return { problem: short.problem, isOver: nowMs - this.#sinceMs >= this.#patienceMs };
  }

  /** It is over: with what there is of it, and what each node has free. `keyspace`: for people. */
  failure(keyspace: string, problem: string, { entries, bytes }: { readonly entries: number; readonly bytes: number }, memory: ReadonlyMap<string, NodeMemory>): AtollError {
    const free = freeRoom(memory);
    const room = free === undefined ? '' : `; of the ${free.text} there are ${free.perNode}`;
    const text = `target: nothing more of ${keyspace} has found room for ${Math.round(this.#patienceMs / 1000)} s, with ${entries} entries there that take ${bytes} bytes in each replica (${problem})${room}`;
    return new AtollError('CAPACITY_SHORT', text, { metadata: { field: 'target', held_bytes: String(bytes), ...(free !== undefined && { free_bytes: String(free.freeBytes) }) } });
  }
}
