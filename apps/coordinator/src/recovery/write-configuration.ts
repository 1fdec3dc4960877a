import { AtollError } from '@atoll/core-errors';
import type { MetadataRecovery } from '@atoll/core-membership';
import {
  CHANGE_KEY,
  CLUSTER_KEY,
  RECOVERY_KEY,
  REGRESSED_KEY,
  encodeKeyspaceSpec,
  encodeNodeSpec,
  encodePartitionRecord,
  keyspaceKey,
  nodeSpecKey,
  partitionKey,
  type Change,
  type Comparison,
  type MetadataStore,
} from '@atoll/platform-etcd';
import type { ReadConfiguration } from './read-configuration.ts';

/** With what else a transaction carries below etcd's bound of 128. */
const CHANGES_PER_TRANSACTION = 100;

export interface WriteConfigurationOptions {
  readonly plan: MetadataRecovery;
  /** Every key is compared with what was read. */
  readonly stored: ReadConfiguration;
  readonly election: Comparison;
  /** Value of the cluster's identity, where it is known. */
  readonly identity: string | undefined;
  /** Random. */
  readonly recoveryId: string;
}

/** Keyspaces before what belongs to them, the word of recovery last. Throws METADATA_CONFLICT: to be prepared and run again. */
export async function writeConfiguration(store: MetadataStore, { plan, stored, election, identity, recoveryId }: WriteConfigurationOptions): Promise<void> {
  const changes = [...toChanges(plan)];
  for (let start = 0; start < changes.length; start += CHANGES_PER_TRANSACTION) {
    const batch = changes.slice(start, start + CHANGES_PER_TRANSACTION);
    const comparisons = batch.map(({ key }): Comparison => ({ kind: 'modRevision', key, equals: stored.revisions.get(key) ?? 0 }));
    await commit(store, [election, ...comparisons], [...batch, changed(batch[0]!.key)]);
  }
  const isIdentityKept = identity === undefined || (await store.get(CLUSTER_KEY))?.value === identity;
  await commit(
    store,
    [election],
    [
      ...(isIdentityKept ? [] : [{ kind: 'put', key: CLUSTER_KEY, value: identity } as const]),
      { kind: 'put', key: RECOVERY_KEY, value: JSON.stringify({ id: recoveryId }) },
      { kind: 'delete', key: REGRESSED_KEY },
      changed(RECOVERY_KEY),
      // The office of this coordinator.
      { kind: 'delete', key: election.key },
    ],
  );
}

function* toChanges(plan: MetadataRecovery): Iterable<Change> {
  for (const { spec } of plan.keyspaces) yield { kind: 'put', key: keyspaceKey(spec.name), value: encodeKeyspaceSpec(spec) };
  for (const spec of plan.nodeSpecs) yield { kind: 'put', key: nodeSpecKey(spec.id), value: encodeNodeSpec(spec) };
  for (const { record } of plan.partitions) yield { kind: 'put', key: partitionKey(record.keyspace, record.partition), value: encodePartitionRecord(record) };
  for (const { keyspace, partition } of plan.orphans) yield { kind: 'delete', key: partitionKey(keyspace, partition) };
  for (const { name } of plan.removedKeyspaces) yield { kind: 'delete', key: keyspaceKey(name) };
}

const changed = (by: string): Change => ({ kind: 'put', key: CHANGE_KEY, value: by });

async function commit(store: MetadataStore, comparisons: readonly Comparison[], changes: readonly Change[]): Promise<void> {
  const { kind } = await store.transact(comparisons, changes);
  if (kind === 'succeeded') return;
  const why = kind === 'refused' ? 'something else was written meanwhile, or this coordinator is not elected any more' : 'etcd did not answer';
  throw new AtollError('METADATA_CONFLICT', `the recovery was broken off: ${why}. Run it again`);
}
