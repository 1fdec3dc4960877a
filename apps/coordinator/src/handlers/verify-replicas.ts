import type {
  PartitionComparison,
  SyncReplicasRequest,
  SyncReplicasResponse,
  VerifyReplicasRequest,
  VerifyReplicasResponse,
} from '@atoll/contracts/atoll/v1/admin';
import { AtollError, invalidArgument } from '@atoll/core-errors';
import type { PartitionRecord } from '@atoll/core-membership';
import type { ClusterView } from '@atoll/platform-etcd';
import { writeWithBackpressure, type ServerStreamHandler, type WritableCall } from '@atoll/platform-grpc';
import { requireTerm, type AdminContext } from '../admin-context.ts';
import { VERIFY, type VerifyOptions } from '../verify/partition-verifier.ts';
import { namedPartitions } from './named-partitions.ts';
import { withStoredName } from './stored-name.ts';

interface Report {
  readonly partition: PartitionComparison;
  readonly done: number;
  readonly total: number;
}

export function verifyReplicas(context: AdminContext): ServerStreamHandler<VerifyReplicasRequest, VerifyReplicasResponse> {
  return async (call, { signal }) => {
    const { keyspace, partitions, reportOnly } = withStoredName(context, call.request);
    await run(context, call, { keyspace, partitions }, { ...VERIFY, reportOnly }, signal);
  };
}

export function syncReplicas(context: AdminContext): ServerStreamHandler<SyncReplicasRequest, SyncReplicasResponse> {
  return async (call, { signal }) => {
    const { keyspace, partitions, node, everything, trustLeader } = withStoredName(context, call.request);
    if (node !== '' && !isNode(requireTerm(context).view, node)) throw new AtollError('NODE_NOT_FOUND', `there is no node ${node}`, { metadata: { field: 'node' } });
    await run(context, call, { keyspace, partitions }, { reportOnly: false, node: node || undefined, everything, trustLeader }, signal);
  };
}

async function run(
  context: AdminContext,
  call: WritableCall<Report>,
  asked: { readonly keyspace: string; readonly partitions: readonly number[] },
  how: VerifyOptions,
  signal: AbortSignal,
): Promise<void> {
  const { view, term } = requireTerm(context);
  const records = recordsOf(view, asked).filter((record) => how.node === undefined || record.inSync.some((member) => member.node === how.node && member.replica !== record.leader?.replica));
  // One message at a time, in the order in which partitions are done.
  let done = 0;
  let writing = Promise.resolve();
  await term.verification.run(records, how, signal, (partition) => {
    done += 1;
    const report = { partition, done, total: records.length };
    writing = writing.then(() => writeWithBackpressure(call, report, signal));
    return writing;
  });
}

/** In order of keyspace, then partition. Throws KEYSPACE_NOT_FOUND, INVALID_ARGUMENT. */
function recordsOf(view: ClusterView, { keyspace, partitions }: { readonly keyspace: string; readonly partitions: readonly number[] }): PartitionRecord[] {
  if (keyspace === '') {
    if (partitions.length > 0) throw invalidArgument('partitions', 'need a keyspace');
    return [...view.keyspaces().keys()].flatMap((name) => view.partitions(name).map(({ record }) => record));
  }
  return namedPartitions(view, keyspace, partitions);
}

function isNode(view: ClusterView, node: string): boolean {
  return view.nodes().has(node) || view.nodeSpecs().has(node);
}
