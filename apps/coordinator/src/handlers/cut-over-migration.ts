import { setTimeout as pause } from 'node:timers/promises';
import type { CutOverMigrationRequest, CutOverMigrationResponse } from '@atoll/contracts/atoll/v1/migration';
import { invalidArgument } from '@atoll/core-errors';
import type { CallContext } from '@atoll/platform-grpc';
import { requireElected, requireTerm, type AdminContext } from '../admin-context.ts';
import { requireMigration } from './known-migrations.ts';
import { WAIT_MS } from './wait-ms.ts';

const MAX_PAUSE_MS_DEFAULT = 2000;
const MAX_PAUSE_MS_MIN = 100;
const MAX_PAUSE_MS_MAX = 60_000;
const LOOK_MS = 20;
/** Left of the deadline for the answer. */
const ANSWER_MS = 100;

/** Begins a cut-over and waits for its end. Throws as TermCopies.cutOver, MIGRATION_NOT_FOUND, INVALID_ARGUMENT, and NOT_COORDINATOR when the term ends meanwhile. */
export async function cutOverMigration(context: AdminContext, { id, maxPauseMs }: CutOverMigrationRequest, call: CallContext): Promise<CutOverMigrationResponse> {
  if (maxPauseMs !== 0 && (maxPauseMs < MAX_PAUSE_MS_MIN || maxPauseMs > MAX_PAUSE_MS_MAX)) {
    throw invalidArgument('max_pause_ms', `must be 0 or ${MAX_PAUSE_MS_MIN} to ${MAX_PAUSE_MS_MAX}`);
  }
  const { term } = requireTerm(context);
  await requireMigration(term, id);
  const waitMs = maxPauseMs || MAX_PAUSE_MS_DEFAULT;
  await term.copies.cutOver(id, waitMs);
  const untilMs = performance.now() + call.deadlineRemainingMs(waitMs + WAIT_MS) - ANSWER_MS;
  for (;;) {
    // Whoever was elected since knows how it ended, and is asked by the client.
    const { migration } = await requireMigration(requireElected(context).term, id);
    if (term.copies.store.job(id)?.state !== 'CUTTING_OVER' || performance.now() >= untilMs) return { migration };
    await pause(LOOK_MS, undefined, { signal: call.signal });
  }
}
