export { compareVersion } from './entry-version.ts';
export type { EntryVersion } from './entry-version.ts';
export { evaluateWrite } from './evaluate-write.ts';
export type { CurrentEntry } from './evaluate-write.ts';
export type {
  DeleteCommand,
  EntryMutation,
  Evaluation,
  IncrementCommand,
  MergeCommand,
  MergeOutcome,
  SetCommand,
  SetCondition,
  TouchCommand,
  WriteAnswer,
  WriteCommand,
  WriteRefusal,
} from './write-command.ts';
export { MEMORY_BYTES_MAX, StoreMemory } from './store-memory.ts';
export type { MemoryAccount } from './memory-account.ts';
export { PartitionStore } from './partition-store.ts';
export type { EntryState, RangeSlice, StoredEntry, TakenEntry } from './partition-store.ts';
export { FIRST_HASH } from './range-walk.ts';
export type { SliceLimits } from './range-walk.ts';
export type { NewEntry } from './entry-heap.ts';
export { OUTSIDE_VALUE_BYTES_MIN } from './entry-layout.ts';
export { DIGEST_LEAVES, leafOf, leafRange } from './entry-digest.ts';
export type { StoreDigest } from './entry-digest.ts';
export { CONTENT_RANGE_COUNTS, ContentSum, contentRange, leafOfRange } from './content-sum.ts';
export { isExpired } from './expiry-plan.ts';
export type { ExpiryLimits, ExpiryPlan } from './expiry-plan.ts';
export { VICTIMS_MAX } from './victim-picker.ts';
export { decodeRows, encodeRows, walkRows } from './entry-rows.ts';
export type { EntryRow, RowSource } from './entry-rows.ts';
export { entryContentHash } from './entry-content-hash.ts';
export { entryVersionHash } from './entry-version-hash.ts';
