import { z } from 'zod';

import { CLUSTER_KEY } from './cluster-keys.ts';
import { encodeJson, parseJson } from './json-codec.ts';
import { metadataUnavailable } from './metadata-errors.ts';
import type { MetadataStore } from './metadata-store.ts';

/** Version of everything below `/atoll/v1/`. A process refuses a cluster of a newer one. */
export const FORMAT_VERSION = 1;

export interface ClusterIdentity {
  /** Random; processes of another cluster are refused (WRONG_CLUSTER). */
  readonly id: string;
  readonly formatVersion: number;
}

const schema = z.object({ id: z.string().min(1), formatVersion: z.number().int().positive() });

/** The id in a value of the key, also of a newer format; what cannot be read stands for itself. */
export function parseIdentity(value: string): string {
  const parsed = parseJson(schema, value);
  return parsed.kind === 'parsed' ? parsed.value.id : value;
}

/** Undefined while no process has made one. Throws METADATA_UNAVAILABLE, or a plain Error for a value that cannot be read. */
export async function readClusterIdentity(store: MetadataStore): Promise<ClusterIdentity | undefined> {
  const stored = await store.get(CLUSTER_KEY);
  if (stored === undefined) return undefined;
  const parsed = parseJson(schema, stored.value);
  if (parsed.kind === 'malformed') throw new Error(`etcd: the value of ${CLUSTER_KEY} ${parsed.problem}`);
  if (parsed.value.formatVersion > FORMAT_VERSION) {
    throw new Error(`etcd: the cluster has format version ${parsed.value.formatVersion}; this program knows versions up to ${FORMAT_VERSION}`);
  }
  return parsed.value;
}

/**
 * The identity of the cluster in this etcd, made by whoever comes first; it never changes. `create` gives a
 * random id. Throws METADATA_UNAVAILABLE.
 */
export async function ensureClusterId(store: MetadataStore, create: () => string): Promise<ClusterIdentity> {
  const present = await readClusterIdentity(store);
  if (present !== undefined) return present;
  const outcome = await store.transact(
    [{ kind: 'modRevision', key: CLUSTER_KEY, equals: 0 }],
    [{ kind: 'put', key: CLUSTER_KEY, value: encodeJson('cluster', { id: create(), formatVersion: FORMAT_VERSION }) }],
  );
  // The key is written at most once, so a read settles who won, also after an unknown outcome: only "absent" is
  // undecided then, and the caller comes again.
  const identity = await readClusterIdentity(store);
  if (identity === undefined) throw metadataUnavailable('the cluster id was not written', outcome.kind === 'unknown' ? outcome.cause : undefined);
  return identity;
}
