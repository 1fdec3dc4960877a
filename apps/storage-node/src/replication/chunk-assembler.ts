import type { FetchSnapshotResponse } from '@atoll/contracts/atoll/v1/transfer';
import { AtollError } from '@atoll/core-errors';
import type { SnapshotChunk } from '@atoll/core-replication';
import { checksum32, hashOfHalves } from '@atoll/core-runtime';
import { decodeRows, type EntryRow } from '@atoll/core-store';

/** Bytes of keys and values of a chunk. */
export function chunkBytes(chunk: SnapshotChunk): number {
  return chunk.entries.reduce((sum, entry) => sum + entry.key.length + entry.value.length, 0);
}

const NOTHING = { isApart: false, value: Buffer.alloc(0) };

/** Puts a chunk together from its messages and checks it. */
export class ChunkAssembler {
  #entries: readonly EntryRow[] = [];
  readonly #filled = new Map<number, number>();
  /** Sum of the checksums of what has come. */
  #checksum = 0;

  /** The chunk when this message was its last. Throws INTERNAL when its pieces or its checksum are wrong. */
  add(message: FetchSnapshotResponse): SnapshotChunk | undefined {
    if (message.rows.length > 0) {
      this.#checksum += checksum32(message.rows);
      this.#entries = decodeRows(message.rows);
    }
    if (message.valuePart.length > 0) {
      const { isApart, value } = this.#entries[message.partOf] ?? NOTHING;
      const at = this.#filled.get(message.partOf) ?? 0;
      if (!isApart || at + message.valuePart.length > value.length) throw new AtollError('INTERNAL', 'a piece of a value does not belong to its chunk');
      this.#filled.set(message.partOf, at + message.valuePart.copy(value, at));
      this.#checksum += checksum32(message.valuePart);
    }
    if (message.continued) return undefined;
    const entries = this.#entries;
    const checksum = this.#checksum % 2 ** 32;
    this.#entries = [];
    this.#filled.clear();
    this.#checksum = 0;
    if (checksum !== message.checksum) throw new AtollError('INTERNAL', 'the checksum of a snapshot chunk is wrong');
    const to = hashOfHalves(message.toHigh, message.toLow);
    return { from: { high: message.fromHigh, low: message.fromLow }, to, readSeq: message.readSeq, entries };
  }
}
