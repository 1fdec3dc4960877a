// The records that wait for the flusher, already cut into frames and segments. Where a record will stand is
// settled when it is added, so positions and pinned segments are exact before anything is written.
import { KIB, MIB } from '@atoll/core-runtime';
import { FILE_HEADER_BYTES } from './file-header.ts';
import { FRAME_HEADER_BYTES } from './frame.ts';
import type { EncodedRecord } from './log-record.ts';
import type { RecordPlace } from './replica-table.ts';

/** A frame takes records until its payload has this many bytes; a longer record has one of its own. */
const FRAME_PAYLOAD_BYTES = MIB;
const CHUNK_BYTES = 64 * KIB;
/** Parts up to this length are copied together, because many small parts make writev slow. */
const COPIED_BYTES_MAX = 16 * KIB;

export interface PendingFrame {
  readonly kind: 'frame';
  readonly position: number;
  readonly parts: Uint8Array[];
  payloadBytes: number;
}

export interface PendingSegment {
  readonly kind: 'segment';
  readonly number: number;
  /** Position of the segment's first byte. */
  readonly base: number;
}

export type PendingStep = PendingFrame | PendingSegment;

export class LogBuffer {
  readonly #segmentBytes: number;
  /** The STATE record that a new segment begins with. */
  readonly #encodeState: () => EncodedRecord;
  #steps: PendingStep[] = [];
  #frame: PendingFrame | undefined;
  #segment: PendingSegment;
  #hasRecords = false;
  #position: number;
  /** Bytes of `#chunk` from `#chunkStart` to `#chunkEnd` belong to the frame, but are not among its parts yet. */
  #chunk = Buffer.alloc(0);
  #chunkStart = 0;
  #chunkEnd = 0;

  /** Begins with a new segment, `first`. */
  constructor(options: { segmentBytes: number; encodeState: () => EncodedRecord; first: { number: number; base: number } }) {
    this.#segmentBytes = options.segmentBytes;
    this.#encodeState = options.encodeState;
    this.#position = options.first.base;
    this.#segment = this.#beginSegment(options.first.number);
  }

  get position(): number {
    return this.#position;
  }

  /** Segment that the last record added stands in. */
  get segment(): number {
    return this.#segment.number;
  }

  get isEmpty(): boolean {
    return this.#steps.length === 0;
  }

  add(record: EncodedRecord): RecordPlace {
    const bytes = record.head.length + (record.body?.length ?? 0);
    const isFull = this.#position + FRAME_HEADER_BYTES + bytes > this.#segment.base + this.#segmentBytes;
    if (isFull && this.#hasRecords) {
      this.#sealFrame();
      this.#segment = this.#beginSegment(this.#segment.number + 1);
    }
    this.#hasRecords = true;
    return { segment: this.#segment.number, position: this.#put(record, bytes) };
  }

  /** Everything added since the last call, in the order to write it. */
  take(): PendingStep[] {
    this.#sealFrame();
    const steps = this.#steps;
    this.#steps = [];
    return steps;
  }

  #beginSegment(number: number): PendingSegment {
    const segment: PendingSegment = { kind: 'segment', number, base: this.#position };
    this.#steps.push(segment);
    this.#position += FILE_HEADER_BYTES;
    this.#hasRecords = false;
    const state = this.#encodeState();
    this.#put(state, state.head.length + (state.body?.length ?? 0));
    return segment;
  }

  /** Position of the record. */
  #put(record: EncodedRecord, bytes: number): number {
    const frame = this.#openFrame(bytes);
    const position = this.#position;
    this.#putPart(frame, record.head);
    if (record.body !== undefined) this.#putPart(frame, record.body);
    frame.payloadBytes += bytes;
    this.#position += bytes;
    return position;
  }

  #openFrame(bytes: number): PendingFrame {
    if (this.#frame !== undefined && this.#frame.payloadBytes + bytes <= FRAME_PAYLOAD_BYTES) return this.#frame;
    this.#sealFrame();
    const frame: PendingFrame = { kind: 'frame', position: this.#position, parts: [], payloadBytes: 0 };
    this.#steps.push(frame);
    this.#frame = frame;
    this.#position += FRAME_HEADER_BYTES;
    return frame;
  }

  #sealFrame(): void {
    if (this.#frame !== undefined) this.#endPart(this.#frame);
    this.#frame = undefined;
  }

  #putPart(frame: PendingFrame, part: Uint8Array): void {
    if (part.length > COPIED_BYTES_MAX) {
      this.#endPart(frame);
      frame.parts.push(part);
      return;
    }
    if (this.#chunkEnd + part.length > this.#chunk.length) {
      this.#endPart(frame);
      this.#chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES);
      this.#chunkStart = 0;
      this.#chunkEnd = 0;
    }
    this.#chunk.set(part, this.#chunkEnd);
    this.#chunkEnd += part.length;
  }

  #endPart(frame: PendingFrame): void {
    if (this.#chunkEnd > this.#chunkStart) frame.parts.push(this.#chunk.subarray(this.#chunkStart, this.#chunkEnd));
    this.#chunkStart = this.#chunkEnd;
  }
}
