import { FollowRequest, FollowResponse } from '@atoll/contracts/atoll/v1/replication';
import * as fc from 'fast-check';
import { decodeFollowRequest, decodeFollowResponse, encodeFollowRequest, encodeFollowResponse } from './follow-codec.ts';
import { MalformedMessage } from './wire-reader.ts';

const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
const uint32 = fc.oneof(fc.nat(200), fc.integer({ min: 0, max: 2 ** 32 - 1 }));
const safe = fc.oneof(fc.nat(300), fc.maxSafeNat());
const text = fc.string({ unit: 'binary', maxLength: 20 }).filter((value) => value.isWellFormed());
const few = <T>(each: fc.Arbitrary<T>): fc.Arbitrary<T[]> => fc.array(each, { maxLength: 3 });
/** One message in two has nothing but what is coded by hand. */
const rarely = <T>(value: fc.Arbitrary<T>, none: T): fc.Arbitrary<T> => fc.oneof({ weight: 4, arbitrary: fc.constant(none) }, { weight: 1, arbitrary: value });

const position = fc.record({ epoch: safe, seq: safe });
const generation = fc.option(fc.record({ counter: safe, id: text }), { nil: undefined });
const optionalPosition = fc.option(position, { nil: undefined });

const ack = fc.record({ channel: uint32, epoch: safe, appendedSeq: safe, appliedSeq: safe, freeBytes: safe, installing: fc.boolean() });
const hello = fc.record({ clusterId: text, nodeId: text, incarnation: text });
const subscription = fc.record({
  channel: uint32,
  keyspace: text,
  partition: uint32,
  replicaId: text,
  generation,
  epoch: safe,
  end: optionalPosition,
  appliedSeq: safe,
  installed: fc.boolean(),
  installLogSeq: safe,
});
const request: fc.Arbitrary<FollowRequest> = fc.record({
  hello: rarely(hello, undefined),
  subscriptions: rarely(few(subscription), []),
  acks: few(ack),
  unsubscribe: rarely(few(uint32), []),
  heartbeat: rarely(safe, 0),
});

const timeMs = fc.oneof(fc.constant(0), fc.double({ noNaN: true }).filter((value) => !Object.is(value, -0)));
const append = fc.record({ channel: uint32, epoch: safe, prev: optionalPosition, count: uint32, entries: bytes, commitSeq: safe, timeMs });
const part = fc.record({ channel: uint32, epoch: safe, prev: optionalPosition, entryBytes: uint32, offset: uint32, data: bytes });
const response: fc.Arbitrary<FollowResponse> = fc.record({
  appends: few(append),
  parts: rarely(few(part), []),
  divergences: rarely(few(fc.record({ channel: uint32, epoch: safe, end: optionalPosition })), []),
  installs: rarely(few(fc.record({ channel: uint32, epoch: safe, generation, logStart: optionalPosition })), []),
  refusals: rarely(few(fc.record({ channel: uint32, reason: text, epoch: safe })), []),
  traces: rarely(few(fc.record({ channel: uint32, seq: safe, traceparent: text })), []),
  heartbeat: rarely(safe, 0),
  answered: rarely(safe, 0),
  withoutLease: rarely(few(uint32), []),
});

function problemOf(act: () => unknown): unknown {
  try {
    act();
    return undefined;
  } catch (error) {
    return error;
  }
}

describe('Follow messages, by hand and generated', () => {
  it('FollowRequest: each reads what the other writes', () => {
    fc.assert(
      fc.property(request, (message) => {
        expect(FollowRequest.decode(encodeFollowRequest(message))).toEqual(message);
        expect(decodeFollowRequest(Buffer.from(FollowRequest.encode(message).finish()))).toEqual(message);
      }),
    );
  });

  it('FollowResponse: the same bytes, and each reads what the other writes', () => {
    fc.assert(
      fc.property(response, (message) => {
        const generated = Buffer.from(FollowResponse.encode(message).finish());
        expect(encodeFollowResponse(message)).toEqual(generated);
        expect(decodeFollowResponse(generated)).toEqual(message);
      }),
    );
  });

  it('goes past fields that it does not know', () => {
    const unknown = Buffer.from('f80f01fa0f03616263fd0f00000000f90f0000000000000000', 'hex'); // field 255 in every wire type
    fc.assert(
      fc.property(request, response, (asked, answered) => {
        expect(decodeFollowRequest(Buffer.concat([unknown, encodeFollowRequest(asked), unknown]))).toEqual(asked);
        expect(decodeFollowResponse(Buffer.concat([unknown, encodeFollowResponse(answered), unknown]))).toEqual(answered);
      }),
      { numRuns: 30 },
    );
  });

  it('never reads beyond the bytes, whatever they are', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (noise) => {
        for (const decode of [decodeFollowRequest, decodeFollowResponse]) {
          const problem = problemOf(() => decode(Buffer.from(noise)));
          // Generated code throws plain errors, and RangeErrors at the end of the bytes.
          expect(problem === undefined || problem instanceof MalformedMessage || problem instanceof RangeError || (problem as object).constructor === Error).toBe(true);
        }
      }),
    );
  });

  it('does not copy log entries', () => {
    const encoded = encodeFollowResponse(FollowResponse.fromPartial({ appends: [{ channel: 1, count: 1, entries: Buffer.from('entries') }] }));
    expect(decodeFollowResponse(encoded).appends[0]!.entries.buffer).toBe(encoded.buffer);
  });
});
