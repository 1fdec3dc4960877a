import { ExecuteRequest, ExecuteResponse, GetRequest, GetResponse, SetRequest, SetResponse } from '@atoll/contracts/atoll/v1/cache';
import type { Fence } from '@atoll/contracts/atoll/v1/locks';
import * as fc from 'fast-check';
import {
  OPERATION,
  RESULT,
  encodeExecuteRequest,
  encodeExecuteResponse,
  readExecuteRequest,
  readExecuteResponse,
  type OperationFrame,
  type OutgoingResult,
} from './execute-codec.ts';
import {
  decodeGetRequest,
  decodeGetResponse,
  decodeSetRequest,
  decodeSetResponse,
  encodeGetRequest,
  encodeGetResponse,
  encodeOpIdField,
  encodeSetRequest,
  encodeSetResponse,
} from './hot-messages.ts';
import { MalformedMessage } from './wire-reader.ts';

const EMPTY: Buffer = Buffer.alloc(0);
const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
const uint32 = fc.oneof(fc.nat(200), fc.integer({ min: 0, max: 2 ** 32 - 1 }));
const safe = fc.oneof(fc.nat(300), fc.maxSafeNat());
const signed = fc.oneof(fc.integer({ min: -300, max: 300 }), fc.maxSafeInteger());
const enums = fc.oneof(fc.nat(5), fc.integer()) as fc.Arbitrary<never>;
const text = fc.string({ unit: 'binary', maxLength: 40 }).filter((value) => value.isWellFormed());

const token = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const fence: fc.Arbitrary<Fence | undefined> = fc.option(fc.record({ name: text, rangeStart: token, rangeEnd: token, fencingToken: safe, mode: enums }), { nil: undefined });
const getRequest: fc.Arbitrary<GetRequest> = fc.record({ keyspace: text, key: bytes, consistency: enums, maxStalenessMs: uint32, session: bytes, fence });
const getResponse: fc.Arbitrary<GetResponse> = fc.record({ found: fc.boolean(), value: bytes, version: bytes, expiresAtMs: safe, session: bytes });
const setResponse: fc.Arbitrary<SetResponse> = fc.record({ applied: fc.boolean(), version: bytes, session: bytes });
const setRequest: fc.Arbitrary<SetRequest> = fc.record({
  keyspace: text,
  key: bytes,
  value: bytes,
  ttlMs: signed,
  condition: enums,
  expectedVersion: bytes,
  ack: enums,
  opId: fc.option(fc.record({ clientId: bytes, counter: safe, repeatAgeMs: fc.nat({ max: 2 ** 32 - 1 }) }), { nil: undefined }),
  session: bytes,
  noExpiry: fc.boolean(),
  fence,
});

interface Codec<T> {
  readonly generated: { encode(message: T): { finish(): Uint8Array }; decode(input: Uint8Array): T };
  readonly decode: (input: Buffer) => T;
  readonly encode: (message: T) => Buffer;
}

function holdsEqual<T>(messages: fc.Arbitrary<T>, codec: Codec<T>): void {
  fc.assert(
    fc.property(messages, (message) => {
      const expected = Buffer.from(codec.generated.encode(message).finish());
      expect(codec.encode(message)).toEqual(expected);
      expect(codec.decode(expected)).toEqual(codec.generated.decode(expected));
    }),
  );
}

function problemOf(act: () => unknown): unknown {
  try {
    act();
    return undefined;
  } catch (error) {
    return error;
  }
}

describe('hot messages, by hand and generated', () => {
  it.each<[string, () => void]>([
    ['GetRequest', () => holdsEqual(getRequest, { generated: GetRequest, decode: decodeGetRequest, encode: encodeGetRequest })],
    ['GetResponse', () => holdsEqual(getResponse, { generated: GetResponse, decode: decodeGetResponse, encode: encodeGetResponse })],
    ['SetRequest', () => holdsEqual(setRequest, { generated: SetRequest, decode: decodeSetRequest, encode: encodeSetRequest })],
    ['SetResponse', () => holdsEqual(setResponse, { generated: SetResponse, decode: decodeSetResponse, encode: encodeSetResponse })],
  ])('%s', (_name, check) => {
    expect(check).not.toThrow();
  });

  it('goes past fields that it does not know', () => {
    const unknown = Buffer.from('f80f01fa0f03616263fd0f00000000f90f0000000000000000', 'hex'); // field 255 in every wire type
    const message = GetRequest.create({ key: Buffer.from('k') });
    expect(decodeGetRequest(Buffer.concat([unknown, encodeGetRequest(message), unknown]))).toEqual(message);
  });

  it('never reads beyond the bytes, whatever they are', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (noise) => {
        for (const decode of [decodeGetRequest, decodeSetRequest, decodeGetResponse, decodeSetResponse]) {
          const problem = problemOf(() => decode(Buffer.from(noise)));
          expect(problem === undefined || problem instanceof MalformedMessage).toBe(true);
        }
      }),
    );
  });

  it('takes the last of a field that comes twice, so that fields can be appended', () => {
    const opId = { clientId: Buffer.from('12345678'), counter: 7, repeatAgeMs: 300 };
    const message = SetRequest.create({ key: Buffer.from('k'), value: Buffer.from('v') });
    expect(decodeSetRequest(Buffer.concat([encodeSetRequest(message), encodeOpIdField(8, opId)]))).toEqual({ ...message, opId });
  });
});

describe('Execute frames', () => {
  it('writes what the generated code reads, and reads what it writes', () => {
    const operation = fc.record({ id: safe, deadlineMs: uint32, traceparent: fc.constantFrom('', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'), valueBytes: uint32, request: getRequest });
    const part = fc.record({ id: safe, data: bytes });
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 5 }), fc.array(part, { maxLength: 3 }), (operations, parts) => {
        const encoded = encodeExecuteRequest(
          operations.map(({ request, ...rest }) => ({ ...rest, kind: OPERATION.GET, body: encodeGetRequest(request), tail: EMPTY })),
          parts,
        );
        const expected = ExecuteRequest.decode(encoded);
        expect(expected).toEqual({
          operations: operations.map(({ request, ...rest }) => ({ ...rest, kind: { $case: 'get', value: GetRequest.decode(encodeGetRequest(request)) } })),
          parts,
        });
        const frames: OperationFrame[] = [];
        const pieces: unknown[] = [];
        readExecuteRequest(Buffer.from(ExecuteRequest.encode(expected).finish()), {
          onOperation: (frame) => frames.push(frame),
          onPart: (id, data) => pieces.push({ id, data }),
        });
        expect(frames).toEqual(operations.map(({ request, ...rest }) => ({ ...rest, kind: OPERATION.GET, body: encodeGetRequest(request) })));
        expect(pieces).toEqual(parts);
      }),
    );
  });

  it('does the same for results', () => {
    const result = fc.record({ id: safe, valueBytes: uint32, response: getResponse });
    fc.assert(
      fc.property(fc.array(result, { maxLength: 5 }), (results) => {
        const outgoing: OutgoingResult[] = results.map(({ response, ...rest }) => ({ ...rest, kind: RESULT.GET, body: encodeGetResponse(response), tail: EMPTY }));
        const encoded = encodeExecuteResponse(outgoing, [{ id: 3, data: Buffer.from('x') }]);
        expect(ExecuteResponse.decode(encoded)).toEqual({
          results: results.map(({ response, ...rest }) => ({ ...rest, kind: { $case: 'get', value: response } })),
          parts: [{ id: 3, data: Buffer.from('x') }],
        });
        const seen: OutgoingResult[] = [];
        readExecuteResponse(encoded, {
          onResult: (id, kind, body, valueBytes) => seen.push({ id, kind, body, valueBytes, tail: EMPTY }),
          onPart: (id, data) => expect([id, data.toString()]).toEqual([3, 'x']),
        });
        expect(seen).toEqual(outgoing);
      }),
    );
  });
});
