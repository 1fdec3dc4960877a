import type {
  DeleteManyRequest,
  DeleteRequest,
  GetManyRequest,
  GetRequest,
  IncrementRequest,
  OpId,
  ScanRequest,
  SetManyRequest,
  SetRequest,
  TouchRequest,
  WatchRequest,
} from '@atoll/contracts/atoll/v1/cache';
import { AtollError, invalidArgument } from '@atoll/core-errors';
import { KEYSPACE_NAME_MAX, KEY_BYTES_MAX, TTL_MS_MAX } from '@atoll/core-runtime';
import { toFence, toFenceOf } from './lock-messages.ts';
import { decodeVersion } from './version-codec.ts';

// What routers and storage nodes refuse alike, before it reaches a partition. Every error names its field in
// metadata.field. Enum numbers that this release does not know are refused: guessing would weaken what the
// caller asked for.

/** Keys or entries of one GetMany, SetMany or DeleteMany, and operations of one Execute message. */
export const BATCH_OPERATIONS_MAX = 10_000;
/** How often a watch says something at least, in ms. */
export const WATCH_PROGRESS_MS_DEFAULT = 1000;
const WATCH_PROGRESS_MS_MIN = 100;
const WATCH_PROGRESS_MS_MAX = 60_000;
/** Largest BOUNDED staleness. */
export const STALENESS_MS_MAX = 3_600_000;
/** Largest number of entries per Scan response; the default is a tenth of it. */
export const SCAN_BATCH_ENTRIES_MAX = 10_000;

const CONSISTENCY_STRONG = 1;
const CONSISTENCY_BOUNDED = 2;
const CONSISTENCY_LAST = 3;
const CONDITION_IF_VERSION = 4;
const ACK_LAST = 2;

/** 1 to 4096 bytes. Throws KEY_EMPTY, KEY_TOO_LARGE. */
export function checkKey(key: Uint8Array, field = 'key'): void {
  if (key.length === 0) throw new AtollError('KEY_EMPTY', `${field}: must not be empty`, { metadata: { field } });
  if (key.length > KEY_BYTES_MAX) {
    throw new AtollError('KEY_TOO_LARGE', `${field}: must be at most ${KEY_BYTES_MAX} bytes, not ${key.length}`, { metadata: { field } });
  }
}

/** The value's size against the keyspace's limit. Throws VALUE_TOO_LARGE. */
export function checkValueBytes(bytes: number, valueBytesMax: number, field = 'value'): void {
  if (bytes <= valueBytesMax) return;
  throw new AtollError('VALUE_TOO_LARGE', `${field}: must be at most ${valueBytesMax} bytes, not ${bytes}`, { metadata: { field } });
}

/** Consistency, staleness bound and key of a read. */
export function checkGet(request: GetRequest): void {
  checkKeyspace(request.keyspace);
  checkKey(request.key);
  checkConsistency(request);
  if (request.fence === undefined) return;
  toFenceOf(request.fence, request.key);
  if (request.consistency > CONSISTENCY_STRONG) throw invalidArgument('fence', 'is only for STRONG reads');
}

/** `valueBytes` is the announced size where the value comes in parts; left out, that of `request.value`. */
export function checkSet(request: SetRequest, valueBytesMax: number, valueBytes = request.value.length): void {
  checkKeyspace(request.keyspace);
  checkKey(request.key);
  checkValueBytes(valueBytes, valueBytesMax);
  checkTtl(request.ttlMs, request.noExpiry);
  checkAck(request.ack);
  checkEnum('condition', request.condition, CONDITION_IF_VERSION);
  if (request.condition === CONDITION_IF_VERSION) {
    if (request.expectedVersion.length === 0) throw invalidArgument('expected_version', 'is required with the condition IF_VERSION');
    decodeVersion(request.expectedVersion);
  } else if (request.expectedVersion.length > 0) {
    throw invalidArgument('expected_version', 'needs the condition IF_VERSION');
  }
  checkOpId(request.opId);
  if (request.fence !== undefined) toFenceOf(request.fence, request.key);
}

export function checkDelete(request: DeleteRequest): void {
  checkKeyspace(request.keyspace);
  checkKey(request.key);
  decodeVersion(request.expectedVersion);
  checkAck(request.ack);
  checkOpId(request.opId);
  if (request.fence !== undefined) toFenceOf(request.fence, request.key);
}

export function checkIncrement(request: IncrementRequest): void {
  checkKeyspace(request.keyspace);
  checkKey(request.key);
  checkTtl(request.ttlMs, false);
  checkAck(request.ack);
  checkOpId(request.opId);
  if (request.fence !== undefined) toFenceOf(request.fence, request.key);
}

export function checkTouch(request: TouchRequest): void {
  checkKeyspace(request.keyspace);
  checkKey(request.key);
  checkTtl(request.ttlMs, request.noExpiry);
  checkAck(request.ack);
  checkOpId(request.opId);
  if (request.fence !== undefined) toFenceOf(request.fence, request.key);
}

/** What concerns all keys; each key has an outcome of its own (`checkKey`). */
export function checkGetMany(request: GetManyRequest): void {
  checkKeyspace(request.keyspace);
  checkBatchSize('keys', request.keys.length);
  checkConsistency(request);
}

/** What concerns all entries; each has an outcome of its own (`checkSetManyEntry`). */
export function checkSetMany(request: SetManyRequest): void {
  checkKeyspace(request.keyspace);
  checkBatchSize('entries', request.entries.length);
  checkAck(request.ack);
  checkOpId(request.opId);
  if (request.fence !== undefined) toFence(request.fence);
}

export function checkDeleteMany(request: DeleteManyRequest): void {
  checkKeyspace(request.keyspace);
  checkBatchSize('keys', request.keys.length);
  checkAck(request.ack);
  checkOpId(request.opId);
  if (request.fence !== undefined) toFence(request.fence);
}

/** The cursor is checked by `decodeCursor`, the partition by who knows how many there are. */
export function checkScan(request: ScanRequest): void {
  checkKeyspace(request.keyspace);
  if (request.prefix.length > KEY_BYTES_MAX) throw invalidArgument('prefix', `must be at most ${KEY_BYTES_MAX} bytes, not ${request.prefix.length}`);
  if (request.batchEntries > SCAN_BATCH_ENTRIES_MAX) {
    throw invalidArgument('batch_entries', `must be 1 to ${SCAN_BATCH_ENTRIES_MAX}, or 0 for the default, not ${request.batchEntries}`);
  }
  checkConsistency(request);
}

/** Positions are checked by `decodeWatchPosition`, partitions by who knows how many there are. */
export function checkWatch(request: WatchRequest): void {
  checkKeyspace(request.keyspace);
  const { prefix, progressMs, partitions, positions, afterVersion } = request;
  if (prefix.length > KEY_BYTES_MAX) throw invalidArgument('prefix', `must be at most ${KEY_BYTES_MAX} bytes, not ${prefix.length}`);
  if (progressMs !== 0 && (progressMs < WATCH_PROGRESS_MS_MIN || progressMs > WATCH_PROGRESS_MS_MAX)) {
    throw invalidArgument('progress_ms', `must be ${WATCH_PROGRESS_MS_MIN} to ${WATCH_PROGRESS_MS_MAX}, or 0 for the default, not ${progressMs}`);
  }
  if (decodeVersion(afterVersion, 'after_version') === undefined) return;
  if (partitions.length !== 1) throw invalidArgument('after_version', 'needs exactly one entry in partitions');
  if (positions.length > 0) throw invalidArgument('after_version', 'cannot be combined with positions');
}

function checkKeyspace(keyspace: string): void {
  if (keyspace.length > KEYSPACE_NAME_MAX) throw invalidArgument('keyspace', `must be at most ${KEYSPACE_NAME_MAX} characters`);
}

function checkConsistency(request: { readonly consistency: number; readonly maxStalenessMs: number }): void {
  checkEnum('consistency', request.consistency, CONSISTENCY_LAST);
  if (request.consistency !== CONSISTENCY_BOUNDED) return;
  if (request.maxStalenessMs < 1 || request.maxStalenessMs > STALENESS_MS_MAX) {
    throw invalidArgument('max_staleness_ms', `must be 1 to ${STALENESS_MS_MAX} with BOUNDED, not ${request.maxStalenessMs}`);
  }
}

/** Life of an entry. Throws INVALID_ARGUMENT on ttl_ms. */
export function checkTtl(ttlMs: number, noExpiry: boolean): void {
  if (ttlMs < 0) throw invalidArgument('ttl_ms', `must not be negative, not ${ttlMs}`);
  if (ttlMs > TTL_MS_MAX) throw invalidArgument('ttl_ms', `must be at most ${TTL_MS_MAX}, not ${ttlMs}`);
  if (noExpiry && ttlMs !== 0) throw invalidArgument('ttl_ms', 'must be 0 with no_expiry');
}

const checkAck = (ack: number): void => checkEnum('ack', ack, ACK_LAST);

function checkEnum(field: string, value: number, last: number): void {
  if (value < 0 || value > last) throw invalidArgument(field, `the number ${value} is unknown`);
}

function checkBatchSize(field: string, count: number): void {
  if (count > BATCH_OPERATIONS_MAX) throw invalidArgument(field, `must be at most ${BATCH_OPERATIONS_MAX}, not ${count}`);
}

function checkOpId(opId: OpId | undefined): void {
  if (opId === undefined) return;
  if (opId.clientId.length < 8 || opId.clientId.length > 16) throw invalidArgument('op_id.client_id', `must be 8 to 16 bytes, not ${opId.clientId.length}`);
  if (opId.counter < 1) throw invalidArgument('op_id.counter', 'must be 1 or more');
}
