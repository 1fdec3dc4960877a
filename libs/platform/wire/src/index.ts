export { decodeFetchSnapshotResponse, decodeReadPartitionResponse } from './bulk-messages.ts';
export { cursorTag, decodeCursor, encodeCursor } from './cursor.ts';
export type { ScanCursor } from './cursor.ts';
export { OPERATION, OP_ID_FIELD, RESULT, encodeExecuteRequest, encodeExecuteResponse, readExecuteRequest, readExecuteResponse } from './execute-codec.ts';
export type { OperationFrame, OperationVisitor, OutgoingOperation, OutgoingPart, OutgoingResult, ResultVisitor } from './execute-codec.ts';
export { decodeFollowRequest, decodeFollowResponse, encodeFollowRequest, encodeFollowResponse } from './follow-codec.ts';
export {
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
export { mutableKeyspaceFields, toKeyspaceMessage, toKeyspaceSpec } from './keyspace-message.ts';
export { LOCK_NAME_BYTES_MAX, fromLockMode, fromLockScope, pointRange, toFence, toFenceOf, toLockMode, toLockScope } from './lock-messages.ts';
export {
  BATCH_OPERATIONS_MAX,
  SCAN_BATCH_ENTRIES_MAX,
  STALENESS_MS_MAX,
  WATCH_PROGRESS_MS_DEFAULT,
  checkDelete,
  checkDeleteMany,
  checkGet,
  checkGetMany,
  checkIncrement,
  checkKey,
  checkScan,
  checkSet,
  checkSetMany,
  checkTouch,
  checkTtl,
  checkValueBytes,
  checkWatch,
} from './request-checks.ts';
export { SESSION_PARTITIONS_MAX, encodePosition, keyspaceTag, mergeSessions, narrowSession, positionIn } from './session-token.ts';
export type { NarrowedSession, SessionPosition } from './session-token.ts';
export { copyOwnership } from './copy-ownership.ts';
export { fromMergeOutcomeByte, toMergeOutcomeByte } from './merge-outcomes.ts';
export { fromTokenRange, toTokenRange, tokenRangeText } from './token-range-fields.ts';
export { streamTopology } from './topology-stream.ts';
export { VERSION_BYTES, decodeVersion, encodeVersion, writeVersion } from './version-codec.ts';
export type { VersionParts } from './version-codec.ts';
export { decodeWatchPosition, encodeWatchPosition, watchTag, watchedPartition } from './watch-position.ts';
export type { WatchPosition } from './watch-position.ts';
export { MalformedMessage, WireReader } from './wire-reader.ts';
export { WireWriter, delimitedBytes, numberBytes, varintBytes } from './wire-writer.ts';
