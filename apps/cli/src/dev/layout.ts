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
  /** Undefined: the main pool. */
  readonly pool?: string;
}

/** As STORAGE_NODE_POOL has it where nothing is said. */
export const MAIN_POOL = 'main';
/** Of the nodes that `up --standby-nodes` starts. */
export const STANDBY_POOL = 'standby';

/** Zone of nodes where nobody names zones. */
export const ZONE_DEFAULT = 'default';

/** What `up` is asked to start. */
export interface NodesAsk {
  /** Of the main pool, and of the standby pool. */
  readonly nodes: number;
  readonly standbyNodes: number;
  readonly zones: readonly string[] | undefined;
}

/** Nodes of all pools: those of the main one first. Nodes that were added to other pools stay. */
export function planPools({ nodes, standbyNodes, zones }: NodesAsk, known: readonly StorageNodeLayout[] = []): StorageNodeLayout[] {
  const main = known.filter(({ pool }) => pool === undefined);
  const standby = known.filter(({ pool }) => pool === STANDBY_POOL);
  const others = known.filter(({ pool }) => pool !== undefined && pool !== STANDBY_POOL);
  const planned = planStorageNodes(nodes, zones, main, [...standby, ...others]);
  const standing = planStorageNodes(standbyNodes, zones, standby, [...planned, ...others]).map((node) => ({ ...node, pool: STANDBY_POOL }));
  return [...planned, ...standing, ...others];
}

/**
 * `count` nodes. Those that are known keep number, zone and weight, unless zones are named: then these go
 * round. A node beyond the known ones gets the next number, that none of the `others` has.
 */
export function planStorageNodes(count: number, zones?: readonly string[], known: readonly StorageNodeLayout[] = [], others: readonly StorageNodeLayout[] = []): StorageNodeLayout[] {
  const planned: StorageNodeLayout[] = [];
  for (let index = 0; index < count; index += 1) {
    const before = known[index];
    planned.push({
      number: before?.number ?? Math.max(0, ...[...planned, ...others].map(({ number }) => number)) + 1,
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
