import type { ServerWritableStream } from '@grpc/grpc-js';
import { CopyService, type FollowSourceRequest } from '@atoll/contracts/atoll/v1/copy';
import { AtollError, invalidArgument } from '@atoll/core-errors';
import { keyspaceNotFound } from '@atoll/core-membership';
import { readEncodedStream, writeThrough, type CallContext } from '@atoll/platform-grpc';
import type { RoutingTable } from '../domain/routing-table.ts';
import type { HandlerDeps } from './router-context.ts';

/**
 * Passes on to another cluster what the leader of a partition says to who copies it (R37). Nothing is decoded or kept: the next
 * message is read from the node when the reader's connection has taken the one before. Ends with the node's error, and with
 * NOT_LEADER when the partition changes hands; the reader knows its place, and opens another stream.
 */
export async function handleFollowSource(call: ServerWritableStream<FollowSourceRequest, Buffer>, context: CallContext, deps: HandlerDeps): Promise<void> {
  const { request } = call;
  const { table, copies, onTable } = deps.routing();
  copies.enter();
  const moved = new AbortController();
  const signal = AbortSignal.any([context.signal, moved.signal]);
  let address: string | undefined;
  const unsubscribe = onTable(() => {
    try {
      if (leaderOf(request, table, copies.clusterId) !== address) moved.abort(new AtollError('NOT_LEADER', `partition ${request.partition} of ${request.keyspace} is led by another node now`));
    } catch (error) {
      moved.abort(error);
    }
  });
  try {
    address = leaderOf(request, table, copies.clusterId);
    for await (const message of readEncodedStream(copies.clients.take(address), CopyService.followSource, request, { signal, traceparent: context.traceparent })) {
      await writeThrough(call, message, signal);
      copies.bytes.add(message.length);
    }
    throw new AtollError('PEER_UNAVAILABLE', 'the storage node ended the stream');
  } catch (error) {
    throw moved.signal.aborted && !context.signal.aborted ? moved.signal.reason : error;
  } finally {
    unsubscribe();
    if (address !== undefined) copies.clients.release(address);
    copies.leave();
  }
}

/** host:port. Throws WRONG_CLUSTER, KEYSPACE_NOT_FOUND, INVALID_ARGUMENT, PARTITION_UNAVAILABLE. */
function leaderOf({ clusterId, keyspace, keyspaceId, partition }: FollowSourceRequest, table: RoutingTable, ownId: string): string {
  if (clusterId !== ownId) throw new AtollError('WRONG_CLUSTER', `this router belongs to cluster ${ownId}, not ${clusterId}`);
  const route = table.keyspace(keyspace);
  if (route === undefined) throw keyspaceNotFound(keyspace);
  if (route.spec.id !== keyspaceId) throw new AtollError('KEYSPACE_NOT_FOUND', `keyspace: ${keyspace} was made again since the copy began`, { metadata: { field: 'keyspace', keyspace } });
  const found = route.partitions[partition];
  if (found === undefined) throw invalidArgument('partition', `must be below ${route.spec.partitionCount}, is ${partition}`);
  if (found.leader === '') throw new AtollError('PARTITION_UNAVAILABLE', `partition ${partition} of ${keyspace} has no leader`);
  return found.leader;
}
