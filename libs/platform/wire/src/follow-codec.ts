// The messages of the Follow streams. Nearly all that flows there is log entries one way and acknowledgements the
// other, a few bytes per partition in every message: those are read and written by hand, without a copy of the entries
// and without BigInt. All else is rare and left to the generated code. follow-codec.spec.ts holds both equal.
import { FollowRequest, FollowResponse, type Append, type FollowAck } from '@atoll/contracts/atoll/v1/replication';
import { WireReader } from './wire-reader.ts';
import { WireWriter, delimitedBytes, numberBytes } from './wire-writer.ts';

const EMPTY: Buffer = Buffer.alloc(0);
/** `FollowRequest.acks` and `FollowResponse.appends`. */
const ACKS_TAG = 26;
const APPENDS_TAG = 10;
const DOUBLE_FIELD_BYTES = 9;

/** The acknowledgements stand last: the order of fields means nothing. */
export function encodeFollowRequest(message: FollowRequest): Buffer {
  const { acks, hello, subscriptions, unsubscribe, heartbeat } = message;
  const hasRest = hello !== undefined || subscriptions.length > 0 || unsubscribe.length > 0 || heartbeat !== 0;
  const rest = hasRest ? FollowRequest.encode({ ...message, acks: [] }).finish() : EMPTY;
  let size = rest.length;
  for (const ack of acks) size += delimitedBytes(ackBytes(ack));
  const writer = new WireWriter(size);
  writer.raw(rest);
  for (const ack of acks) {
    writer.header(ACKS_TAG, ackBytes(ack));
    writer.number(8, ack.channel);
    writer.number(16, ack.epoch);
    writer.number(24, ack.appendedSeq);
    writer.number(32, ack.appliedSeq);
    writer.number(40, ack.freeBytes);
    writer.number(48, ack.installing ? 1 : 0);
  }
  return writer.buffer;
}

/** Throws MalformedMessage, or the plain Error of generated code. */
export function decodeFollowRequest(bytes: Buffer): FollowRequest {
  const acks: FollowAck[] = [];
  const rest = readRepeated(bytes, ACKS_TAG, (reader) => acks.push(readAck(reader)));
  return rest === undefined ? { hello: undefined, subscriptions: [], acks, unsubscribe: [], heartbeat: 0 } : { ...FollowRequest.decode(rest), acks };
}

/** The appends stand first, as generated code puts them. */
export function encodeFollowResponse(message: FollowResponse): Buffer {
  const { appends } = message;
  const rest = hasOnlyAppends(message) ? EMPTY : FollowResponse.encode({ ...message, appends: [] }).finish();
  let size = rest.length;
  for (const append of appends) size += delimitedBytes(appendBytes(append));
  const writer = new WireWriter(size);
  for (const append of appends) {
    const { prev } = append;
    writer.header(APPENDS_TAG, appendBytes(append));
    writer.number(8, append.channel);
    writer.number(16, append.epoch);
    if (prev !== undefined) {
      writer.header(26, positionBytes(prev));
      writer.number(8, prev.epoch);
      writer.number(16, prev.seq);
    }
    writer.number(32, append.count);
    writer.bytes(42, append.entries);
    writer.number(48, append.commitSeq);
    writer.double(57, append.timeMs);
  }
  writer.raw(rest);
  return writer.buffer;
}

/** Entries are views of `bytes`. Throws MalformedMessage, or the plain Error of generated code. */
export function decodeFollowResponse(bytes: Buffer): FollowResponse {
  const appends: Append[] = [];
  const rest = readRepeated(bytes, APPENDS_TAG, (reader) => appends.push(readAppend(reader)));
  return rest === undefined ? { ...NOTHING_ELSE, appends } : { ...FollowResponse.decode(rest), appends };
}

const NOTHING_ELSE: Omit<FollowResponse, 'appends'> = { parts: [], divergences: [], installs: [], refusals: [], traces: [], heartbeat: 0, answered: 0, withoutLease: [] };

const hasOnlyAppends = ({ parts, divergences, installs, refusals, traces, heartbeat, answered, withoutLease }: FollowResponse): boolean =>
  parts.length + divergences.length + installs.length + refusals.length + traces.length + withoutLease.length === 0 && heartbeat === 0 && answered === 0;

/** Hands each field with this tag to `read`; returns all other fields, as they stand there, or undefined when there are none. */
function readRepeated(bytes: Buffer, tag: number, read: (reader: WireReader) => void): Buffer | undefined {
  const reader = new WireReader(bytes);
  let rest: Buffer[] | undefined;
  while (reader.pos < reader.end) {
    const start = reader.pos;
    const found = reader.varint();
    if (found === tag) {
      const end = reader.delimited();
      read(new WireReader(bytes, reader.pos, end));
      reader.pos = end;
    } else {
      reader.skip(found);
      (rest ??= []).push(bytes.subarray(start, reader.pos));
    }
  }
  return rest && Buffer.concat(rest);
}

function readAck(reader: WireReader): FollowAck {
  const ack: FollowAck = { channel: 0, epoch: 0, appendedSeq: 0, appliedSeq: 0, freeBytes: 0, installing: false };
  while (reader.pos < reader.end) {
    const tag = reader.varint();
    if (tag === 8) ack.channel = reader.uint32();
    else if (tag === 16) ack.epoch = reader.varint();
    else if (tag === 24) ack.appendedSeq = reader.varint();
    else if (tag === 32) ack.appliedSeq = reader.varint();
    else if (tag === 40) ack.freeBytes = reader.varint();
    else if (tag === 48) ack.installing = reader.bool();
    else reader.skip(tag);
  }
  return ack;
}

function readAppend(reader: WireReader): Append {
  const append: Append = { channel: 0, epoch: 0, prev: undefined, count: 0, entries: EMPTY, commitSeq: 0, timeMs: 0 };
  while (reader.pos < reader.end) {
    const tag = reader.varint();
    if (tag === 8) append.channel = reader.uint32();
    else if (tag === 16) append.epoch = reader.varint();
    else if (tag === 26) append.prev = readPosition(reader);
    else if (tag === 32) append.count = reader.uint32();
    else if (tag === 42) append.entries = reader.bytes();
    else if (tag === 48) append.commitSeq = reader.varint();
    else if (tag === 57) append.timeMs = reader.double();
    else reader.skip(tag);
  }
  return append;
}

function readPosition(outer: WireReader): { epoch: number; seq: number } {
  const position = { epoch: 0, seq: 0 };
  const end = outer.delimited();
  const reader = new WireReader(outer.buffer, outer.pos, end);
  outer.pos = end;
  while (reader.pos < reader.end) {
    const tag = reader.varint();
    if (tag === 8) position.epoch = reader.varint();
    else if (tag === 16) position.seq = reader.varint();
    else reader.skip(tag);
  }
  return position;
}

const ackBytes = ({ channel, epoch, appendedSeq, appliedSeq, freeBytes, installing }: FollowAck): number =>
  numberBytes(channel) + numberBytes(epoch) + numberBytes(appendedSeq) + numberBytes(appliedSeq) + numberBytes(freeBytes) + (installing ? 2 : 0);

const positionBytes = ({ epoch, seq }: { readonly epoch: number; readonly seq: number }): number => numberBytes(epoch) + numberBytes(seq);

function appendBytes({ channel, epoch, prev, count, entries, commitSeq, timeMs }: Append): number {
  return (
    numberBytes(channel) +
    numberBytes(epoch) +
    (prev === undefined ? 0 : delimitedBytes(positionBytes(prev))) +
    numberBytes(count) +
    (entries.length === 0 ? 0 : delimitedBytes(entries.length)) +
    numberBytes(commitSeq) +
    (timeMs === 0 ? 0 : DOUBLE_FIELD_BYTES)
  );
}
