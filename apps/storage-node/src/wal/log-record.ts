// What stands inside the frames of a segment: kind (1 byte), length (4 bytes), then the record. Rare kinds are
// JSON, those of the data path binary.
import type { ReplicaId } from '@atoll/core-runtime';
import { toReplicaId } from '@atoll/core-runtime';
import { readUint53, writeUint53 } from './integers.ts';
import type { LogTail, ReplicaGeneration, ReplicaIdentity } from './wal.ts';

/** A checkpoint file as the log names it. */
export interface CheckpointReference {
  readonly file: string;
  readonly bytes: number;
  readonly applied: LogTail;
  readonly timeMs: number;
}

/** A replica as each segment's first record lists it: with it, all segments before may go once no entry there counts. */
export interface ReplicaSummary {
  readonly identity: ReplicaIdentity;
  readonly generation: ReplicaGeneration;
  readonly checkpoint?: CheckpointReference;
  readonly committedSeq: number;
  /** First and last seq of the lineage's log; absent while it is empty. */
  readonly firstSeq?: number;
  readonly lastSeq?: number;
}

export type LogRecord =
  | { readonly kind: 'STATE'; readonly replicas: readonly ReplicaSummary[] }
  | { readonly kind: 'CREATE'; readonly identity: ReplicaIdentity; readonly generation: ReplicaGeneration }
  | { readonly kind: 'GENERATION'; readonly replicaId: ReplicaId; readonly generation: ReplicaGeneration }
  | {
      readonly kind: 'ENTRIES';
      readonly replicaId: ReplicaId;
      readonly firstSeq: number;
      readonly lastSeq: number;
      readonly lastEpoch: number;
      readonly bytes: Uint8Array;
    }
  | { readonly kind: 'TRUNCATE'; readonly replicaId: ReplicaId; readonly toSeq: number }
  | { readonly kind: 'COMMITTED'; readonly replicaId: ReplicaId; readonly seq: number }
  | { readonly kind: 'CHECKPOINT'; readonly replicaId: ReplicaId; readonly checkpoint: CheckpointReference }
  | { readonly kind: 'DROP'; readonly replicaId: ReplicaId }
  | { readonly kind: 'CLEAN' };

/** Numbers on disk: never reused for another meaning. */
const CODES = { STATE: 1, CREATE: 2, GENERATION: 3, ENTRIES: 4, TRUNCATE: 5, COMMITTED: 6, CHECKPOINT: 7, DROP: 8, CLEAN: 9 } as const;
const KINDS = new Map(Object.entries(CODES).map(([kind, code]) => [code as number, kind as LogRecord['kind']]));

const PREFIX_BYTES = 5;
const ENTRIES_HEAD_BYTES = 32;

/** A record ready to be buffered: `body` follows `head` and is not copied when it is long. */
export interface EncodedRecord {
  readonly head: Buffer;
  readonly body: Uint8Array | undefined;
}

export function encodeRecord(record: LogRecord): EncodedRecord {
  if (record.kind === 'ENTRIES') {
    const head = allocate(record.kind, ENTRIES_HEAD_BYTES, record.bytes.length);
    head.write(record.replicaId, PREFIX_BYTES, 'hex');
    writeUint53(head, record.firstSeq, PREFIX_BYTES + 8);
    writeUint53(head, record.lastSeq, PREFIX_BYTES + 16);
    writeUint53(head, record.lastEpoch, PREFIX_BYTES + 24);
    return { head, body: record.bytes };
  }
  if (record.kind === 'TRUNCATE') return encodePosition(record.kind, record.replicaId, record.toSeq);
  if (record.kind === 'COMMITTED') return encodePosition(record.kind, record.replicaId, record.seq);
  const { kind, ...fields } = record;
  const body = Buffer.from(JSON.stringify(fields));
  return { head: allocate(kind, 0, body.length), body };
}

function encodePosition(kind: 'TRUNCATE' | 'COMMITTED', replicaId: ReplicaId, seq: number): EncodedRecord {
  const head = allocate(kind, 16, 0);
  head.write(replicaId, PREFIX_BYTES, 'hex');
  writeUint53(head, seq, PREFIX_BYTES + 8);
  return { head, body: undefined };
}

function allocate(kind: LogRecord['kind'], headBytes: number, bodyBytes: number): Buffer {
  const head = Buffer.allocUnsafe(PREFIX_BYTES + headBytes);
  head[0] = CODES[kind];
  head.writeUInt32LE(headBytes + bodyBytes, 1);
  return head;
}

/**
 * Hands each record of a frame's payload to `visit`, with its offset in the payload; `bytes` of entries are
 * views into the payload. Throws a RangeError at the first record that is none.
 */
export function visitRecords(payload: Buffer, visit: (record: LogRecord, offset: number) => void): void {
  for (let offset = 0; offset < payload.length; ) {
    const end = offset + PREFIX_BYTES + payload.readUInt32LE(offset + 1);
    const kind = KINDS.get(payload.readUInt8(offset));
    if (kind === undefined || end > payload.length) throw new RangeError(`no record begins at byte ${offset} of the frame`);
    visit(decodeRecord(kind, payload.subarray(offset + PREFIX_BYTES, end)), offset);
    offset = end;
  }
}

function decodeRecord(kind: LogRecord['kind'], bytes: Buffer): LogRecord {
  if (kind === 'ENTRIES')
    return {
      kind,
      replicaId: readReplicaId(bytes),
      firstSeq: readUint53(bytes, 8),
      lastSeq: readUint53(bytes, 16),
      lastEpoch: readUint53(bytes, 24),
      bytes: bytes.subarray(ENTRIES_HEAD_BYTES),
    };
  if (kind === 'TRUNCATE') return { kind, replicaId: readReplicaId(bytes), toSeq: readUint53(bytes, 8) };
  if (kind === 'COMMITTED') return { kind, replicaId: readReplicaId(bytes), seq: readUint53(bytes, 8) };
  return { kind, ...JSON.parse(bytes.toString()) } as LogRecord;
}

const readReplicaId = (bytes: Buffer): ReplicaId => toReplicaId(bytes.toString('hex', 0, 8));
