// Messages of the Admin service as programs see them with --json: every field is there, enums by name without
// their prefix, 64-bit numbers as decimal text.
import { durabilityToJSON, evictionToJSON, nodeStateToJSON, onDataLossToJSON, type Event, type Keyspace, type Node, type Partition } from '@atoll/contracts/atoll/v1/admin';
import { ackToJSON } from '@atoll/contracts/atoll/v1/cache';

const shortName = (name: string, prefix: string): string => name.replace(`${prefix}_`, '');

export function keyspaceJson(keyspace: Keyspace): Record<string, unknown> {
  return {
    ...keyspace,
    ack: shortName(ackToJSON(keyspace.ack), 'ACK'),
    durability: shortName(durabilityToJSON(keyspace.durability), 'DURABILITY'),
    eviction: shortName(evictionToJSON(keyspace.eviction), 'EVICTION'),
    onDataLoss: shortName(onDataLossToJSON(keyspace.onDataLoss), 'ON_DATA_LOSS'),
  };
}

export function nodeJson(node: Node): Record<string, unknown> {
  return { ...node, state: shortName(nodeStateToJSON(node.state), 'NODE_STATE') };
}

export function partitionJson(partition: Partition): Record<string, unknown> {
  return { ...partition, tokenStart: String(partition.tokenStart), tokenEnd: String(partition.tokenEnd) };
}

export function eventJson(event: Event): Record<string, unknown> {
  return { ...event };
}
