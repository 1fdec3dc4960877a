import { setTimeout as delay } from 'node:timers/promises';
import type { AdminClient } from '@atoll/contracts/atoll/v1/admin';
import type { WatchMigrationResponse } from '@atoll/contracts/atoll/v1/migration';
import { AtollError, isAtollError, type ErrorReason } from '@atoll/core-errors';
import { callServerStream } from '@atoll/platform-grpc';
import { CliError, messageOf } from '../cli-error.ts';
import { askCoordinator } from '../connection/admin-connection.ts';
import { EXIT_CODE } from '../exit-code.ts';
import { hasEnded } from './migration-states.ts';

const RETRY_MS_MIN = 100;
const RETRY_MS_MAX = 2_000;

/** What a stream ends with when its coordinator stops, loses its office or cannot be reached: the job goes on under another. */
const PASSING: ReadonlySet<ErrorReason> = new Set(['PEER_UNAVAILABLE', 'NOT_COORDINATOR', 'SHUTTING_DOWN', 'DEADLINE_EXCEEDED', 'CANCELLED', 'OVERLOADED', 'METADATA_UNAVAILABLE']);
/** Statuses with which gRPC itself ends a stream whose connection broke in the middle. */
const BROKEN: ReadonlySet<string | undefined> = new Set(['INTERNAL', 'UNKNOWN']);

export interface FollowHooks {
  /** With each message; the first of each stream has all partitions. */
  readonly onMessage: (message: WatchMigrationResponse) => void;
  /** The stream is lost, and is asked for again. Once until the next message. */
  readonly onLost: (why: string) => void;
}

/**
 * Watches a migration until it has ended (true), or the signal tells to stop (false). A stream that is lost is asked
 * for again, at any of `addresses` or where these point to. Throws what the coordinator refuses (MIGRATION_NOT_FOUND),
 * and the last failure when none has answered for `patienceMs`.
 */
export async function followMigration(addresses: readonly string[], id: string, patienceMs: number, signal: AbortSignal, { onMessage, onLost }: FollowHooks): Promise<boolean> {
  let isLost = false;
  let silentSinceMs = performance.now();
  let retryMs = RETRY_MS_MIN;
  let isOver = false;
  const onEach = (message: WatchMigrationResponse): void => {
    isLost = false;
    retryMs = RETRY_MS_MIN;
    isOver = message.migration !== undefined && hasEnded(message.migration);
    onMessage(message);
  };
  while (true) {
    const patienceLeftMs = Math.max(silentSinceMs + patienceMs - performance.now(), RETRY_MS_MIN);
    const failure = await askCoordinator(addresses, patienceLeftMs, (client, { deadlineMs }) => readStream(client, id, deadlineMs, signal, onEach)).catch(asError);
    if (isOver) return true;
    if (signal.aborted) return false;
    const nowMs = performance.now();
    // While the stream stands nothing may change for long: patience is for the time without one.
    if (failure instanceof StreamLost) silentSinceMs = nowMs;
    if (!(failure instanceof StreamLost) && (!isPassing(failure) || nowMs - silentSinceMs >= patienceMs)) throw failure;
    if (!isLost) onLost(failure.message);
    isLost = true;
    await delay(retryMs, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return false;
    retryMs = Math.min(retryMs * 2, RETRY_MS_MAX);
  }
}

/** The stream stood, and broke or was ended. */
class StreamLost extends Error {
  override readonly name = 'StreamLost';
}

/**
 * One stream. Its first message has to come in `firstMs`; later ones come when something changes. Throws as long as
 * none has come, so that another coordinator is asked; afterwards answers how it ended.
 */
async function readStream(client: AdminClient, id: string, firstMs: number, stop: AbortSignal, onEach: (message: WatchMigrationResponse) => void): Promise<Error> {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), firstMs);
  let stood = false;
  try {
    for await (const message of callServerStream(client, 'watchMigration', { id, intervalMs: 0 }, { signal: AbortSignal.any([stop, late.signal]) })) {
      clearTimeout(timer);
      stood = true;
      onEach(message);
    }
    if (!stood) throw new AtollError('PEER_UNAVAILABLE', 'the coordinator ended the stream');
    return new StreamLost('it ended the stream');
  } catch (error) {
    // The stream says CANCELLED; who looks for a coordinator has to know that another may be asked.
    if (late.signal.aborted) throw new AtollError('DEADLINE_EXCEEDED', 'the coordinator does not answer', { cause: error });
    if (stood && isPassing(error)) return new StreamLost(error.message, { cause: error });
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

const asError = (error: unknown): Error => (error instanceof Error ? error : new Error(messageOf(error)));

function isPassing(error: unknown): error is Error {
  if (isAtollError(error)) return PASSING.has(error.reason) || (error.reason === 'INTERNAL' && BROKEN.has(error.metadata['status']));
  return error instanceof CliError && error.exitCode === EXIT_CODE.unavailable;
}
