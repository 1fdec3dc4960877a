// Which fields of a keyspace a request changes.
import type { Keyspace } from '@atoll/contracts/atoll/v1/admin';
import { invalidArgument } from '@atoll/core-errors';
import { createKeyspaceSpec, type KeyspaceSpec } from '@atoll/core-membership';
import { mutableKeyspaceFields } from '@atoll/platform-wire';

const MUTABLE = {
  min_in_sync: 'minInSync',
  ack: 'ack',
  default_ttl_ms: 'defaultTtlMs',
  memory_share: 'memoryShare',
  eviction: 'eviction',
  on_data_loss: 'onDataLoss',
  value_bytes_max: 'valueBytesMax',
} as const;
const FIXED: readonly string[] = ['name', 'partition_count', 'replication_factor', 'durability'];

const isMutable = (field: string): field is keyof typeof MUTABLE => Object.hasOwn(MUTABLE, field);

/** Throws INVALID_ARGUMENT for a field that is unknown or fixed. */
export function checkUpdateFields(fields: readonly string[]): void {
  if (fields.length === 0) throw invalidArgument('fields', 'must name at least one field');
  for (const field of fields) {
    if (isMutable(field)) continue;
    const problem = FIXED.includes(field) ? 'is fixed when the keyspace is created' : `is not one of ${Object.keys(MUTABLE).join(', ')}`;
    throw invalidArgument('fields', `${JSON.stringify(field.slice(0, 64))} ${problem}`);
  }
}

/** The spec with the named fields of the message; zero and unspecified set the default. */
export function applyUpdate(spec: KeyspaceSpec, message: Keyspace, fields: readonly string[]): KeyspaceSpec {
  const wanted = mutableKeyspaceFields(message);
  const changes = fields.filter(isMutable).map((field) => [MUTABLE[field], wanted[MUTABLE[field]]]);
  return createKeyspaceSpec({ ...spec, ...(Object.fromEntries(changes) as Partial<typeof wanted>) });
}
