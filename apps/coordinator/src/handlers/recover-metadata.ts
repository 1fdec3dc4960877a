import type { PartitionRebuilt, RecoverMetadataRequest, RecoverMetadataResponse } from '@atoll/contracts/atoll/v1/admin';
import { invalidArgument } from '@atoll/core-errors';
import type { RebuiltPartition } from '@atoll/core-membership';
import type { CallContext } from '@atoll/platform-grpc';
import { requireElected, type AdminContext } from '../admin-context.ts';
import { WAIT_MS } from './wait-ms.ts';
import { executeRecovery, prepareRecovery, type PreparedRecovery } from '../recovery/metadata-recovery.ts';

/** A node with many partitions needs some time to tell them. */
const ASK_MS_MAX = 10_000;

export async function recoverMetadata(context: AdminContext, { execute, acceptRisks }: RecoverMetadataRequest, call: CallContext): Promise<RecoverMetadataResponse> {
  if (acceptRisks && !execute) throw invalidArgument('accept_risks', 'means nothing without execute');
  const { view, term } = requireElected(context);
  const { id, store, random } = context;
  const options = { id, store, view, random, election: term.election, askMs: Math.min(ASK_MS_MAX, call.deadlineRemainingMs(WAIT_MS) / 4) };
  const prepared = await prepareRecovery(options);
  const regressed = [...store.reasons];
  const executed = execute && (acceptRisks || prepared.plan.risks.length === 0);
  if (executed) {
    await executeRecovery(options, prepared, call.signal);
    term.noteRecovery(prepared.plan.keyspaces.length, prepared.plan.partitions.length);
    await store.look().catch(() => undefined);
  }
  return { ...toMessage(prepared), regressed, executed };
}

function toMessage({ plan, stored, asked, unreachable, revisionSeen }: PreparedRecovery): Omit<RecoverMetadataResponse, 'regressed' | 'executed'> {
  return {
    asked: [...asked],
    unreachable: [...unreachable],
    keyspaces: [
      ...plan.keyspaces.map(({ spec, outcome }) => ({ name: spec.name, outcome })),
      ...plan.removedKeyspaces.map(({ name }) => ({ name, outcome: 'REMOVED' })),
    ],
    partitions: plan.partitions.map(toPartition),
    risks: [...plan.risks],
    revision: stored.revision,
    revisionSeen,
  };
}

function toPartition({ record, before, source, risk }: RebuiltPartition): PartitionRebuilt {
  return {
    keyspace: record.keyspace,
    partition: record.partition,
    epochBefore: before?.epoch ?? 0,
    epoch: record.epoch,
    generation: record.generation.counter,
    leader: record.leader?.node ?? '',
    inSync: record.inSync.map(({ node }) => node),
    learners: record.learners.map(({ node }) => node),
    source,
    risk,
  };
}
