// Keyspaces between the contract and the core. Zero and unspecified mean "the default" in the contract.
import {
  Durability as DurabilityMessage,
  Eviction as EvictionMessage,
  OnDataLoss as OnDataLossMessage,
  type Keyspace,
} from '@atoll/contracts/atoll/v1/admin';
import { Ack } from '@atoll/contracts/atoll/v1/cache';
import { invalidArgument } from '@atoll/core-errors';
import { createKeyspaceSpec, poolOf, type AckLevel, type Durability, type Eviction, type KeyspaceSpec, type OnDataLoss } from '@atoll/core-membership';

const ACKS = { [Ack.ACK_UNSPECIFIED]: undefined, [Ack.ACK_IN_SYNC]: 'IN_SYNC', [Ack.ACK_LEADER]: 'LEADER' } as const;
const DURABILITIES = {
  [DurabilityMessage.DURABILITY_UNSPECIFIED]: undefined,
  [DurabilityMessage.DURABILITY_NONE]: 'NONE',
  [DurabilityMessage.DURABILITY_ASYNC]: 'ASYNC',
  [DurabilityMessage.DURABILITY_SYNC]: 'SYNC',
} as const;
const EVICTIONS = { [EvictionMessage.EVICTION_UNSPECIFIED]: undefined, [EvictionMessage.EVICTION_LRU]: 'LRU', [EvictionMessage.EVICTION_NONE]: 'NONE' } as const;
const ON_DATA_LOSS = {
  [OnDataLossMessage.ON_DATA_LOSS_UNSPECIFIED]: undefined,
  [OnDataLossMessage.ON_DATA_LOSS_WAIT]: 'WAIT',
  [OnDataLossMessage.ON_DATA_LOSS_RESET]: 'RESET',
} as const;

const ACK_MESSAGES: Record<AckLevel, Ack> = { IN_SYNC: Ack.ACK_IN_SYNC, LEADER: Ack.ACK_LEADER };
const DURABILITY_MESSAGES: Record<Durability, DurabilityMessage> = {
  NONE: DurabilityMessage.DURABILITY_NONE,
  ASYNC: DurabilityMessage.DURABILITY_ASYNC,
  SYNC: DurabilityMessage.DURABILITY_SYNC,
};
const EVICTION_MESSAGES: Record<Eviction, EvictionMessage> = { LRU: EvictionMessage.EVICTION_LRU, NONE: EvictionMessage.EVICTION_NONE };
const ON_DATA_LOSS_MESSAGES: Record<OnDataLoss, OnDataLossMessage> = {
  WAIT: OnDataLossMessage.ON_DATA_LOSS_WAIT,
  RESET: OnDataLossMessage.ON_DATA_LOSS_RESET,
};

/** Throws INVALID_ARGUMENT that names the field. */
export function toKeyspaceSpec(message: Keyspace, id: string): KeyspaceSpec {
  return createKeyspaceSpec({
    name: message.name,
    id,
    partitionCount: message.partitionCount || undefined,
    replicationFactor: message.replicationFactor || undefined,
    durability: known('durability', DURABILITIES, message.durability),
    pool: message.pool || undefined,
    ...mutableKeyspaceFields(message),
  });
}

/** What may change while it is served. Throws INVALID_ARGUMENT that names the field. */
export function mutableKeyspaceFields(message: Keyspace) {
  return {
    minInSync: message.minInSync || undefined,
    ack: known('ack', ACKS, message.ack),
    defaultTtlMs: message.defaultTtlMs,
    memoryShare: message.memoryShare || undefined,
    eviction: known('eviction', EVICTIONS, message.eviction),
    onDataLoss: known('on_data_loss', ON_DATA_LOSS, message.onDataLoss),
    valueBytesMax: message.valueBytesMax || undefined,
  };
}

export function toKeyspaceMessage(spec: KeyspaceSpec): Keyspace {
  const { id: _id, copyOf, cutOver: _cutOver, aliases = [], freeze, ...fields } = spec;
  return {
    ...fields,
    ...(copyOf !== undefined && { copyOf: copyOf.keyspace }),
    aliases: [...aliases],
    pool: poolOf(spec),
    freeze: freeze && { id: freeze.id, sinceMs: freeze.sinceMs, note: freeze.note, movedToCluster: freeze.movedTo?.cluster ?? '', movedToKeyspace: freeze.movedTo?.keyspace ?? '' },
    ack: ACK_MESSAGES[spec.ack],
    durability: DURABILITY_MESSAGES[spec.durability],
    eviction: EVICTION_MESSAGES[spec.eviction],
    onDataLoss: ON_DATA_LOSS_MESSAGES[spec.onDataLoss],
  };
}

/** A newer peer may send a number that this program does not know. */
function known<Words extends Readonly<Record<number, string | undefined>>>(field: string, words: Words, value: number): Words[keyof Words] {
  if (!Object.hasOwn(words, value)) throw invalidArgument(`keyspace.${field}`, `${value} is not a value that this program knows`);
  return words[value as keyof Words];
}
