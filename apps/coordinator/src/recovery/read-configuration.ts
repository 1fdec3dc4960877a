import type { KeyspaceSpec, NodeSpec, PartitionRecord } from '@atoll/core-membership';
import { KEYSPACES_PREFIX, NODE_SPECS_PREFIX, PARTITIONS_PREFIX, parseKeyspaceSpec, parseNodeSpec, parsePartitionRecord, type MetadataStore, type Parsed } from '@atoll/platform-etcd';

export interface Read<T> {
  readonly value: T;
  readonly modRevision: number;
}

/** The configuration as it stands in etcd. */
export interface ReadConfiguration {
  readonly keyspaces: readonly Read<KeyspaceSpec>[];
  readonly nodeSpecs: readonly Read<NodeSpec>[];
  readonly records: readonly Read<PartitionRecord>[];
  /** Modification revision by key, also of what cannot be read. */
  readonly revisions: ReadonlyMap<string, number>;
  /** Of etcd. */
  readonly revision: number;
}

/** Throws METADATA_UNAVAILABLE. What cannot be read counts as absent; it is overwritten or left alone. */
export async function readConfiguration(store: MetadataStore): Promise<ReadConfiguration> {
  const revisions = new Map<string, number>();
  let revision = 0;
  const read = async <T>(prefix: string, parse: (text: string) => Parsed<T>): Promise<Read<T>[]> => {
    const listed = await store.list(prefix);
    revision = Math.max(revision, listed.revision);
    return listed.values.flatMap(({ key, value, modRevision }): Read<T>[] => {
      revisions.set(key, modRevision);
      const parsed = parse(value);
      return parsed.kind === 'parsed' ? [{ value: parsed.value, modRevision }] : [];
    });
  };
  return {
    keyspaces: await read(KEYSPACES_PREFIX, parseKeyspaceSpec),
    nodeSpecs: await read(NODE_SPECS_PREFIX, parseNodeSpec),
    records: await read(PARTITIONS_PREFIX, parsePartitionRecord),
    revisions,
    revision,
  };
}
