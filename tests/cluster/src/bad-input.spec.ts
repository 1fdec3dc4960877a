// Bad input is refused by the router with the gRPC status, the reason and the field, and never reaches a partition.
import { randomBytes } from 'node:crypto';
import { jest } from '@jest/globals';
import { isAtollError, type AtollClient } from '@atoll/client';
import {
  DeleteRequest,
  GetRequest,
  IncrementRequest,
  ScanRequest,
  SetRequest,
  TouchRequest,
  type CacheClient,
  type ExecuteRequest,
  type ExecuteResponse,
  type OperationResult,
} from '@atoll/contracts/atoll/v1/cache';
import { KEY_BYTES_MAX, MIB, VALUE_BYTES_MAX } from '@atoll/core-runtime';
import { callUnary } from '@atoll/platform-grpc';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';
import { describeFailure, unaryFailure, type GrpcFailure } from './grpc-failure.ts';

jest.setTimeout(120_000);

const KEY = Buffer.from('key');
const SMALL_VALUE_BYTES_MAX = 1000;
const LARGE_VALUE_DEADLINE_MS = 60_000;

let cluster: DevCluster;
let raw: CacheClient;
let client: AtollClient;

beforeAll(async () => {
  cluster = await DevCluster.start({ nodes: 2 });
  await cluster.createKeyspace({ name: 'small', partitionCount: 2, valueBytesMax: SMALL_VALUE_BYTES_MAX });
  raw = cluster.rawClient();
  client = cluster.client();
}, START_MS);

afterAll(() => cluster?.stop(), STOP_MS);

type RequestOf = {
  readonly get: Partial<GetRequest>;
  readonly set: Partial<SetRequest>;
  readonly delete: Partial<DeleteRequest>;
  readonly increment: Partial<IncrementRequest>;
  readonly touch: Partial<TouchRequest>;
};

function failureOf<Name extends keyof RequestOf>(name: Name, request: RequestOf[Name]): Promise<GrpcFailure> {
  return unaryFailure((done) => {
    switch (name) {
      case 'get':
        return raw.get(GetRequest.fromPartial({ key: KEY, ...request }), done);
      case 'set':
        return raw.set(SetRequest.fromPartial({ key: KEY, value: KEY, ...request }), done);
      case 'delete':
        return raw.delete(DeleteRequest.fromPartial({ key: KEY, ...request }), done);
      case 'increment':
        return raw.increment(IncrementRequest.fromPartial({ key: KEY, delta: 1n, ...request }), done);
      default:
        return raw.touch(TouchRequest.fromPartial({ key: KEY, ...request }), done);
    }
  });
}

function scanFailure(request: Partial<ScanRequest>): Promise<GrpcFailure> {
  return new Promise((resolve, reject) => {
    const call = raw.scan(ScanRequest.fromPartial(request));
    call.on('data', () => undefined);
    call.on('error', (error) => resolve(describeFailure(error as Parameters<typeof describeFailure>[0])));
    call.on('end', () => reject(new Error('the scan succeeded')));
  });
}

const invalid = (reason: string, field: string): GrpcFailure => ({ status: 'INVALID_ARGUMENT', reason, field });
const KEY_EMPTY = invalid('KEY_EMPTY', 'key');
const KEY_TOO_LARGE = invalid('KEY_TOO_LARGE', 'key');
const EMPTY = Buffer.alloc(0);
const LONG_KEY = Buffer.alloc(KEY_BYTES_MAX + 1, 'k');
const NONSENSE = Buffer.from('this is no token that any cluster gave out');
/** An enum number of a later release. */
const UNKNOWN = 9 as 0;

describe('a request that is refused', () => {
  const cases: [string, () => Promise<GrpcFailure>, GrpcFailure][] = [
    ['an empty key in Get', () => failureOf('get', { key: EMPTY }), KEY_EMPTY],
    ['an empty key in Set', () => failureOf('set', { key: EMPTY }), KEY_EMPTY],
    ['an empty key in Delete', () => failureOf('delete', { key: EMPTY }), KEY_EMPTY],
    ['an empty key in Increment', () => failureOf('increment', { key: EMPTY }), KEY_EMPTY],
    ['an empty key in Touch', () => failureOf('touch', { key: EMPTY }), KEY_EMPTY],
    ['a key of 4 KiB + 1 in Get', () => failureOf('get', { key: LONG_KEY }), KEY_TOO_LARGE],
    ['a key of 4 KiB + 1 in Set', () => failureOf('set', { key: LONG_KEY }), KEY_TOO_LARGE],
    ['a value over the limit of its keyspace', () => failureOf('set', { keyspace: 'small', value: Buffer.alloc(SMALL_VALUE_BYTES_MAX + 1) }), invalid('VALUE_TOO_LARGE', 'value')],
    ['a value over 64 MiB', () => failureOf('set', { value: Buffer.alloc(VALUE_BYTES_MAX + 1) }), invalid('VALUE_TOO_LARGE', 'value')],
    ['a negative ttl in Set', () => failureOf('set', { ttlMs: -1 }), invalid('INVALID_ARGUMENT', 'ttl_ms')],
    ['a negative ttl in Touch', () => failureOf('touch', { ttlMs: -1 }), invalid('INVALID_ARGUMENT', 'ttl_ms')],
    ['a negative ttl in Increment', () => failureOf('increment', { ttlMs: -5 }), invalid('INVALID_ARGUMENT', 'ttl_ms')],
    ['an unknown keyspace in Get', () => failureOf('get', { keyspace: 'nowhere' }), { status: 'NOT_FOUND', reason: 'KEYSPACE_NOT_FOUND', field: 'keyspace' }],
    ['an unknown keyspace in Set', () => failureOf('set', { keyspace: 'nowhere' }), { status: 'NOT_FOUND', reason: 'KEYSPACE_NOT_FOUND', field: 'keyspace' }],
    ['an unknown keyspace in Scan', () => scanFailure({ keyspace: 'nowhere' }), { status: 'NOT_FOUND', reason: 'KEYSPACE_NOT_FOUND', field: 'keyspace' }],
    ['a malformed session in Get', () => failureOf('get', { session: NONSENSE }), invalid('SESSION_MALFORMED', 'session')],
    ['a malformed session in Set', () => failureOf('set', { session: NONSENSE }), invalid('SESSION_MALFORMED', 'session')],
    ['a malformed cursor', () => scanFailure({ cursor: NONSENSE }), invalid('CURSOR_MALFORMED', 'cursor')],
    ['an expected_version of the wrong length in Set', () => failureOf('set', { condition: 4, expectedVersion: Buffer.from('abc') }), invalid('INVALID_ARGUMENT', 'expected_version')],
    ['an expected_version of the wrong length in Delete', () => failureOf('delete', { expectedVersion: Buffer.from('abc') }), invalid('INVALID_ARGUMENT', 'expected_version')],
    ['an unknown consistency', () => failureOf('get', { consistency: UNKNOWN }), invalid('INVALID_ARGUMENT', 'consistency')],
    ['an unknown condition', () => failureOf('set', { condition: UNKNOWN }), invalid('INVALID_ARGUMENT', 'condition')],
    ['an unknown ack', () => failureOf('set', { ack: UNKNOWN }), invalid('INVALID_ARGUMENT', 'ack')],
    ['BOUNDED without a bound', () => failureOf('get', { consistency: 2 }), invalid('INVALID_ARGUMENT', 'max_staleness_ms')],
    ['an op id that is too short', () => failureOf('set', { opId: { clientId: Buffer.of(1), counter: 1, repeatAgeMs: 0 } }), invalid('INVALID_ARGUMENT', 'op_id.client_id')],
  ];

  it.each(cases)('%s', async (_name, call, expected) => {
    await expect(call()).resolves.toEqual(expected);
  });

  it('is refused inside a batch as well, and leaves its neighbours alone', async () => {
    const { results } = await new Promise<{ results: readonly { applied: boolean; reason: string | undefined; field: string | undefined }[] }>((resolve, reject) => {
      const entries = [KEY, EMPTY, LONG_KEY, Buffer.from('other')].map((key) => ({ key, value: KEY, ttlMs: 0, noExpiry: false }));
      raw.setMany({ keyspace: '', entries, ack: 0, opId: undefined, session: EMPTY }, (error, response) => {
        if (error !== null) return reject(error);
        resolve({ results: response.results.map(({ applied, error: detail }) => ({ applied, reason: detail?.reason, field: detail?.metadata['field'] })) });
      });
    });
    expect(results.map(({ applied, reason }) => reason ?? applied)).toEqual([true, 'KEY_EMPTY', 'KEY_TOO_LARGE', true]);
    expect(results[1]!.field).toContain('key');
  });

  it('has the same reason and field in the SDK', async () => {
    const outcomes = await Promise.all(
      [
        client.get(''),
        client.set(LONG_KEY, 'v'),
        client.set('k', 'v', { ttlMs: -1 }),
        client.get('k', { keyspace: 'nowhere' }),
        client.get('k', { session: client.session(NONSENSE) }),
        client.set('k', Buffer.alloc(SMALL_VALUE_BYTES_MAX + 1), { keyspace: 'small' }),
        client.set('k', Buffer.alloc(VALUE_BYTES_MAX + 1), { deadlineMs: LARGE_VALUE_DEADLINE_MS }),
        client.set('k', 'v', { ifVersion: Buffer.from('abc') }),
      ].map((call) => call.then(() => 'succeeded').catch((error: unknown) => (isAtollError(error) ? `${error.reason} ${error.metadata['field']}` : error))),
    );
    expect(outcomes).toEqual([
      'KEY_EMPTY key',
      'KEY_TOO_LARGE key',
      'INVALID_ARGUMENT ttl_ms',
      'KEYSPACE_NOT_FOUND keyspace',
      'SESSION_MALFORMED session',
      'VALUE_TOO_LARGE value',
      'VALUE_TOO_LARGE value',
      'INVALID_ARGUMENT expected_version',
    ]);
  });

  it('never reached a partition', async () => {
    for (const node of cluster.up.storageNodes) {
      const metrics = await cluster.metrics(node.id);
      for (const reason of ['KEY_EMPTY', 'KEY_TOO_LARGE', 'VALUE_TOO_LARGE', 'INVALID_ARGUMENT', 'SESSION_MALFORMED', 'CURSOR_MALFORMED', 'KEYSPACE_NOT_FOUND']) {
        expect([reason, metrics.sum('atoll_operations_total', `reason="${reason}"`)]).toEqual([reason, 0]);
      }
    }
  });
});

describe('what is exactly as large as it may be', () => {
  it('a key of 4096 bytes', async () => {
    const key = Buffer.alloc(KEY_BYTES_MAX, 'k');
    await client.set(key, 'v');
    expect((await client.get(key))?.value.toString()).toBe('v');
  });

  it("a value of the keyspace's limit", async () => {
    const value = randomBytes(SMALL_VALUE_BYTES_MAX);
    await client.set('limit', value, { keyspace: 'small' });
    expect((await client.get('limit', { keyspace: 'small' }))?.value.equals(value)).toBe(true);
  });

  it('a value of 64 MiB: set, read in pieces of at most 1 MiB, and equal on both nodes', async () => {
    const value = randomBytes(VALUE_BYTES_MAX);
    await cluster.createKeyspace({ name: 'large', partitionCount: 1 });
    await client.set('large', value, { keyspace: 'large', deadlineMs: LARGE_VALUE_DEADLINE_MS });

    const { result, parts } = await executeGet(raw, { keyspace: 'large', key: Buffer.from('large') });
    expect(result.valueBytes).toBe(VALUE_BYTES_MAX);
    expect(Math.max(...parts.map(({ length }) => length))).toBeLessThanOrEqual(MIB);
    expect(Buffer.concat(parts).equals(value)).toBe(true);
    expect((await client.get('large', { keyspace: 'large', deadlineMs: LARGE_VALUE_DEADLINE_MS }))?.value.equals(value)).toBe(true);

    const comparison = await cluster.compareReplicas('large');
    expect(comparison).toMatchObject({ entries: 1, replicas: 2, problems: [] });
  });

  it('a value of 64 MiB by a unary call', async () => {
    const value = randomBytes(VALUE_BYTES_MAX);
    const key = Buffer.from('unary');
    const settings = { deadlineMs: LARGE_VALUE_DEADLINE_MS };
    await callUnary(raw, 'set', SetRequest.fromPartial({ keyspace: 'large', key, value }), settings);
    const { value: read } = await callUnary(raw, 'get', GetRequest.fromPartial({ keyspace: 'large', key }), settings);
    expect(read.equals(value)).toBe(true);
  });
});

/** One Get over an Execute stream, with the parts of its value as they came. */
function executeGet(cache: CacheClient, get: Partial<GetRequest>): Promise<{ result: OperationResult; parts: Buffer[] }> {
  return new Promise((resolve, reject) => {
    const call = cache.execute();
    const parts: Buffer[] = [];
    let result: OperationResult | undefined;
    call.on('error', reject);
    call.on('data', (response: ExecuteResponse) => {
      result ??= response.results[0];
      parts.push(...response.parts.map(({ data }) => data));
      if (result === undefined || parts.reduce((total, { length }) => total + length, 0) < result.valueBytes) return;
      resolve({ result, parts });
      call.end();
    });
    const request: ExecuteRequest = {
      operations: [{ id: 1, deadlineMs: LARGE_VALUE_DEADLINE_MS, traceparent: '', valueBytes: 0, kind: { $case: 'get', value: GetRequest.fromPartial(get) } }],
      parts: [],
    };
    call.write(request);
  });
}
