import type { TransferLeadershipRequest, TransferLeadershipResponse, TransferResult } from '@atoll/contracts/atoll/v1/admin';
import { invalidArgument, isAtollError } from '@atoll/core-errors';
import { keyspaceNotFound, type PartitionRecord } from '@atoll/core-membership';
import { DEFAULT_KEYSPACE } from '@atoll/core-runtime';
import type { ClusterView } from '@atoll/platform-etcd';
import type { CallContext } from '@atoll/platform-grpc';
import { requireTerm, type AdminContext } from '../admin-context.ts';
import type { TermOfOffice } from '../term-of-office.ts';
import { waitForView } from '../wait-for-view.ts';
import { requireSpec } from './drain-node.ts';
import { WAIT_MS } from './wait-ms.ts';

/** What is left for the answer when the time is up. */
const ANSWER_MS = 250;

export async function transferLeadership(context: AdminContext, request: TransferLeadershipRequest, call: CallContext): Promise<TransferLeadershipResponse> {
  const keyspace = request.keyspace || DEFAULT_KEYSPACE;
  const { partitions, from, to } = request;
  if (partitions.length === 0 && from === '') throw invalidArgument('partitions', 'must name at least one partition, unless from names a node');
  const { view, term } = requireTerm(context);
  if (view.keyspace(keyspace) === undefined) throw keyspaceNotFound(keyspace);
  for (const node of [from, to]) if (node !== '') requireSpec(view, node);
  const records = select(view, keyspace, request);
  const refused = new Map(records.map((record) => [record.partition, problemBefore(record, to)]));
  for (const record of records) if (refused.get(record.partition) === undefined && record.leader?.node !== to) term.failover.request(record, to);
  const results = (): TransferResult[] => records.map((record) => toResult(record, { view, term, to, refused: refused.get(record.partition) }));
  const isDone = (): boolean => results().every(({ problem }) => problem !== PENDING);
  await waitForView(view, isDone, { timeoutMs: call.deadlineRemainingMs(WAIT_MS) - ANSWER_MS, signal: call.signal, what: 'not every office was transferred' }).catch((error: unknown) => {
    if (!isAtollError(error) || error.reason !== 'DEADLINE_EXCEEDED') throw error;
  });
  return { results: results() };
}

const PENDING = 'it was not transferred in time';

function select(view: ClusterView, keyspace: string, { partitions, from }: TransferLeadershipRequest): PartitionRecord[] {
  const records = view.partitions(keyspace).map(({ record }) => record);
  for (const partition of partitions) if (!records.some((record) => record.partition === partition)) throw invalidArgument('partitions', `${keyspace} has no partition ${partition}`);
  return records.filter((record) => (partitions.length === 0 || partitions.includes(record.partition)) && (from === '' || record.leader?.node === from));
}

function problemBefore(record: PartitionRecord, to: string): string | undefined {
  if (record.leader === undefined) return 'nobody leads it';
  if (to !== '' && record.inSync.every(({ node }) => node !== to)) return `${to} has no in-sync replica of it`;
  return record.inSync.length === 1 && to === '' ? 'nobody else is in sync' : undefined;
}

function toResult(before: PartitionRecord, { view, term, to, refused }: { view: ClusterView; term: TermOfOffice; to: string; refused: string | undefined }): TransferResult {
  const { keyspace, partition, epoch } = before;
  const leader = view.partition(keyspace, partition)?.record.leader?.node ?? '';
  const isDone = to === '' ? leader !== '' && leader !== before.leader?.node : leader === to;
  const problem = refused ?? (isDone ? '' : (term.failover.problemOf(keyspace, partition, epoch) ?? PENDING));
  return { partition, leader, problem };
}
