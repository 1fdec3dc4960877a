import type { GetRequest, GetResponse, OpId, SetRequest, SetResponse } from '@atoll/contracts/atoll/v1/cache';
import { Fence } from '@atoll/contracts/atoll/v1/locks';
import { WireReader } from './wire-reader.ts';
import { WireWriter, delimitedBytes, numberBytes } from './wire-writer.ts';

// The four messages that make up nearly all traffic, by hand: the generated code copies every byte field and
// goes through BigInt for every 64-bit number. hot-messages.spec.ts holds both equal. Decoded byte fields are
// views of `bytes`; who keeps one beyond the request copies it.

const EMPTY: Buffer = Buffer.alloc(0);
/** Of the field `fence`, number 15 in every request. */
const FENCE_TAG = 122;

export function decodeGetRequest(bytes: Buffer): GetRequest {
  const message: GetRequest = { keyspace: '', key: EMPTY, consistency: 0, maxStalenessMs: 0, session: EMPTY };
  const reader = new WireReader(bytes);
  while (reader.pos < reader.end) {
    const tag = reader.varint();
    if (tag === 18) message.key = reader.bytes();
    else if (tag === 10) message.keyspace = reader.string();
    else if (tag === 24) message.consistency = (reader.signed() | 0) as GetRequest['consistency'];
    else if (tag === 32) message.maxStalenessMs = reader.uint32();
    else if (tag === 42) message.session = reader.bytes();
    else if (tag === FENCE_TAG) message.fence = Fence.decode(reader.bytes());
    else reader.skip(tag);
  }
  return message;
}

export function encodeGetRequest(message: GetRequest): Buffer {
  const keyspaceBytes = Buffer.byteLength(message.keyspace);
  const fence = encodeFence(message.fence);
  const size =
    fieldBytes(keyspaceBytes) +
    fieldBytes(message.key.length) +
    numberBytes(message.consistency) +
    numberBytes(message.maxStalenessMs) +
    fieldBytes(message.session.length) +
    fenceFieldBytes(fence);
  const writer = new WireWriter(size);
  writer.text(10, message.keyspace, keyspaceBytes);
  writer.bytes(18, message.key);
  writer.number(24, message.consistency);
  writer.number(32, message.maxStalenessMs);
  writer.bytes(42, message.session);
  writeFence(writer, fence);
  return writer.buffer;
}

export function decodeGetResponse(bytes: Buffer): GetResponse {
  const message: GetResponse = { found: false, value: EMPTY, version: EMPTY, expiresAtMs: 0, session: EMPTY };
  const reader = new WireReader(bytes);
  while (reader.pos < reader.end) {
    const tag = reader.varint();
    if (tag === 8) message.found = reader.bool();
    else if (tag === 18) message.value = reader.bytes();
    else if (tag === 26) message.version = reader.bytes();
    else if (tag === 32) message.expiresAtMs = reader.varint();
    else if (tag === 42) message.session = reader.bytes();
    else reader.skip(tag);
  }
  return message;
}

export function encodeGetResponse(message: GetResponse): Buffer {
  const size =
    (message.found ? 2 : 0) +
    fieldBytes(message.value.length) +
    fieldBytes(message.version.length) +
    numberBytes(message.expiresAtMs) +
    fieldBytes(message.session.length);
  const writer = new WireWriter(size);
  writer.number(8, message.found ? 1 : 0);
  writer.bytes(18, message.value);
  writer.bytes(26, message.version);
  writer.number(32, message.expiresAtMs);
  writer.bytes(42, message.session);
  return writer.buffer;
}

export function decodeSetRequest(bytes: Buffer): SetRequest {
  const message: SetRequest = {
    keyspace: '',
    key: EMPTY,
    value: EMPTY,
    ttlMs: 0,
    condition: 0,
    expectedVersion: EMPTY,
    ack: 0,
    opId: undefined,
    session: EMPTY,
    noExpiry: false,
  };
  const reader = new WireReader(bytes);
  while (reader.pos < reader.end) {
    const tag = reader.varint();
    switch (tag) {
      case 10:
        message.keyspace = reader.string();
        break;
      case 18:
        message.key = reader.bytes();
        break;
      case 26:
        message.value = reader.bytes();
        break;
      case 32:
        message.ttlMs = reader.signed();
        break;
      case 40:
        message.condition = (reader.signed() | 0) as SetRequest['condition'];
        break;
      case 50:
        message.expectedVersion = reader.bytes();
        break;
      case 56:
        message.ack = (reader.signed() | 0) as SetRequest['ack'];
        break;
      case 66:
        message.opId = decodeOpId(reader.bytes());
        break;
      case 74:
        message.session = reader.bytes();
        break;
      case 80:
        message.noExpiry = reader.bool();
        break;
      case FENCE_TAG:
        message.fence = Fence.decode(reader.bytes());
        break;
      default:
        reader.skip(tag);
    }
  }
  return message;
}

export function encodeSetRequest(message: SetRequest): Buffer {
  const keyspaceBytes = Buffer.byteLength(message.keyspace);
  const { opId } = message;
  const fence = encodeFence(message.fence);
  const opIdSize = opId === undefined ? 0 : opIdBytes(opId);
  const size =
    fieldBytes(keyspaceBytes) +
    fieldBytes(message.key.length) +
    fieldBytes(message.value.length) +
    numberBytes(message.ttlMs) +
    numberBytes(message.condition) +
    fieldBytes(message.expectedVersion.length) +
    numberBytes(message.ack) +
    (opId === undefined ? 0 : delimitedBytes(opIdSize)) +
    fieldBytes(message.session.length) +
    (message.noExpiry ? 2 : 0) +
    fenceFieldBytes(fence);
  const writer = new WireWriter(size);
  writer.text(10, message.keyspace, keyspaceBytes);
  writer.bytes(18, message.key);
  writer.bytes(26, message.value);
  writer.number(32, message.ttlMs);
  writer.number(40, message.condition);
  writer.bytes(50, message.expectedVersion);
  writer.number(56, message.ack);
  if (opId !== undefined) {
    writer.header(66, opIdSize);
    writeOpId(writer, opId);
  }
  writer.bytes(74, message.session);
  writer.number(80, message.noExpiry ? 1 : 0);
  writeFence(writer, fence);
  return writer.buffer;
}

export function decodeSetResponse(bytes: Buffer): SetResponse {
  const message: SetResponse = { applied: false, version: EMPTY, session: EMPTY };
  const reader = new WireReader(bytes);
  while (reader.pos < reader.end) {
    const tag = reader.varint();
    if (tag === 8) message.applied = reader.bool();
    else if (tag === 18) message.version = reader.bytes();
    else if (tag === 26) message.session = reader.bytes();
    else reader.skip(tag);
  }
  return message;
}

export function encodeSetResponse(message: SetResponse): Buffer {
  const writer = new WireWriter((message.applied ? 2 : 0) + fieldBytes(message.version.length) + fieldBytes(message.session.length));
  writer.number(8, message.applied ? 1 : 0);
  writer.bytes(18, message.version);
  writer.bytes(26, message.session);
  return writer.buffer;
}

/** The field `op_id` with this field number, to be appended to a write: the last one counts. */
export function encodeOpIdField(fieldNumber: number, opId: OpId): Buffer {
  const size = opIdBytes(opId);
  const writer = new WireWriter(delimitedBytes(size));
  writer.header(fieldNumber * 8 + 2, size);
  writeOpId(writer, opId);
  return writer.buffer;
}

function decodeOpId(bytes: Buffer): OpId {
  const opId: OpId = { clientId: EMPTY, counter: 0, repeatAgeMs: 0 };
  const reader = new WireReader(bytes);
  while (reader.pos < reader.end) {
    const tag = reader.varint();
    if (tag === 10) opId.clientId = reader.bytes();
    else if (tag === 16) opId.counter = reader.varint();
    else if (tag === 24) opId.repeatAgeMs = reader.uint32();
    else reader.skip(tag);
  }
  return opId;
}

const opIdBytes = (opId: OpId): number => fieldBytes(opId.clientId.length) + numberBytes(opId.counter) + numberBytes(opId.repeatAgeMs);

function writeOpId(writer: WireWriter, opId: OpId): void {
  writer.bytes(10, opId.clientId);
  writer.number(16, opId.counter);
  writer.number(24, opId.repeatAgeMs);
}

// A fence is rare: the generated code is good enough for it.
const encodeFence = (fence: Fence | undefined): Uint8Array | undefined => fence && Fence.encode(fence).finish();
const fenceFieldBytes = (fence: Uint8Array | undefined): number => (fence === undefined ? 0 : delimitedBytes(fence.length));

function writeFence(writer: WireWriter, fence: Uint8Array | undefined): void {
  if (fence === undefined) return;
  writer.header(FENCE_TAG, fence.length);
  writer.raw(Buffer.from(fence.buffer, fence.byteOffset, fence.byteLength));
}

/** Bytes of a length-delimited field that is left out when empty. */
const fieldBytes = (length: number): number => (length === 0 ? 0 : delimitedBytes(length));
