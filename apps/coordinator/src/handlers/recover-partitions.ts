import type { PartitionRecovery, RecoverPartitionsRequest, RecoverPartitionsResponse } from '@atoll/contracts/atoll/v1/admin';
import { invalidArgument, isAtollError } from '@atoll/core-errors';
import { keyspaceNotFound } from '@atoll/core-membership';
import { DEFAULT_KEYSPACE } from '@atoll/core-runtime';
import type { CallContext } from '@atoll/platform-grpc';
import { requireTerm, type AdminContext } from '../admin-context.ts';
import type { RecoveryPlan } from '../domain/recovery-plan.ts';
import { waitForView } from '../wait-for-view.ts';
import { WAIT_MS } from './wait-ms.ts';

/** What is left for the answer when the time is up. */
const ANSWER_MS = 250;

export async function recoverPartitions(context: AdminContext, request: RecoverPartitionsRequest, call: CallContext): Promise<RecoverPartitionsResponse> {
  const keyspace = request.keyspace || DEFAULT_KEYSPACE;
  const { partitions, execute, oldMembersAreStopped, allowEmpty } = request;
  if (execute && !oldMembersAreStopped) throw invalidArgument('old_members_are_stopped', 'must be stated by whoever has the partitions go on: a member that goes on serving would lose what it is told');
  const { view, term } = requireTerm(context);
  if (view.keyspace(keyspace) === undefined) throw keyspaceNotFound(keyspace);
  for (const partition of partitions) if (view.partition(keyspace, partition) === undefined) throw invalidArgument('partitions', `${keyspace} has no partition ${partition}`);
  const plans = term.planRecoveries(keyspace, partitions);
  const problemOf = ({ plan, isNeeded }: { plan: RecoveryPlan; isNeeded: boolean }): string => {
    if (!isNeeded) return 'an in-sync member is there: it needs no recovery';
    return plan.source === undefined && !allowEmpty ? 'no replica is left to go on from; allow_empty has it start again, empty' : '';
  };
  const chosen = plans.filter((each) => execute && problemOf(each) === '');
  for (const { plan } of chosen) term.failover.recover(plan.record, plan.source);
  const isLed = ({ plan: { record } }: (typeof plans)[number]): boolean => {
    const shown = view.partition(keyspace, record.partition)?.record;
    return shown !== undefined && shown.epoch > record.epoch && shown.leader !== undefined;
  };
  await waitForView(view, () => chosen.every(isLed), { timeoutMs: call.deadlineRemainingMs(WAIT_MS) - ANSWER_MS, signal: call.signal, what: 'not every partition goes on yet' }).catch((error: unknown) => {
    if (!isAtollError(error) || error.reason !== 'DEADLINE_EXCEEDED') throw error;
  });
  return { recoveries: plans.map((each) => toMessage(each.plan, { problem: problemOf(each), executed: chosen.includes(each) && isLed(each) })) };
}

function toMessage({ record, missing, source, held, lostWrites, loss }: RecoveryPlan, rest: { problem: string; executed: boolean }): PartitionRecovery {
  return {
    partition: record.partition,
    missing: missing.map(({ node }) => node),
    source: source?.node ?? '',
    entries: held?.entries ?? 0,
    endSeq: held?.end?.seq ?? 0,
    lostWrites: lostWrites ?? 0,
    loss,
    ...rest,
  };
}
