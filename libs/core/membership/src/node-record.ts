import type { NodeId } from '@atoll/core-runtime';

/** A storage node as it registers itself in etcd, under a lease: `nodes/<id>`. */
export interface NodeRecord {
  readonly id: NodeId;
  /** host:port of its gRPC server. */
  readonly address: string;
  /** host:port of its HTTP server; empty when it has none. */
  readonly httpAddress: string;
  readonly zone: string;
  /** Whose keyspaces it holds, those of no other one; undefined: MAIN_POOL. */
  readonly pool?: string | undefined;
  /** Share of partitions relative to other nodes; 1 is usual, 0.01 to 100. */
  readonly weight: number;
  /** Random identity of the process; another one after each start (R5). */
  readonly incarnation: string;
  /**
   * SERVING, or STOPPING: the process takes no office again, and waits a while for its leaderships to be taken over (R29).
   */
  readonly phase: 'SERVING' | 'STOPPING';
}

/** The durable side: `node-specs/<id>`. Survives the process. */
export interface NodeSpec {
  readonly id: NodeId;
  readonly state: 'UP' | 'DRAINING' | 'REMOVED';
  readonly zone: string;
  readonly pool?: string | undefined;
  readonly weight: number;
  /** Of the last process seen. */
  readonly incarnation: string;
  readonly address: string;
  /** True when the last process said that it stops. */
  readonly stopped: boolean;
}
