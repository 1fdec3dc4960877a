// Where partitions of a source are followed: at their leaders in this cluster, or through any router of another one.
import { AtollError } from '@atoll/core-errors';
import type { CopyOf } from '@atoll/core-membership';
import type { TokenRange } from '@atoll/core-placement';
import type { ClusterView } from '@atoll/platform-etcd';

export interface FollowedSource {
  /** Of the cluster that has it: it is checked by who serves the stream. */
  readonly clusterId: string;
  readonly name: string;
  readonly id: string;
  readonly partitionCount: number;
  /** Only keys whose tokens lie in it are copied; undefined: all. */
  readonly tokens: TokenRange | undefined;
  /** Number of the copy, where the keyspace became one with what it had; 0 otherwise. */
  readonly run: number;
  /** Whether it is in another cluster: what goes wrong is told with the address then. */
  readonly isElsewhere: boolean;
  /** Who serves it there, for people: `router`, or of an archive `backup service`. */
  readonly servedBy: string;
  /** host:port, to be asked before each try; `tries` is how many came before it. Throws PARTITION_UNAVAILABLE. */
  addressOf(partition: number, tries: number): string;
}

/** The source of a copy; undefined while nothing is to be taken from it, or when it is gone or was made again. */
export function followedSource(copyOf: CopyOf | undefined, { view, clusterId }: { readonly view: ClusterView; readonly clusterId: string }): FollowedSource | undefined {
  if (copyOf === undefined || copyOf.isPaused) return undefined;
  const { keyspace: name, keyspaceId: id, tokens, cluster, run = 0 } = copyOf;
  if (cluster !== undefined) {
    const { routers, partitionCount } = cluster;
    // Each begins at another router, and goes on to the next when one fails.
    return { clusterId: cluster.id, name, id, partitionCount, tokens, run, isElsewhere: true, servedBy: cluster.archive === undefined ? 'router' : 'backup service', addressOf: (partition, tries) => routers[(partition + tries) % routers.length]! };
  }
  const present = view.keyspace(name);
  if (present?.id !== id) return undefined;
  const addressOf = (partition: number): string => {
    const record = view.partition(name, partition)?.record;
    const address = record?.keyspaceId === id && record.leader !== undefined ? view.nodes().get(record.leader.node)?.address : undefined;
    if (address === undefined) throw new AtollError('PARTITION_UNAVAILABLE', `partition ${partition} of ${name} has no leader`);
    return address;
  };
  return { clusterId, name, id, partitionCount: present.partitionCount, tokens, run, isElsewhere: false, servedBy: 'node', addressOf };
}
