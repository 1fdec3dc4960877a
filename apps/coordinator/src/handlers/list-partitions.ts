import type { ListPartitionsRequest, ListPartitionsResponse, Partition } from '@atoll/contracts/atoll/v1/admin';
import { keyspaceNotFound, type KeyspaceSpec, type PartitionRecord } from '@atoll/core-membership';
import { tokenRangeOf, tokenRangeToBigInt } from '@atoll/core-placement';
import { readView, type AdminContext } from '../admin-context.ts';

/** In order of keyspace, then partition. */
export function listPartitions(context: AdminContext, { keyspace: name }: ListPartitionsRequest): ListPartitionsResponse {
  const view = readView(context);
  const specs = name === '' ? [...view.keyspaces().values()] : [view.keyspace(name)];
  const partitions = specs.flatMap((spec) => {
    if (spec === undefined) throw keyspaceNotFound(name);
    return view.partitions(spec.name).map(({ record }) => toMessage(spec, record));
  });
  return { partitions };
}

function toMessage({ partitionCount }: KeyspaceSpec, record: PartitionRecord): Partition {
  const range = tokenRangeToBigInt(tokenRangeOf(record.partition, partitionCount));
  return {
    id: record.partition,
    epoch: record.epoch,
    leader: record.leader?.node ?? '',
    inSync: record.inSync.map((member) => member.node),
    learners: record.learners.map((member) => member.node),
    tokenStart: range.first,
    tokenEnd: range.last,
    keyspace: record.keyspace,
    generation: record.generation.counter,
    state: record.state,
    eligible: record.eligible.map((member) => member.node),
  };
}
