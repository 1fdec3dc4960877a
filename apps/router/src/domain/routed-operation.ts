import type { OpId } from '@atoll/contracts/atoll/v1/cache';
import type { AtollError } from '@atoll/core-errors';
import { partitionOfToken } from '@atoll/core-placement';
import type { Hash64 } from '@atoll/core-runtime';
import type { Span } from '@atoll/platform-telemetry';
import { encodeOpIdField } from '@atoll/platform-wire';
import type { KeyOrder } from './key-order.ts';
import { FIELDS } from './operation-fields.ts';
import type { KeyspaceRoute } from './routing-table.ts';

/**
 * Where an operation is. Until SENT it certainly got no seq; from then on a write is in doubt when nothing
 * comes back (R20).
 *
 *   NEW -> HELD (behind another on its key) -> WAITING (for a leader, or its next try) -> QUEUED (at a node)
 *       -> SENT -> DONE, or back to HELD or WAITING when it was refused
 */
export const OP_STATE = { NEW: 0, HELD: 1, COLLECTING: 2, WAITING: 3, QUEUED: 4, SENT: 5, DONE: 6 } as const;
export type OpState = (typeof OP_STATE)[keyof typeof OP_STATE];

/** The connection to a node as an operation sees it. */
export interface OperationHolder {
  readonly address: string;
  /** Forgets an operation that is queued or under way; a late answer to it is ignored. */
  drop(operation: RoutedOperation): void;
}

export interface RoutedOperationOptions {
  /** One of OPERATION. */
  readonly kind: number;
  readonly isWrite: boolean;
  /** As the caller named it; it may come to mean another one (R37). */
  readonly keyspaceName: string;
  readonly keyspace: KeyspaceRoute;
  readonly partition: number;
  /** Of the key: operations of one key share it. */
  readonly token: Hash64;
  /** True: only the leader may answer. */
  readonly needsLeader: boolean;
  readonly body: Buffer;
  readonly tail: Buffer;
  /** Of a write: the caller's, or one that the router made. */
  readonly opId: OpId | undefined;
  /** Session token that the caller gave; merged with the answer's. */
  readonly session: Buffer;
  /** On the monotonic clock. */
  readonly deadlineAtMs: number;
  readonly startedAtMs: number;
  readonly span: Span | undefined;
  /** Called once. Read `error` first, then `resultBody`. */
  readonly onDone: (operation: RoutedOperation) => void;
}

/**
 * One operation on its way through the router: one object from arrival to answer, with the links of the lists
 * that it stands in, so that the data path allocates nothing else. Bodies are the bytes that arrived.
 */
export class RoutedOperation {
  readonly kind: number;
  readonly isWrite: boolean;
  readonly keyspaceName: string;
  keyspace: KeyspaceRoute;
  partition: number;
  readonly token: Hash64;
  readonly orderKey: number;
  readonly needsLeader: boolean;
  readonly body: Buffer;
  tail: Buffer;
  readonly opId: OpId | undefined;
  readonly session: Buffer;
  readonly deadlineAtMs: number;
  readonly startedAtMs: number;
  readonly span: Span | undefined;
  readonly onDone: (operation: RoutedOperation) => void;

  state: OpState = OP_STATE.NEW;
  /** Value in pieces, when it travels apart; `valueBytes` is then its announced size, else 0. */
  valueParts: Buffer[] | undefined = undefined;
  valueBytes = 0;
  /** Bytes that it holds in memory, for the bounds (I10). */
  bytes: number;

  /** Where it is queued or sent. */
  holder: OperationHolder | undefined = undefined;
  /** Its id on that stream. */
  wireId = 0;
  clientSpan: Span | undefined = undefined;
  /** When it was last handed to a node. */
  sentAtMs = 0;
  /** A write that a node may have taken: its caller hears success or WRITE_IN_DOUBT (R20). */
  mayHaveHappened = false;
  /** Then: when it was sent first, on the monotonic clock. */
  firstSentAtMs = 0;
  /** A cut-over of its keyspace for whose time it is certain that it did not happen before; empty without one (R37). */
  notAppliedFor = '';
  /** Tries so far. */
  attempts = 0;
  /** A replica refused: ask the leader from now on. */
  fallBackToLeader = false;
  /** WAITING: when to try again; Infinity: only when the table changes. */
  retryAtMs = 0;
  /** Address of the last try: the same one again costs a token of the retry budget. */
  target = '';
  lastFailure: AtollError | undefined = undefined;
  isHeldByBudget = false;
  /** Its partition as a whole is in trouble: one operation tries for all that wait. */
  isPartitionTrouble = false;

  /** Order among operations on one key of one stream (R26); undefined where none is promised. */
  order: KeyOrder | undefined = undefined;
  /** One of ORDER_STATUS. */
  orderStatus = 0;
  wasRefused = false;
  /** A later operation on the key took effect: to repeat it now would turn their order around. */
  wasOvertaken = false;
  orderPrevious: RoutedOperation | undefined = undefined;
  orderNext: RoutedOperation | undefined = undefined;
  /** True: later operations on the key stay behind until this one is answered. */
  isBarrier = false;

  queuePrevious: RoutedOperation | undefined = undefined;
  queueNext: RoutedOperation | undefined = undefined;

  wheelSlot = -1;
  wheelPrevious: RoutedOperation | undefined = undefined;
  wheelNext: RoutedOperation | undefined = undefined;

  /** For whoever made it: the id on the client's stream, an index in a batch. */
  callerId = 0;
  error: AtollError | undefined = undefined;
  resultBody: Buffer = EMPTY;
  /** Follows `resultBody`: a field appended to it. */
  resultTail: Buffer = EMPTY;
  /** The value of a `get` in pieces, when it came in parts. */
  resultParts: Buffer[] | undefined = undefined;
  resultValueBytes = 0;
  resultBytesMissing = 0;

  constructor(options: RoutedOperationOptions) {
    this.kind = options.kind;
    this.isWrite = options.isWrite;
    this.keyspaceName = options.keyspaceName;
    this.keyspace = options.keyspace;
    this.partition = options.partition;
    this.token = options.token;
    this.orderKey = options.token.low >>> 2; // a small integer
    this.needsLeader = options.needsLeader;
    this.body = options.body;
    this.tail = options.tail;
    this.opId = options.opId;
    this.session = options.session;
    this.deadlineAtMs = options.deadlineAtMs;
    this.startedAtMs = options.startedAtMs;
    this.span = options.span;
    this.onDone = options.onDone;
    this.bytes = options.body.length + options.tail.length;
    const repeatAgeMs = options.opId?.repeatAgeMs ?? 0;
    if (repeatAgeMs > 0) this.noteDoubt(options.startedAtMs - repeatAgeMs);
  }

  /** Its keyspace's place was taken by another one (R37): from now on it goes there. */
  moveTo(keyspace: KeyspaceRoute): void {
    this.keyspace = keyspace;
    this.partition = partitionOfToken(this.token, keyspace.spec.partitionCount);
    // Of a field that comes twice the last one counts.
    const name = keyspaceField(keyspace.spec.name);
    this.bytes += name.length;
    this.tail = Buffer.concat([this.tail, name]);
    this.target = '';
    this.fallBackToLeader = false;
    if (this.notAppliedFor === '' || this.notAppliedFor !== keyspace.spec.cutOver?.id || this.opId === undefined) return;
    // The source's frozen leader did not have it, and took nothing since: here it comes for the first time.
    this.mayHaveHappened = false;
    this.tail = Buffer.concat([this.tail, encodeOpIdField(FIELDS[this.kind]!.opId, { ...this.opId, repeatAgeMs: 0 })]);
  }

  /** It was sent at this time and may have been taken. */
  noteDoubt(sentAtMs: number): void {
    if (this.mayHaveHappened) return;
    this.mayHaveHappened = true;
    this.firstSentAtMs = sentAtMs;
  }

  /** What follows the body when it is sent now: a repeat says how old it is (R21). */
  tailAt(nowMs: number): Buffer {
    if (!this.mayHaveHappened || this.opId === undefined) return this.tail;
    const repeatAgeMs = Math.max(1, Math.ceil(nowMs - this.firstSentAtMs));
    return Buffer.concat([this.tail, encodeOpIdField(FIELDS[this.kind]!.opId, { ...this.opId, repeatAgeMs })]);
  }

  /** Bytes that it takes once its value is whole. */
  get wholeBytes(): number {
    return this.body.length + this.tail.length + this.valueBytes;
  }

  /** True while the value that was announced has not arrived. */
  get isIncomplete(): boolean {
    return this.valueParts !== undefined && this.bytes < this.wholeBytes;
  }
}

const EMPTY: Buffer = Buffer.alloc(0);

/** Field 1 of every request; names are of 64 bytes at most. */
export const keyspaceField = (name: string): Buffer => Buffer.concat([Buffer.of(10, name.length), Buffer.from(name)]);
