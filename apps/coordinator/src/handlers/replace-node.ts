import type { ReplaceNodeRequest, ReplaceNodeResponse } from '@atoll/contracts/atoll/v1/migration';
import { AtollError, invalidArgument, isAtollError } from '@atoll/core-errors';
import { poolOf } from '@atoll/core-membership';
import { command, isEnded, type MigrationJob, type MigrationReason } from '@atoll/core-migration';
import { randomHex, toNodeId } from '@atoll/core-runtime';
import type { ClusterView } from '@atoll/platform-etcd';
import type { CallContext } from '@atoll/platform-grpc';
import { requireTerm, type AdminContext } from '../admin-context.ts';
import { AUTO, draftMigration, requireCapacity } from '../migration/begin-migration.ts';
import type { TermOfOffice } from '../term-of-office.ts';
import { waitForView } from '../wait-for-view.ts';
import { checkBytesPerSecond } from './bytes-per-second.ts';
import { requireSpec } from './drain-node.ts';
import { checkMigrationId, existingMigration } from './known-migrations.ts';
import { begun, requireTarget } from './start-migration.ts';
import { WAIT_MS } from './wait-ms.ts';

/** What is left for the job itself when others have given way. */
const BEGIN_MS = 1000;
/** Nothing is wrong while they have not run: they give way to what an operator wants. */
const GIVE_WAY: ReadonlySet<MigrationReason> = new Set<MigrationReason>(['JOIN', 'BALANCE']);

export async function replaceNode(context: AdminContext, request: ReplaceNodeRequest, call: CallContext): Promise<ReplaceNodeResponse> {
  const { view, term } = requireTerm(context);
  const { id, from, to, dryRun } = request;
  checkMigrationId(id);
  if (from !== '' && from === to) throw invalidArgument('to', `is the same node as from, ${from}`);
  checkBytesPerSecond(request.bytesPerSecond);
  const known = await existingMigration(term, id);
  if (known !== undefined) return { ...known, refusals: [] };
  const spec = requireSpec(view, from, 'from');
  if (spec.state === 'REMOVED') throw invalidArgument('from', `${from} is removed`);
  requireTarget(context, view, to);
  const pools = [spec, requireSpec(view, to, 'to')].map(poolOf);
  if (pools[0] !== pools[1]) throw invalidArgument('to', `${to} is of pool ${pools[1]}, and ${from} of pool ${pools[0]}`);
  if (!dryRun) await untilOthersGaveWay(view, term, call);
  const { operators: planned, refusals } = term.planReplace({ from: toNodeId(from), to: toNodeId(to), isFromThere: context.judge(from).state === 'UP' });
  if (planned.length === 0) throw invalidArgument('from', refusals.length > 0 ? refusals.slice(0, 5).join('; ') : `${from} holds nothing that could go to ${to}`);
  const survey = await term.migrations.survey();
  const ask = {
    id: id || `replace-${randomHex(context.random, 8)}`,
    reason: 'REPLACE',
    description: `${to} takes the place of ${from}`,
    planned,
    method: term.migrations.planMethod(AUTO, { planned, bytesPerSecond: request.bytesPerSecond }, survey),
    bytesPerSecond: request.bytesPerSecond,
    fullVerify: request.fullVerify,
  } as const;
  const { job, operators } = draftMigration(ask, survey, term.wallMs());
  // A keyspace that evicts makes room by itself: a full cache must not keep nodes from being replaced.
  requireCapacity(operators.filter(({ keyspace }) => view.keyspace(keyspace)?.eviction !== 'LRU'), survey);
  return { ...(await begun(term, { job, operators, dryRun })), refusals: [...refusals] };
}

/** A node that has just joined is being given its share, which is not what it is to hold. Throws MIGRATION_CONFLICT when they take too long. */
async function untilOthersGaveWay(view: ClusterView, term: TermOfOffice, call: CallContext): Promise<void> {
  const { store } = term.migrations;
  const active = (): readonly MigrationJob[] => store.jobs().filter((job) => GIVE_WAY.has(job.reason) && !isEnded(job));
  for (const { id } of active()) {
    await store.update(id, (job) => {
      const next = command(job, { kind: 'cancel' });
      return 'refusal' in next ? job : next;
    });
  }
  if (active().length === 0) return;
  term.wake();
  const timeoutMs = call.deadlineRemainingMs(WAIT_MS) - BEGIN_MS;
  const what = 'migrations that spread load did not give way in time';
  await waitForView(view, () => active().length === 0, { timeoutMs, signal: call.signal, what }).catch((error: unknown) => {
    if (!isAtollError(error) || error.reason !== 'DEADLINE_EXCEEDED') throw error;
    throw new AtollError('MIGRATION_CONFLICT', `to: ${what}: ${active().map(({ id }) => id).join(', ')}; ask again`, { cause: error, metadata: { field: 'to' } });
  });
}
