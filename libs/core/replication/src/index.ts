export { compactLog, summarizeRun } from './archive/compact-log.ts';
export type { LogWindow, RunSummary } from './archive/compact-log.ts';
export { beginOfArchive, readForArchive } from './archive/archive-reader.ts';
export type { ArchiveLimits, ArchivePlace, ArchiveReading } from './archive/archive-reader.ts';
export type { BarrierAnswer, BarrierRelease } from './archive/barrier-hold.ts';
export type { CopyPhase, CopyPosition } from './copy/copy-position.ts';
export { endOfCopy } from './copy/copy-position.ts';
export { WriteFreeze } from './copy/write-freeze.ts';
export type { FreezeAnswer } from './copy/write-freeze.ts';
export { CopyPositions } from './copy/copy-positions.ts';
export { PART_BITS_MAX, PartDigests, partBits } from './copy/part-digests.ts';
export { readDifferences, takeDifferences } from './copy/resync.ts';
export type { DifferenceReading, Differences, HashRange } from './copy/resync.ts';
export { digestRange, isSameDigest } from './copy/range-digest.ts';
export type { RangeDigest, RangeDigestRead } from './copy/range-digest.ts';
export { beginOfCopy, readSource } from './copy/source-reader.ts';
export type { CopiedChange, SourceLimits, SourcePlace, SourceReading } from './copy/source-reader.ts';
export type { MarkedDigest } from './digest-marks.ts';
export { FormerData } from './former-data.ts';
export type { DiscardReport, DiscardedEntry } from './former-data.ts';
export { FollowerProgress } from './follower-progress.ts';
export { Follower } from './follower.ts';
export type { FollowOutcome } from './follower.ts';
export { RecordInForce, withInSync, withoutInSync } from './in-sync-change.ts';
export type { ChangeAttempt } from './in-sync-change.ts';
export type { HandOverOutcome } from './hand-over.ts';
export { ClockGuard } from './lease/clock-guard.ts';
export type { ClockReading } from './lease/clock-guard.ts';
export { leaseLists } from './lease/lease-lists.ts';
export { LeaseGranter } from './lease/lease-granter.ts';
export { PeerLease } from './lease/peer-lease.ts';
export type { LeaseAnswer, LeaseBeat, LeaseItem } from './lease/peer-lease.ts';
export { Leader } from './leader.ts';
export type { WaitForCommit } from './leader.ts';
export { decodeEntry, encodeEntry, encodedBytes, entryBytesAt, entryPositionAt } from './log-entry.ts';
export type { LogEntry, LogOperation, OpId } from './log-entry.ts';
export type {
  AckMessage,
  AppendMessage,
  AppendPartMessage,
  DivergenceMessage,
  InstallOrderMessage,
  LogPosition,
  RefusalMessage,
  SubscribeAnswer,
  SubscribeMessage,
} from './messages.ts';
export { PartitionClock } from './partition-clock.ts';
export { PartitionReplica } from './partition-replica.ts';
export type { RecordEffect, ReplicaRole } from './partition-replica.ts';
export { RangeRepair } from './range-repair.ts';
export { ReplicaLog } from './replica-log.ts';
export type { LogRun } from './replica-log.ts';
export { RESULT_ROW_BYTES, RESULT_TABLE_DEFAULTS, ResultTable } from './result-table.ts';
export type { ResultTableOptions, WriteResult } from './result-table.ts';
export { ReplicaState } from './replica-state.ts';
export type { ReplicaIdentity, ReplicaJournal, ReplicaOrigin } from './replica-state.ts';
export type { LeaderHooks, Moment, ReplicaSettings, WriteRequest } from './replica-types.ts';
export { INSTALL_RANGES_MAX, SnapshotInstall, chunkEntries } from './snapshot-install.ts';
export type { MissingRange, SnapshotChunk } from './snapshot-install.ts';
export { AdaptiveRate } from './transfer/adaptive-rate.ts';
export type { RateInterval } from './transfer/adaptive-rate.ts';
export { LatencyWindow } from './transfer/latency-window.ts';
export type { WriteOutcome } from './uncommitted.ts';
export { newestWatched, oldestWatched, placeWatch, readChanges } from './watch/change-reader.ts';
export type { Change, ReadLimits, WatchPlace } from './watch/change-reader.ts';
