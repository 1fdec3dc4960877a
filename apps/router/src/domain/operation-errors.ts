import { ErrorDetail } from '@atoll/contracts/atoll/v1/cache';
import { AtollError, isErrorReason, type ErrorReason } from '@atoll/core-errors';
import { OP_STATE, type RoutedOperation } from './routed-operation.ts';

/** Last refusals that say more than "unavailable" when the deadline comes. */
const KEPT_AT_DEADLINE: ReadonlySet<ErrorReason> = new Set<ErrorReason>(['NOT_ENOUGH_REPLICAS', 'OVERLOADED', 'REPLICA_TOO_STALE', 'METADATA_UNAVAILABLE']);

export const shuttingDown = (): AtollError => new AtollError('SHUTTING_DOWN', 'the router is shutting down');

/** What a write that a node may have taken ends with when nothing is heard of it (R21). */
export function inDoubt(cause: AtollError): AtollError {
  return new AtollError('WRITE_IN_DOUBT', `the write may or may not have happened: ${cause.message}`, { metadata: { cause: cause.reason } });
}

/** What a write ends with that may have been taken, and that a later one on its key has overtaken (R26). */
export const overtaken = (): AtollError =>
  new AtollError('WRITE_IN_DOUBT', 'the write may or may not have happened, and a later one to the key did', { metadata: { cause: 'OVERTAKEN' } });

/** Why a read is asked again whose answer came before an earlier write on its key (R26). */
export const answeredTooEarly = (): AtollError => withoutStack(() => new AtollError('PARTITION_UNAVAILABLE', 'an earlier write to the key was refused, and goes first'));

/** Whether it is no use to send the write again: its leader has forgotten what became of it (R21). */
export const isForgotten = ({ reason, metadata }: AtollError): boolean => reason === 'WRITE_IN_DOUBT' && metadata['cause'] === 'RESULT_FORGOTTEN';

/** What a node says about a failed operation; a reason of a newer release becomes INTERNAL and keeps its name as a fact. */
export function fromErrorDetail(body: Buffer): AtollError {
  const { reason, message, metadata } = ErrorDetail.decode(body);
  return withoutStack(() => (isErrorReason(reason) ? new AtollError(reason, message, { metadata }) : new AtollError('INTERNAL', message, { metadata: { ...metadata, reason } })));
}

/** The stack of whoever reads an answer says nothing, and was half of what a router does while a leader changes. */
function withoutStack(make: () => AtollError): AtollError {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    return make();
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

/** An answer that does not fit the question: a write may have been taken all the same. */
export function unexpectedAnswer(operation: RoutedOperation): AtollError {
  const failure = new AtollError('INTERNAL', 'the storage node gave an answer of another kind');
  return operation.isWrite ? inDoubt(failure) : failure;
}

/**
 * What an operation ends with at its deadline, by where it is then. Only what was handed to a node is in doubt;
 * everything else is a plain failure, with the last refusal if there was one. `isConnected`: its node can be
 * reached.
 */
export function deadlineError(operation: RoutedOperation, isConnected: boolean): AtollError {
  if (operation.state === OP_STATE.SENT) {
    const late = new AtollError('DEADLINE_EXCEEDED', 'the storage node did not answer before the deadline');
    return operation.isWrite ? inDoubt(late) : late;
  }
  const { lastFailure } = operation;
  if (lastFailure !== undefined) {
    const metadata = { ...lastFailure.metadata, last_reason: lastFailure.reason };
    if (operation.isHeldByBudget) return new AtollError('RETRY_BUDGET_EXHAUSTED', `not repeated any more: ${lastFailure.message}`, { metadata });
    if (KEPT_AT_DEADLINE.has(lastFailure.reason)) return lastFailure;
    return new AtollError('PARTITION_UNAVAILABLE', `no leader answered before the deadline: ${lastFailure.message}`, { metadata });
  }
  if (operation.state === OP_STATE.QUEUED) {
    return isConnected
      ? new AtollError('OVERLOADED', 'the storage node did not take the operation before the deadline')
      : new AtollError('PARTITION_UNAVAILABLE', 'the storage node could not be reached before the deadline');
  }
  return operation.state === OP_STATE.WAITING
    ? new AtollError('PARTITION_UNAVAILABLE', 'the partition had no leader before the deadline')
    : new AtollError('DEADLINE_EXCEEDED', 'the deadline passed before the operation was sent');
}
