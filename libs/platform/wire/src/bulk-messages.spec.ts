import { ReadPartitionResponse } from '@atoll/contracts/atoll/v1/archive';
import { FetchSnapshotResponse } from '@atoll/contracts/atoll/v1/transfer';
import * as fc from 'fast-check';
import { decodeFetchSnapshotResponse, decodeReadPartitionResponse } from './bulk-messages.ts';
import { MalformedMessage } from './wire-reader.ts';

const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
const uint32 = fc.oneof(fc.nat(200), fc.integer({ min: 0, max: 2 ** 32 - 1 }));
const safe = fc.oneof(fc.nat(300), fc.maxSafeNat());
const maybe = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(value, { nil: undefined });
const time = fc.oneof(fc.constant(0), fc.double({ noNaN: true }).filter((value) => !Object.is(value, -0)));

const snapshot: fc.Arbitrary<FetchSnapshotResponse> = fc.record({
  fromHigh: uint32,
  fromLow: uint32,
  toHigh: maybe(uint32),
  toLow: maybe(uint32),
  readSeq: safe,
  epoch: safe,
  rows: bytes,
  checksum: uint32,
  valuePart: bytes,
  partOf: uint32,
  continued: fc.boolean(),
  results: bytes,
  resultsEnd: fc.boolean(),
  resultsFloorMs: time,
  fences: maybe(bytes),
  copies: maybe(bytes),
});
const place = fc.record({ generation: maybe(fc.record({ counter: safe, id: fc.string({ maxLength: 9 }) })), position: maybe(fc.record({ epoch: safe, seq: safe })), nextHigh: maybe(uint32), nextLow: maybe(uint32) });
const archived: fc.Arbitrary<ReadPartitionResponse> = fc.record({
  rows: bytes,
  log: bytes,
  entries: uint32,
  place: maybe(place),
  end: fc.boolean(),
  stampMs: time,
  digest: maybe(fc.record({ entries: safe, sumHigh: uint32, sumLow: uint32 })),
  bytesLeft: safe,
});
const codecs = [
  { name: 'FetchSnapshotResponse', messages: snapshot as fc.Arbitrary<object>, generated: FetchSnapshotResponse as { encode(message: object): { finish(): Uint8Array }; decode(bytes: Buffer): object }, decode: decodeFetchSnapshotResponse as (bytes: Buffer) => object, field: 'rows' },
  { name: 'ReadPartitionResponse', messages: archived as fc.Arbitrary<object>, generated: ReadPartitionResponse as never, decode: decodeReadPartitionResponse as (bytes: Buffer) => object, field: 'log' },
];

describe.each(codecs)('a $name', ({ messages, generated, decode, field }) => {
  const encode = (message: object): Buffer => Buffer.from(generated.encode(message).finish());

  it('is read as generated code reads it', () => {
    fc.assert(fc.property(messages, (message) => expect(decode(encode(message))).toEqual(generated.decode(encode(message)))));
  });

  it('of a later version, too', () => {
    const unknown = Buffer.from([0xf8, 0x7f, 7, 0xfa, 0x7f, 2, 1, 2]);
    fc.assert(fc.property(messages, (message) => expect(decode(Buffer.concat([unknown, encode(message), unknown]))).toEqual(generated.decode(encode(message)))));
  });

  it('has its bytes as views of what came', () => {
    const encoded = encode({ ...generated.decode(Buffer.alloc(0)), [field]: Buffer.from('something') });
    expect((decode(encoded) as Record<string, Buffer>)[field]!.buffer).toBe(encoded.buffer);
  });

  it('that ends in the middle is malformed', () => {
    const encoded = encode({ ...generated.decode(Buffer.alloc(0)), [field]: Buffer.from('something') });
    expect(() => decode(encoded.subarray(0, -1))).toThrow(MalformedMessage);
  });
});
