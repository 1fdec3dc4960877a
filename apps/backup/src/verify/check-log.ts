import { archiveDamaged, type ChunkRef } from '@atoll/core-archive';
import { decodeEntry, entryBytesAt } from '@atoll/core-replication';

/** Whether a chunk of log has the entries that the manifest says, each behind the one before it. @throws ARCHIVE_DAMAGED (MALFORMED) */
export function checkLog({ id, log }: ChunkRef, content: Buffer): void {
  const broken = (why: string): Error => archiveDamaged(`chunk ${id}`, 'MALFORMED', why);
  if (log === undefined) throw broken('is of a log, and the manifest does not say which part');
  let expected = log.firstSeq;
  try {
    for (let at = 0; at < content.length; at += entryBytesAt(content, at)) {
      const { seq } = decodeEntry(content, at);
      if (seq !== expected) throw broken(`has seq ${seq} where ${expected} should be`);
      expected += 1;
    }
  } catch (error) {
    throw error instanceof RangeError ? broken(error.message) : error;
  }
  if (expected !== log.lastSeq + 1) throw broken(`ends at seq ${expected - 1}, and the manifest says ${log.lastSeq}`);
}
