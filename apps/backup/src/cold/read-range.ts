// Reads one partition from whichever replica has it: followers first, so that leaders are left to clients, and another one from the
// same place when a node dies.
import { ArchiveService, type ArchivePlace, type ReadPartitionResponse } from '@atoll/contracts/atoll/v1/archive';
import { AtollError, isAtollError, type ErrorReason } from '@atoll/core-errors';
import type { Member } from '@atoll/core-membership';
import type { ClusterView } from '@atoll/platform-etcd';
import { readEncodedStream } from '@atoll/platform-grpc';
import { traceparentOf } from '@atoll/platform-telemetry';
import { decodeReadPartitionResponse } from '@atoll/platform-wire';
import type { Marker, RangeName } from './archived-range.ts';
import type { NodeClients } from './node-clients.ts';

/** A stream that brings nothing for so long is given up: a large value at the least rate of a busy node takes half of it. */
const SILENT_MS = 60_000;

/** Ranges that are waiting among which the next one is chosen. */
const LOOKED_AT = 64;

/** Failures of one replica that say nothing of another one. */
const OF_ONE_REPLICA: ReadonlySet<ErrorReason> = new Set(['PEER_UNAVAILABLE', 'REPLICA_NOT_READY', 'REPLICA_UNKNOWN', 'OVERLOADED', 'SHUTTING_DOWN', 'DEADLINE_EXCEEDED', 'CANCELLED', 'METADATA_UNAVAILABLE', 'SNAPSHOT_GONE']);

export interface ReadRangeOptions {
  readonly range: RangeName & { readonly writer: { readonly place: ArchivePlace | undefined } };
  readonly view: ClusterView;
  readonly clients: NodeClients;
  /** Nothing behind it is read; undefined: to the end of what is committed. */
  readonly upTo: Marker | undefined;
  readonly signal: AbortSignal;
  /** Takes what came, in order; waiting here slows the node down. */
  readonly take: (message: ReadPartitionResponse) => Promise<void>;
}

/**
 * Resolves to the last message.
 * @throws SNAPSHOT_GONE: no replica has what follows the place, so the range has to begin anew; PEER_UNAVAILABLE and others: none can
 * be read from at the moment; KEYSPACE_NOT_FOUND
 */
export async function readRange(options: ReadRangeOptions): Promise<ReadPartitionResponse> {
  const { range, view, signal } = options;
  const { keyspace, partition } = range;
  if (view.keyspace(keyspace.name)?.id !== keyspace.id) throw new AtollError('KEYSPACE_NOT_FOUND', `the keyspace ${keyspace.name} was deleted meanwhile`, { metadata: { keyspace: keyspace.name } });
  let lastError: unknown = new AtollError('PEER_UNAVAILABLE', `${keyspace.name}/${partition} has no replica that could be read`);
  let isGoneOnly = true;
  for (const address of addressesOf(range, options)) {
    try {
      return await readFrom(address, options);
    } catch (error) {
      signal.throwIfAborted();
      if (!isAtollError(error) || !OF_ONE_REPLICA.has(error.reason)) throw error;
      isGoneOnly &&= error.reason === 'SNAPSHOT_GONE';
      if (error.reason !== 'SNAPSHOT_GONE' || isGoneOnly) lastError = error;
    }
  }
  if (isGoneOnly) throw lastError;
  const why = lastError instanceof Error ? lastError.message : String(lastError);
  throw new AtollError('PEER_UNAVAILABLE', `${keyspace.name}/${partition}: ${why}`, { cause: lastError });
}

/** Of followers in sync, whose node sends least to this job first; then the leader; of all others none. */
export function addressesOf({ keyspace, partition }: RangeName, { view, clients }: Pick<ReadRangeOptions, 'view' | 'clients'>): readonly string[] {
  const record = view.partition(keyspace.name, partition)?.record;
  if (record === undefined) return [];
  const { leader, inSync } = record;
  const followers = inSync.filter(({ replica }) => replica !== leader?.replica);
  const turned = followers.map((_, index) => followers[(index + partition) % followers.length]!);
  const addresses = (members: readonly Member[]): string[] => members.flatMap(({ node }) => view.nodes().get(node)?.address ?? []);
  return [...addresses(turned).sort((a, b) => clients.streamsOf(a) - clients.streamsOf(b)), ...addresses(leader === undefined ? [] : [leader])];
}

/** Takes away the range whose node sends least to this job: each node bounds what it sends, and one that sends nothing is lost time. */
export function takeLeastBusy<Range extends RangeName>(waiting: Range[], { view, clients }: Pick<ReadRangeOptions, 'view' | 'clients'>): Range | undefined {
  const streams = waiting.slice(0, LOOKED_AT).map((range) => clients.streamsOf(addressesOf(range, { view, clients })[0] ?? ''));
  return waiting.splice(streams.indexOf(Math.min(...streams)), 1)[0];
}

async function readFrom(address: string, { range, view, clients, upTo, signal, take }: ReadRangeOptions): Promise<ReadPartitionResponse> {
  const { keyspace, partition, writer } = range;
  const silence = new AbortController();
  const ended = clients.countStream(address);
  const stream = readEncodedStream(
    clients.bulk(address),
    ArchiveService.readPartition,
    {
      clusterId: view.clusterId,
      partition: { keyspace: keyspace.name, keyspaceId: keyspace.id, partition },
      place: writer.place,
      upTo: upTo?.position,
    },
    { signal: AbortSignal.any([signal, silence.signal]), traceparent: traceparentOf() },
  );
  try {
    for (;;) {
      const timer = setTimeout(() => silence.abort(), SILENT_MS);
      const { value: bytes, done } = await stream.next().finally(() => clearTimeout(timer));
      if (done === true || bytes === undefined) throw new AtollError('PEER_UNAVAILABLE', `${address} ended its stream early`);
      const message = decodeReadPartitionResponse(bytes);
      await take(message);
      if (message.end) return message;
    }
  } finally {
    ended();
    await stream.return(undefined);
  }
}
