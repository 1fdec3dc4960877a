// What one storage node remembers of the cluster's configuration (R13).
import { credentials } from '@grpc/grpc-js';
import { ReplicationClient, type KnownRecord } from '@atoll/contracts/atoll/v1/replication';
import { AtollError } from '@atoll/core-errors';
import type { KeyspaceSpec, NodeSpec, RememberedRecord, Testimony } from '@atoll/core-membership';
import { parseKeyspaceSpec, parseNodeSpec, parsePartitionRecord, type Parsed } from '@atoll/platform-etcd';
import { callServerStream, createChannelOptions } from '@atoll/platform-grpc';
import { toHeldReplica } from './replication-peer.ts';
import { toReportedMark } from './report-message.ts';

export interface NodeTestimony extends Testimony {
  /** What it says went back; empty: nothing. */
  readonly reasons: readonly string[];
}

/** Throws when the node does not answer in time, belongs to another cluster, or says what cannot be read. */
export async function askRecords(node: { readonly id: string; readonly address: string }, clusterId: string, deadlineMs: number): Promise<NodeTestimony> {
  const client = new ReplicationClient(node.address, credentials.createInsecure(), createChannelOptions());
  try {
    const keyspaces: KeyspaceSpec[] = [];
    const nodeSpecs: NodeSpec[] = [];
    const records: RememberedRecord[] = [];
    let said: ReturnType<typeof toReportedMark> | undefined;
    for await (const message of callServerStream(client, 'listRecords', { clusterId }, { deadlineMs })) {
      if (message.mark !== undefined) said = toReportedMark(message.mark);
      keyspaces.push(...message.keyspaces.map((text) => read(parseKeyspaceSpec(text), node.id)));
      nodeSpecs.push(...message.nodeSpecs.map((text) => read(parseNodeSpec(text), node.id)));
      records.push(...message.records.map((known) => toRemembered(known, node.id)));
    }
    if (said === undefined) throw new AtollError('INTERNAL', `node ${node.id} answered without its mark`);
    return { source: node.id, ...said, keyspaces, nodeSpecs, records };
  } finally {
    client.close();
  }
}

function toRemembered({ record, modRevision, leads, epoch, replica }: KnownRecord, node: string): RememberedRecord {
  return { record: read(parsePartitionRecord(record), node), modRevision, leads, heardEpoch: epoch, held: replica && toHeldReplica(replica) };
}

function read<T>(parsed: Parsed<T>, node: string): T {
  if (parsed.kind === 'parsed') return parsed.value;
  throw new AtollError('INTERNAL', `node ${node} remembers what cannot be read: ${parsed.problem}`);
}
