export { openWal } from './open-wal.ts';
export { BATCH_BYTES_MAX } from './file-wal.ts';
export { WalError } from './wal-error.ts';
export type { WalErrorKind } from './wal-error.ts';
export type {
  EntryBatch,
  LogTail,
  OpenedWal,
  RecoveryReport,
  ReplicaGeneration,
  ReplicaIdentity,
  StoredCheckpoint,
  Wal,
  WalOptions,
  WalReplicaState,
} from './wal.ts';
