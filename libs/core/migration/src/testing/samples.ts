// Values for specs: a move of one partition from a to d, which b shares.
import { toEpoch, toNodeId, toPartitionId, toReplicaId, type NodeId } from '@atoll/core-runtime';
import type { Member, PartitionRecord } from '@atoll/core-membership';
import type { OperatorFacts } from '../advance.ts';
import { MOVE_PLAN } from '../choose-method.ts';
import type { MigrationJob } from '../migration-job.ts';
import type { MigrationOperator, MigrationProof } from '../operator.ts';

export const nodes = (names: string): NodeId[] => Array.from(names, toNodeId);
const members = (names: string): Member[] => nodes(names).map((node) => ({ node, replica: toReplicaId(`${node}-replica`) }));

export const PROOF: MigrationProof = { epoch: 7, seq: 100, entries: 10, equal: 64, repaired: 0, comparedEntries: 0 };

export const job = (fields: Partial<MigrationJob> = {}): MigrationJob => ({
  id: 'job-1',
  ...MOVE_PLAN,
  reason: 'REQUESTED',
  state: 'RUNNING',
  createdMs: 1000,
  endedMs: 0,
  description: '',
  problem: '',
  bytesPerSecond: 0,
  fullVerify: false,
  traceparent: '',
  total: 1,
  done: 0,
  rolledBack: 0,
  bytes: 0,
  entries: 0,
  pauseMsMax: 0,
  ...fields,
});

export const operator = (fields: Partial<MigrationOperator> = {}): MigrationOperator => ({
  job: 'job-1',
  keyspace: 'default',
  keyspaceId: 'id-1',
  partition: toPartitionId(3),
  reason: 'REQUESTED',
  before: nodes('ab'),
  after: nodes('db'),
  step: 'WAITING',
  stepSinceMs: 1000,
  proof: undefined,
  pauseMs: undefined,
  bytes: 0,
  entries: 0,
  bytesTotal: 0,
  entriesTotal: 0,
  problem: '',
  traceparent: '',
  ...fields,
});

/** A record by the letters of its nodes; nobody leads without `leader`. */
export function record(fields: { leader?: string; inSync?: string; learners?: string; leaving?: string; eligible?: string; epoch?: number; keyspaceId?: string; partition?: number } = {}): PartitionRecord {
  const { leader = 'a', inSync = 'ab', learners = '', leaving = '', eligible = '', epoch = 7, keyspaceId = 'id-1', partition = 3 } = fields;
  return {
    keyspace: 'default',
    keyspaceId,
    partition: toPartitionId(partition),
    state: leader === '' ? 'WAITING' : 'ACTIVE',
    generation: { counter: 1, id: 'generation' },
    epoch: toEpoch(epoch),
    leader: members(leader)[0],
    leaderIncarnation: leader === '' ? '' : 'incarnation',
    relinquished: false,
    inSync: members(inSync),
    eligible: members(eligible),
    learners: members(learners),
    leaving: members(leaving),
    changeId: 'change',
  };
}

export const facts = (fields: Partial<OperatorFacts> = {}): OperatorFacts => ({ record: record(), mayBegin: true, verdict: undefined, obstacle: undefined, pauseMs: undefined, isHandingOver: false, stuckMs: 0, ...fields });
