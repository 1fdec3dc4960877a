import type { RestartPolicy } from './restart-policy.ts';

/** What a local cluster consists of. Kept in the data directory, so that the next `up` starts the same one. */
export interface ClusterLayout {
  readonly basePort: number;
  readonly routers: number;
  readonly coordinators: number;
  readonly backups: number;
  readonly storageNodes: readonly StorageNodeLayout[];
  /** Bytes of entries per storage node; undefined: the service's default. */
  readonly memoryBytes: number | undefined;
  /** Of the keyspace `default` when it is created; undefined: the coordinator's default. */
  readonly durability: Durability | undefined;
  readonly replicationFactor: number | undefined;
  readonly restart: RestartPolicy;
  readonly logLevel: string | undefined;
}

export const DURABILITIES = ['NONE', 'ASYNC', 'SYNC'] as const;
export type Durability = (typeof DURABILITIES)[number];

export interface StorageNodeLayout {
  /** From 1; decides id and ports and is never given to another node. */
  readonly number: number;
  readonly zone: string;
  readonly weight: number;
}

/** Zone of nodes where nobody names zones. */
export const ZONE_DEFAULT = 'default';

/**
 * `count` nodes. Those that are known keep number, zone and weight, unless zones are named: then these go
 * round. A node beyond the known ones gets the next number.
 */
export function planStorageNodes(count: number, zones?: readonly string[], known: readonly StorageNodeLayout[] = []): StorageNodeLayout[] {
  const planned: StorageNodeLayout[] = [];
  for (let index = 0; index < count; index += 1) {
    const before = known[index];
    planned.push({
      number: before?.number ?? Math.max(0, ...planned.map(({ number }) => number)) + 1,
      zone: zones === undefined ? (before?.zone ?? leastUsedZone(planned)) : (zones[index % zones.length] ?? ZONE_DEFAULT),
      weight: before?.weight ?? 1,
    });
  }
  return planned;
}

/** The zone with the fewest nodes; of several, the one named first; without nodes the default one. */
export function leastUsedZone(nodes: readonly StorageNodeLayout[]): string {
  const counts = new Map<string, number>();
  for (const { zone } of nodes) counts.set(zone, (counts.get(zone) ?? 0) + 1);
  const [least] = [...counts].sort(([, a], [, b]) => a - b);
  return least?.[0] ?? ZONE_DEFAULT;
}
