// Results of the latest writes by op id on their way to a replica that is being filled (R21): before the first chunk, in
// messages that hold whole rows.
import type { FetchSnapshotResponse } from '@atoll/contracts/atoll/v1/transfer';
import { AtollError } from '@atoll/core-errors';
import { RESULT_ROW_BYTES, type ReplicaState } from '@atoll/core-replication';
import { KIB, MIB } from '@atoll/core-runtime';

const PIECE_BYTES = RESULT_ROW_BYTES * Math.floor((256 * KIB) / RESULT_ROW_BYTES);
/** More than a table of the largest size has. */
const RESULTS_BYTES_MAX = 256 * MIB;

export type ResultPiece = Pick<FetchSnapshotResponse, 'results' | 'resultsEnd' | 'resultsFloorMs'>;

export const NO_RESULTS: ResultPiece = { results: Buffer.alloc(0), resultsEnd: false, resultsFloorMs: 0 };

/** What the replica knows of the writes that it has applied. The last piece says that it is. */
export function resultPieces({ results, appliedSeq }: ReplicaState): ResultPiece[] {
  const rows = results.encode(appliedSeq);
  const pieces: ResultPiece[] = [];
  for (let at = 0; at < rows.length; at += PIECE_BYTES) pieces.push({ ...NO_RESULTS, results: rows.subarray(at, at + PIECE_BYTES) });
  return [...pieces, { ...NO_RESULTS, resultsEnd: true, resultsFloorMs: results.floorMs }];
}

/** Puts the results together and hands them to the replica. */
export class ResultsAssembler {
  readonly #pieces: Buffer[] = [];
  #bytes = 0;

  /** Throws INTERNAL when there are more than any replica has, or no whole rows. */
  add(message: FetchSnapshotResponse, state: ReplicaState): void {
    this.#bytes += message.results.length;
    if (this.#bytes > RESULTS_BYTES_MAX || message.results.length % RESULT_ROW_BYTES !== 0) {
      throw new AtollError('INTERNAL', `a snapshot brings ${this.#bytes} bytes of results`);
    }
    if (message.results.length > 0) this.#pieces.push(message.results);
    if (!message.resultsEnd) return;
    const rows = Buffer.concat(this.#pieces);
    this.#pieces.length = 0;
    if (state.results.isPartial) state.results.absorb({ rows, appliedSeq: message.readSeq, floorMs: message.resultsFloorMs });
  }
}
