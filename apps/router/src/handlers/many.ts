import type {
  DeleteManyRequest,
  DeleteManyResponse,
  ErrorDetail,
  GetManyRequest,
  GetManyResponse,
  GetManyResult,
  OpId,
  SetManyRequest,
  SetManyResponse,
} from '@atoll/contracts/atoll/v1/cache';
import { DeleteRequest, DeleteResponse } from '@atoll/contracts/atoll/v1/cache';
import { AtollError, isAtollError } from '@atoll/core-errors';
import { keyspaceNotFound } from '@atoll/core-membership';
import { DEFAULT_KEYSPACE, VALUE_BYTES_MAX } from '@atoll/core-runtime';
import type { CallContext } from '@atoll/platform-grpc';
import {
  OPERATION,
  checkDeleteMany,
  checkGetMany,
  checkSetMany,
  decodeGetResponse,
  decodeSetResponse,
  encodeGetRequest,
  encodeSetRequest,
  mergeSessions,
} from '@atoll/platform-wire';
import { takeIn } from '../domain/intake.ts';
import { KeyOrder } from '../domain/key-order.ts';
import { FIELDS } from '../domain/operation-fields.ts';
import { sessionIn } from '../domain/result-session.ts';
import type { RoutedOperation } from '../domain/routed-operation.ts';
import type { HandlerDeps } from './router-context.ts';
import { answerWithinMs, wholeResponse } from './unary.ts';

const EMPTY: Buffer = Buffer.alloc(0);
/** Values of one GetMany answer, in bytes: what one message can hold. */
const RESPONSE_VALUE_BYTES_MAX = VALUE_BYTES_MAX;

/** Each key is an operation of its own; those of one partition leave together. */
export async function handleGetMany(request: GetManyRequest, context: CallContext, deps: HandlerDeps): Promise<GetManyResponse> {
  checkGetMany(request);
  const { keyspace, consistency, maxStalenessMs, session } = request;
  const outcomes = await runAll(deps, context, request, {
    kind: OPERATION.GET,
    bodies: request.keys.map((key) => encodeGetRequest({ keyspace, key, consistency, maxStalenessMs, session })),
  });
  return { results: toGetResults(outcomes, RESPONSE_VALUE_BYTES_MAX), session: sessionOf(session, outcomes) };
}

/** Results in order; a value that would make the values longer than `bytesMax` in all is left out and says so. */
export function toGetResults(outcomes: readonly Outcome[], bytesMax: number): GetManyResult[] {
  let bytes = 0;
  return outcomes.map((outcome) => {
    if (isAtollError(outcome)) return failedGet(outcome);
    const { found, value, version, expiresAtMs } = decodeGetResponse(wholeResponse(outcome));
    if (bytes + value.length > bytesMax) return failedGet(answerFull());
    bytes += value.length;
    return { found, value, version, error: undefined, expiresAtMs };
  });
}

const failedGet = (error: AtollError): GetManyResult => ({ found: false, value: EMPTY, version: EMPTY, error: toErrorDetail(error), expiresAtMs: 0 });

/** Entries of one key take effect in the order given. */
export async function handleSetMany(request: SetManyRequest, context: CallContext, deps: HandlerDeps): Promise<SetManyResponse> {
  checkSetMany(request);
  const { keyspace, ack, session } = request;
  const outcomes = await runAll(deps, context, request, {
    kind: OPERATION.SET,
    bodies: request.entries.map(({ key, value, ttlMs, noExpiry }, index) =>
      encodeSetRequest({ keyspace, key, value, ttlMs, condition: 0, expectedVersion: EMPTY, ack, opId: opIdAt(request.opId, index), session, noExpiry, fence: request.fence }),
    ),
  });
  const results = outcomes.map((outcome) => {
    if (isAtollError(outcome)) return { applied: false, version: EMPTY, error: toErrorDetail(outcome) };
    const { applied, version } = decodeSetResponse(outcome.resultBody);
    return { applied, version, error: undefined };
  });
  return { results, session: sessionOf(session, outcomes) };
}

export async function handleDeleteMany(request: DeleteManyRequest, context: CallContext, deps: HandlerDeps): Promise<DeleteManyResponse> {
  checkDeleteMany(request);
  const { keyspace, ack, session } = request;
  const outcomes = await runAll(deps, context, request, {
    kind: OPERATION.DELETE,
    bodies: request.keys.map((key, index) => toBuffer(DeleteRequest.encode({ keyspace, key, expectedVersion: EMPTY, ack, opId: opIdAt(request.opId, index), session, fence: request.fence }).finish())),
  });
  const results = outcomes.map((outcome) => {
    if (isAtollError(outcome)) return { applied: false, version: EMPTY, error: toErrorDetail(outcome) };
    const { applied, version } = DeleteResponse.decode(outcome.resultBody);
    return { applied, version, error: undefined };
  });
  return { results, session: sessionOf(session, outcomes) };
}

type Outcome = RoutedOperation | AtollError;

/** Runs one operation per body and answers their outcomes in that order. Throws what concerns all of them. */
function runAll(
  deps: HandlerDeps,
  context: CallContext,
  request: { readonly keyspace: string; readonly session: Buffer },
  { kind, bodies }: { readonly kind: number; readonly bodies: readonly Buffer[] },
): Promise<readonly Outcome[]> {
  const { table, dispatcher, opIds } = deps.routing();
  const name = request.keyspace === '' ? DEFAULT_KEYSPACE : request.keyspace;
  if (table.keyspace(name) === undefined) throw keyspaceNotFound(name);
  mergeSessions(request.session, EMPTY); // throws SESSION_MALFORMED
  if (bodies.length === 0) return Promise.resolve([]);
  const startedAtMs = deps.nowMs();
  const deadlineAtMs = startedAtMs + answerWithinMs(context);
  const outcomes: Outcome[] = Array.from({ length: bodies.length });
  const order = kind === OPERATION.GET ? undefined : new KeyOrder();
  return new Promise((resolve) => {
    let missing = bodies.length;
    const done = (index: number, outcome: Outcome): void => {
      outcomes[index] = outcome;
      missing -= 1;
      if (missing === 0) resolve(outcomes);
    };
    const onDone = (operation: RoutedOperation): void => done(operation.callerId, operation.error ?? operation);
    bodies.forEach((body, index) => {
      try {
        const operation = takeIn({ kind, body, valueBytes: 0, startedAtMs, deadlineAtMs, span: context.span, onDone }, table, opIds);
        operation.callerId = index;
        dispatcher.submit(operation, order);
      } catch (error) {
        done(index, isAtollError(error) ? error : new AtollError('INTERNAL', 'internal error', { cause: error }));
      }
    });
  });
}

function sessionOf(session: Buffer, outcomes: readonly Outcome[]): Buffer {
  let merged = session;
  for (const outcome of outcomes) {
    if (!isAtollError(outcome)) merged = mergeSessions(merged, sessionIn(outcome.resultBody, FIELDS[outcome.kind]!.responseSession));
  }
  return merged;
}

const answerFull = (): AtollError => new AtollError('OVERLOADED', 'keys: the answer is full; ask for fewer keys at once', { metadata: { field: 'keys' } });

function toErrorDetail({ reason, message, metadata }: AtollError): ErrorDetail {
  return { reason, message, metadata: { ...metadata } };
}

const opIdAt = (first: OpId | undefined, index: number): OpId | undefined =>
  first === undefined ? undefined : { ...first, counter: first.counter + index };

const toBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
