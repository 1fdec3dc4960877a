// What this node knows of the cluster's configuration, for who rebuilds it (R13): what the watch showed last, and of the
// partitions held here what came by any other way, the leader's own changes among it.
import type { KnownRecord, ListRecordsRequest, ListRecordsResponse } from '@atoll/contracts/atoll/v1/replication';
import { AtollError } from '@atoll/core-errors';
import type { VersionedRecord } from '@atoll/core-membership';
import { encodeKeyspaceSpec, encodeNodeSpec, encodePartitionRecord, type ClusterView, type GuardedMetadataStore } from '@atoll/platform-etcd';
import { writeWithBackpressure, type ServerStreamHandler } from '@atoll/platform-grpc';
import type { HostedReplica } from '../hosted-replica.ts';
import { markMessage } from '../heartbeat/mark-message.ts';
import type { ReplicaHost } from '../replica-host.ts';
import { describeReplica } from './describe-replica.ts';

/** A record is some hundred bytes, 8 KiB at most. */
const RECORDS_PER_MESSAGE = 100;

export interface ListRecordsOptions {
  readonly host: ReplicaHost;
  readonly view: ClusterView;
  readonly store: Pick<GuardedMetadataStore, 'mark' | 'reasons'>;
  readonly incarnation: string;
}

export function createListRecordsHandler({ host, view, store, incarnation }: ListRecordsOptions): ServerStreamHandler<ListRecordsRequest, ListRecordsResponse> {
  return async (call, { signal }) => {
    const { clusterId } = call.request;
    if (clusterId !== view.clusterId) throw new AtollError('WRONG_CLUSTER', `the coordinator belongs to cluster ${clusterId}, this node to ${view.clusterId}; where the coordinator began in an etcd that was wiped, stop it, delete the key /atoll/v1/cluster and start it again`);
    const head = {
      mark: markMessage(store),
      incarnation,
      keyspaces: [...view.keyspaces().values()].map(encodeKeyspaceSpec),
      nodeSpecs: [...view.nodeSpecs().values()].map(encodeNodeSpec),
    };
    await writeWithBackpressure(call, { ...head, records: [] }, signal);
    const records = [...knownRecords(host, view)];
    for (let start = 0; start < records.length; start += RECORDS_PER_MESSAGE) {
      const message = { mark: undefined, incarnation, keyspaces: [], nodeSpecs: [], records: records.slice(start, start + RECORDS_PER_MESSAGE) };
      await writeWithBackpressure(call, message, signal);
    }
  };
}

function* knownRecords(host: ReplicaHost, view: ClusterView): Iterable<KnownRecord> {
  const told = new Set<HostedReplica>();
  for (const name of view.keyspaces().keys()) {
    for (const shown of view.partitions(name)) {
      const hosted = host.replica(name, shown.record.partition);
      if (hosted !== undefined) told.add(hosted);
      yield toKnown(newest(hosted, shown), hosted);
    }
  }
  for (const hosted of host.replicas()) {
    const record = newest(hosted, undefined);
    if (!told.has(hosted) && record !== undefined) yield toKnown(record, hosted);
  }
}

function newest(hosted: HostedReplica | undefined, shown: VersionedRecord): VersionedRecord;
function newest(hosted: HostedReplica | undefined, shown: VersionedRecord | undefined): VersionedRecord | undefined;
function newest(hosted: HostedReplica | undefined, shown: VersionedRecord | undefined): VersionedRecord | undefined {
  const own = hosted?.replica.leader?.record.current ?? hosted?.replica.record;
  if (own === undefined || shown === undefined) return own ?? shown;
  return own.record.keyspaceId === shown.record.keyspaceId && own.modRevision >= shown.modRevision ? own : shown;
}

function toKnown({ record, modRevision }: VersionedRecord, hosted: HostedReplica | undefined): KnownRecord {
  // What is held of an older keyspace of that name is nothing of this partition.
  const own = hosted?.replica.state.identity.keyspaceId === record.keyspaceId ? hosted : undefined;
  return {
    record: encodePartitionRecord(record),
    modRevision,
    leads: own?.replica.leader?.epoch === record.epoch,
    epoch: own?.replica.highestEpoch ?? 0,
    replica: own && describeReplica(own),
  };
}
