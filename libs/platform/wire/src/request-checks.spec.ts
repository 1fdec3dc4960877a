import {
  DeleteManyRequest,
  DeleteRequest,
  GetManyRequest,
  GetRequest,
  IncrementRequest,
  ScanRequest,
  SetManyRequest,
  SetRequest,
  TouchRequest,
  WatchRequest,
} from '@atoll/contracts/atoll/v1/cache';
import { isAtollError } from '@atoll/core-errors';
import { TTL_MS_MAX } from '@atoll/core-runtime';
import {
  BATCH_OPERATIONS_MAX,
  checkDelete,
  checkDeleteMany,
  checkGet,
  checkGetMany,
  checkIncrement,
  checkScan,
  checkSet,
  checkSetMany,
  checkTouch,
  checkWatch,
} from './request-checks.ts';

const key = Buffer.from('k');
const LIMIT = 100;
const get = (fields: Partial<GetRequest>) => () => checkGet(GetRequest.create({ key, ...fields }));
const set = (fields: Partial<SetRequest>, bytes?: number) => () => checkSet(SetRequest.create({ key, ...fields }), LIMIT, bytes);
const watch = (fields: Partial<WatchRequest>) => () => checkWatch(WatchRequest.create(fields));
const many = Array.from({ length: BATCH_OPERATIONS_MAX + 1 }, () => key);
const unknown = 9 as never;

/** Reason and field, or "passes". */
function verdict(check: () => void): string {
  try {
    check();
    return 'passes';
  } catch (error) {
    if (!isAtollError(error)) throw error;
    return `${error.reason} ${error.metadata['field']}`;
  }
}

describe('request checks', () => {
  it.each<[string, () => void, string]>([
    ['a plain get', get({}), 'passes'],
    ['an empty key', get({ key: Buffer.alloc(0) }), 'KEY_EMPTY key'],
    ['a key of 4 KiB', get({ key: Buffer.alloc(4096) }), 'passes'],
    ['a key of 4 KiB + 1', get({ key: Buffer.alloc(4097) }), 'KEY_TOO_LARGE key'],
    ['a keyspace name of 65', get({ keyspace: 'k'.repeat(65) }), 'INVALID_ARGUMENT keyspace'],
    ['an unknown consistency', get({ consistency: unknown }), 'INVALID_ARGUMENT consistency'],
    ['BOUNDED without a bound', get({ consistency: 2 }), 'INVALID_ARGUMENT max_staleness_ms'],
    ['BOUNDED with a bound', get({ consistency: 2, maxStalenessMs: 1 }), 'passes'],
    ['BOUNDED beyond the bound', get({ consistency: 2, maxStalenessMs: 3_600_001 }), 'INVALID_ARGUMENT max_staleness_ms'],
    ['a value of the limit', set({ value: Buffer.alloc(LIMIT) }), 'passes'],
    ['a value over the limit', set({ value: Buffer.alloc(LIMIT + 1) }), 'VALUE_TOO_LARGE value'],
    ['an announced value over the limit', set({}, LIMIT + 1), 'VALUE_TOO_LARGE value'],
    ['a negative ttl', set({ ttlMs: -1 }), 'INVALID_ARGUMENT ttl_ms'],
    ['the longest ttl', set({ ttlMs: TTL_MS_MAX }), 'passes'],
    ['a ttl above ten years', set({ ttlMs: TTL_MS_MAX + 1 }), 'INVALID_ARGUMENT ttl_ms'],
    ['a ttl with no_expiry', set({ ttlMs: 1, noExpiry: true }), 'INVALID_ARGUMENT ttl_ms'],
    ['an unknown condition', set({ condition: unknown }), 'INVALID_ARGUMENT condition'],
    ['an unknown ack', set({ ack: unknown }), 'INVALID_ARGUMENT ack'],
    ['IF_VERSION without a version', set({ condition: 4 }), 'INVALID_ARGUMENT expected_version'],
    ['IF_VERSION with a version', set({ condition: 4, expectedVersion: Buffer.alloc(16) }), 'passes'],
    ['IF_VERSION with half a version', set({ condition: 4, expectedVersion: Buffer.alloc(8) }), 'INVALID_ARGUMENT expected_version'],
    ['a version without IF_VERSION', set({ expectedVersion: Buffer.alloc(16) }), 'INVALID_ARGUMENT expected_version'],
    ['a short client id', set({ opId: { clientId: Buffer.alloc(7), counter: 1, repeatAgeMs: 0 } }), 'INVALID_ARGUMENT op_id.client_id'],
    ['an op counter of 0', set({ opId: { clientId: Buffer.alloc(8), counter: 0, repeatAgeMs: 0 } }), 'INVALID_ARGUMENT op_id.counter'],
    ['a delete', () => checkDelete(DeleteRequest.create({ key })), 'passes'],
    ['a delete with half a version', () => checkDelete(DeleteRequest.create({ key, expectedVersion: Buffer.alloc(3) })), 'INVALID_ARGUMENT expected_version'],
    ['an increment with a negative ttl', () => checkIncrement(IncrementRequest.create({ key, ttlMs: -5 })), 'INVALID_ARGUMENT ttl_ms'],
    ['a touch with ttl and no_expiry', () => checkTouch(TouchRequest.create({ key, ttlMs: 5, noExpiry: true })), 'INVALID_ARGUMENT ttl_ms'],
    ['too many keys to get', () => checkGetMany(GetManyRequest.create({ keys: many })), 'INVALID_ARGUMENT keys'],
    ['too many keys to delete', () => checkDeleteMany(DeleteManyRequest.create({ keys: many })), 'INVALID_ARGUMENT keys'],
    ['too many entries', () => checkSetMany(SetManyRequest.create({ entries: many.map(() => ({ key })) })), 'INVALID_ARGUMENT entries'],
    ['a scan', () => checkScan(ScanRequest.create({})), 'passes'],
    ['a scan with large batches', () => checkScan(ScanRequest.create({ batchEntries: 10_001 })), 'INVALID_ARGUMENT batch_entries'],
    ['a scan with a long prefix', () => checkScan(ScanRequest.create({ prefix: Buffer.alloc(4097) })), 'INVALID_ARGUMENT prefix'],
    ['a watch', watch({ progressMs: 100 }), 'passes'],
    ['a watch with a long prefix', watch({ prefix: Buffer.alloc(4097) }), 'INVALID_ARGUMENT prefix'],
    ['a watch that wants to hear too often', watch({ progressMs: 99 }), 'INVALID_ARGUMENT progress_ms'],
    ['a watch that hardly wants to hear', watch({ progressMs: 60_001 }), 'INVALID_ARGUMENT progress_ms'],
    ['a watch of one partition from a version on', watch({ partitions: [3], afterVersion: Buffer.alloc(16) }), 'passes'],
    ['a watch of two partitions from a version on', watch({ partitions: [3, 4], afterVersion: Buffer.alloc(16) }), 'INVALID_ARGUMENT after_version'],
    ['a watch from a version and a position', watch({ partitions: [3], positions: [Buffer.alloc(31)], afterVersion: Buffer.alloc(16) }), 'INVALID_ARGUMENT after_version'],
    ['a watch from half a version', watch({ partitions: [3], afterVersion: Buffer.alloc(8) }), 'INVALID_ARGUMENT after_version'],
  ])('%s', (_name, check, expected) => {
    expect(verdict(check)).toBe(expected);
  });
});
