import { WireReader } from './wire-reader.ts';
import { WireWriter, delimitedBytes, numberBytes } from './wire-writer.ts';

// The frames of the Execute stream, without looking into the operations: a router passes their bytes on as they
// came. Requests and results name their kind by the field number of the oneof.

/** Field numbers of `Operation.kind`. */
export const OPERATION = { GET: 5, SET: 6, DELETE: 7, INCREMENT: 8, TOUCH: 9 } as const;
/** Field numbers of `op_id` in the request of each kind of write. */
export const OP_ID_FIELD: Readonly<Record<number, number>> = { [OPERATION.SET]: 8, [OPERATION.DELETE]: 5, [OPERATION.INCREMENT]: 7, [OPERATION.TOUCH]: 6 };
/** Field numbers of `OperationResult.kind`. The result of an operation has its number - 1. */
export const RESULT = { ERROR: 3, GET: 4, SET: 5, DELETE: 6, INCREMENT: 7, TOUCH: 8 } as const;

const EMPTY: Buffer = Buffer.alloc(0);

/** Takes in the content of an ExecuteRequest, in the order in which it stands there. Bodies are views. */
export interface OperationVisitor {
  /** `kind` is one of OPERATION, or 0 when the operation has none that is known. */
  onOperation(operation: OperationFrame): void;
  onPart(id: number, data: Buffer): void;
}

export interface OperationFrame {
  readonly id: number;
  readonly deadlineMs: number;
  readonly traceparent: string;
  /** Not 0: the value comes in parts. */
  readonly valueBytes: number;
  readonly kind: number;
  /** The message of the kind. */
  readonly body: Buffer;
}

/** Takes in the content of an ExecuteResponse. */
export interface ResultVisitor {
  /** `kind` is one of RESULT, or 0. */
  onResult(id: number, kind: number, body: Buffer, valueBytes: number): void;
  onPart(id: number, data: Buffer): void;
}

/** Throws MalformedMessage, possibly after some operations were handed over. */
export function readExecuteRequest(bytes: Buffer, visitor: OperationVisitor): void {
  const reader = new WireReader(bytes);
  while (reader.pos < reader.end) {
    const tag = reader.varint();
    if (tag === 10) visitor.onOperation(readOperation(reader));
    else if (tag === 18) readPart(reader, visitor);
    else reader.skip(tag);
  }
}

/** Throws MalformedMessage, possibly after some results were handed over. */
export function readExecuteResponse(bytes: Buffer, visitor: ResultVisitor): void {
  const reader = new WireReader(bytes);
  while (reader.pos < reader.end) {
    const tag = reader.varint();
    if (tag === 10) readResult(reader, visitor);
    else if (tag === 18) readPart(reader, visitor);
    else reader.skip(tag);
  }
}

function readOperation(outer: WireReader): OperationFrame {
  const end = outer.delimited();
  const reader = new WireReader(outer.buffer, outer.pos, end);
  outer.pos = end;
  let id = 0;
  let deadlineMs = 0;
  let traceparent = '';
  let valueBytes = 0;
  let kind = 0;
  let body: Buffer = EMPTY;
  while (reader.pos < reader.end) {
    const tag = reader.varint();
    if (tag === 8) id = reader.varint();
    else if (tag === 16) deadlineMs = reader.uint32();
    else if (tag === 26) traceparent = reader.string();
    else if (tag === 32) valueBytes = reader.uint32();
    else if ((tag & 7) === 2 && tag >= 42 && tag <= 74) {
      kind = tag >>> 3;
      body = reader.bytes();
    } else reader.skip(tag);
  }
  return { id, deadlineMs, traceparent, valueBytes, kind, body };
}

function readResult(outer: WireReader, visitor: ResultVisitor): void {
  const end = outer.delimited();
  const reader = new WireReader(outer.buffer, outer.pos, end);
  outer.pos = end;
  let id = 0;
  let valueBytes = 0;
  let kind = 0;
  let body: Buffer = EMPTY;
  while (reader.pos < reader.end) {
    const tag = reader.varint();
    if (tag === 8) id = reader.varint();
    else if (tag === 16) valueBytes = reader.uint32();
    else if ((tag & 7) === 2 && tag >= 26 && tag <= 66) {
      kind = tag >>> 3;
      body = reader.bytes();
    } else reader.skip(tag);
  }
  visitor.onResult(id, kind, body, valueBytes);
}

function readPart(outer: WireReader, visitor: { onPart(id: number, data: Buffer): void }): void {
  const end = outer.delimited();
  const reader = new WireReader(outer.buffer, outer.pos, end);
  outer.pos = end;
  let id = 0;
  let data: Buffer = EMPTY;
  while (reader.pos < reader.end) {
    const tag = reader.varint();
    if (tag === 8) id = reader.varint();
    else if (tag === 18) data = reader.bytes();
    else reader.skip(tag);
  }
  visitor.onPart(id, data);
}

/** An operation to be sent. Its message is `body` followed by `tail`: fields may be appended without a copy. */
export interface OutgoingOperation extends OperationFrame {
  readonly tail: Buffer;
}

/** A result to be sent; its message is `body` followed by `tail`. */
export interface OutgoingResult {
  readonly id: number;
  readonly valueBytes: number;
  readonly kind: number;
  readonly body: Buffer;
  readonly tail: Buffer;
}

export interface OutgoingPart {
  readonly id: number;
  readonly data: Buffer;
}

/** One ExecuteRequest in one buffer. */
export function encodeExecuteRequest(operations: readonly OutgoingOperation[], parts: readonly OutgoingPart[]): Buffer {
  let size = 0;
  for (const operation of operations) size += delimitedBytes(operationBytes(operation));
  for (const part of parts) size += delimitedBytes(partBytes(part));
  const writer = new WireWriter(size);
  for (const operation of operations) {
    writer.header(10, operationBytes(operation));
    writer.number(8, operation.id);
    writer.number(16, operation.deadlineMs);
    if (operation.traceparent !== '') writer.text(26, operation.traceparent, operation.traceparent.length);
    writer.number(32, operation.valueBytes);
    writer.header(operation.kind * 8 + 2, operation.body.length + operation.tail.length);
    writer.raw(operation.body);
    writer.raw(operation.tail);
  }
  writeParts(writer, parts);
  return writer.buffer;
}

/** One ExecuteResponse in one buffer. */
export function encodeExecuteResponse(results: readonly OutgoingResult[], parts: readonly OutgoingPart[]): Buffer {
  let size = 0;
  for (const result of results) size += delimitedBytes(resultBytes(result));
  for (const part of parts) size += delimitedBytes(partBytes(part));
  const writer = new WireWriter(size);
  for (const result of results) {
    writer.header(10, resultBytes(result));
    writer.number(8, result.id);
    writer.number(16, result.valueBytes);
    writer.header(result.kind * 8 + 2, result.body.length + result.tail.length);
    writer.raw(result.body);
    writer.raw(result.tail);
  }
  writeParts(writer, parts);
  return writer.buffer;
}

function writeParts(writer: WireWriter, parts: readonly OutgoingPart[]): void {
  for (const part of parts) {
    writer.header(18, partBytes(part));
    writer.number(8, part.id);
    writer.bytes(18, part.data);
  }
}

/** Size of an operation inside its message, without tag and length. `traceparent` is ASCII. */
function operationBytes(operation: OutgoingOperation): number {
  const traceBytes = operation.traceparent.length;
  return (
    numberBytes(operation.id) +
    numberBytes(operation.deadlineMs) +
    (traceBytes === 0 ? 0 : delimitedBytes(traceBytes)) +
    numberBytes(operation.valueBytes) +
    delimitedBytes(operation.body.length + operation.tail.length)
  );
}

const resultBytes = (result: OutgoingResult): number =>
  numberBytes(result.id) + numberBytes(result.valueBytes) + delimitedBytes(result.body.length + result.tail.length);

const partBytes = (part: OutgoingPart): number => numberBytes(part.id) + (part.data.length === 0 ? 0 : delimitedBytes(part.data.length));
