import { DeleteRequest, IncrementRequest, TouchRequest, type OpId } from '@atoll/contracts/atoll/v1/cache';
import { AtollError, invalidArgument } from '@atoll/core-errors';
import { keyspaceNotFound } from '@atoll/core-membership';
import { partitionOfToken, tokenOfKey } from '@atoll/core-placement';
import { DEFAULT_KEYSPACE, WIRE_PART_BYTES_MAX } from '@atoll/core-runtime';
import type { Span } from '@atoll/platform-telemetry';
import {
  MalformedMessage,
  OPERATION,
  checkDelete,
  checkGet,
  checkIncrement,
  checkSet,
  checkTouch,
  decodeGetRequest,
  decodeSetRequest,
  encodeOpIdField,
  encodeSetRequest,
  narrowSession,
} from '@atoll/platform-wire';
import type { OpIds } from './op-ids.ts';
import { FIELDS } from './operation-fields.ts';
import { RoutedOperation, keyspaceField } from './routed-operation.ts';
import type { KeyspaceRoute, RoutingTable } from './routing-table.ts';

/** A request as it came in, by a unary call or inside a batch. */
export interface Intake {
  /** One of OPERATION. */
  readonly kind: number;
  /** The message of that kind, as it arrived. */
  readonly body: Buffer;
  /** Not 0: the value of a `set` comes in parts, so many bytes in all. */
  readonly valueBytes: number;
  /** On the monotonic clock. */
  readonly startedAtMs: number;
  readonly deadlineAtMs: number;
  readonly span: Span | undefined;
  readonly onDone: (operation: RoutedOperation) => void;
}

const CONSISTENCY_BOUNDED = 2;
const CONSISTENCY_EVENTUAL = 3;
/** `consistency = STRONG`, appended: of a field that comes twice the last one counts. */
const STRONG_FIELD = Buffer.of(24, 1);
const EMPTY: Buffer = Buffer.alloc(0);

/** What routing looks at in a request. */
interface Head {
  readonly keyspace: string;
  readonly key: Buffer;
  readonly session: Buffer;
  readonly opId: OpId | undefined;
}

/**
 * Checks a request and finds its partition. The bytes go on as they came; what the router adds (an op id, the
 * session of the one partition) is appended. Throws the AtollError that the caller gets.
 */
export function takeIn(intake: Intake, table: RoutingTable, opIds: OpIds): RoutedOperation {
  try {
    return takeInChecked(intake, table, opIds);
  } catch (error) {
    // Generated decoders throw plain errors for what is no message.
    if (error instanceof AtollError) throw error;
    if (error instanceof MalformedMessage || error instanceof RangeError || isDecodeError(error)) throw malformedRequest();
    throw error;
  }
}

export const malformedRequest = (): AtollError => invalidArgument('request', 'is not a message of this kind');

function takeInChecked(intake: Intake, table: RoutingTable, opIds: OpIds): RoutedOperation {
  const { kind } = intake;
  let { body } = intake;
  let head: Head;
  let route: KeyspaceRoute;
  let needsLeader = true;
  let apart: Buffer | undefined;
  switch (kind) {
    case OPERATION.GET: {
      const request = decodeGetRequest(body);
      checkGet(request);
      route = routeOf(table, request.keyspace);
      needsLeader = request.consistency !== CONSISTENCY_BOUNDED && request.consistency !== CONSISTENCY_EVENTUAL;
      head = { keyspace: request.keyspace, key: request.key, session: request.session, opId: undefined };
      break;
    }
    case OPERATION.SET: {
      const request = decodeSetRequest(body);
      checkSetSize(intake.valueBytes, request.value.length);
      route = routeOf(table, request.keyspace);
      checkSet(request, route.spec.valueBytesMax, intake.valueBytes || request.value.length);
      if (request.value.length > WIRE_PART_BYTES_MAX) {
        apart = request.value;
        body = encodeSetRequest({ ...request, value: EMPTY });
      }
      head = request;
      break;
    }
    case OPERATION.DELETE:
      head = DeleteRequest.decode(body);
      checkDelete(head as DeleteRequest);
      route = routeOf(table, head.keyspace);
      break;
    case OPERATION.INCREMENT:
      head = IncrementRequest.decode(body);
      checkIncrement(head as IncrementRequest);
      route = routeOf(table, head.keyspace);
      break;
    case OPERATION.TOUCH:
      head = TouchRequest.decode(body);
      checkTouch(head as TouchRequest);
      route = routeOf(table, head.keyspace);
      break;
    default:
      throw invalidArgument('kind', 'must be one of get, set, delete, increment, touch');
  }
  if (kind !== OPERATION.SET && intake.valueBytes !== 0) throw invalidArgument('value_bytes', 'is only for set');
  const token = tokenOfKey(head.key);
  const partition = partitionOfToken(token, route.spec.partitionCount);
  const isWrite = kind !== OPERATION.GET;
  const opId = isWrite ? (head.opId ?? opIds.next()) : undefined;
  let tail = opId === head.opId || opId === undefined ? EMPTY : encodeOpIdField(FIELDS[kind]!.opId, opId);
  const keyspaceName = head.keyspace === '' ? DEFAULT_KEYSPACE : head.keyspace;
  if (route.spec.name !== keyspaceName) tail = Buffer.concat([tail, keyspaceField(route.spec.name)]);
  if (head.session.length > 0) {
    const narrowed = narrowSession(head.session, route.tag, partition);
    if (narrowed.mustBeStrong && !needsLeader) {
      needsLeader = true;
      tail = Buffer.concat([tail, STRONG_FIELD]);
    }
    if (narrowed.token !== head.session) tail = Buffer.concat([tail, bytesField(FIELDS[kind]!.requestSession, narrowed.token)]);
  }
  const operation = new RoutedOperation({
    kind,
    isWrite,
    keyspaceName,
    keyspace: route,
    partition,
    token,
    needsLeader,
    body,
    tail,
    opId,
    session: head.session,
    deadlineAtMs: intake.deadlineAtMs,
    startedAtMs: intake.startedAtMs,
    span: intake.span,
    onDone: intake.onDone,
  });
  if (apart !== undefined) {
    operation.valueBytes = apart.length;
    operation.valueParts = slices(apart);
    operation.bytes += apart.length;
  } else if (intake.valueBytes > 0) {
    operation.valueBytes = intake.valueBytes;
    operation.valueParts = [];
  }
  operation.isBarrier = operation.valueParts !== undefined;
  return operation;
}

function checkSetSize(announced: number, inline: number): void {
  if (announced > 0 && inline > 0) throw invalidArgument('value', 'must be empty when value_bytes is given');
}

function routeOf(table: RoutingTable, name: string): KeyspaceRoute {
  const route = table.keyspace(name === '' ? DEFAULT_KEYSPACE : name);
  if (route === undefined) throw keyspaceNotFound(name === '' ? DEFAULT_KEYSPACE : name);
  return route;
}

/** A bytes field, written also when empty: it overrides an earlier one. */
export function bytesField(fieldNumber: number, value: Buffer): Buffer {
  const length = value.length;
  const header = length < 0x80 ? [length] : [(length & 0x7f) | 0x80, (length >>> 7) & 0x7f];
  if (length >= 0x4000) throw new RangeError('a session token is never this long');
  return Buffer.concat([Buffer.of((fieldNumber << 3) | 2, ...header), value]);
}

function slices(value: Buffer): Buffer[] {
  const parts: Buffer[] = [];
  for (let start = 0; start < value.length; start += WIRE_PART_BYTES_MAX) parts.push(value.subarray(start, start + WIRE_PART_BYTES_MAX));
  return parts;
}

/** What protobuf code throws: plain Errors, never TypeErrors. */
const isDecodeError = (error: unknown): boolean => error instanceof Error && error.constructor === Error;
