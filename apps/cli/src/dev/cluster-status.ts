import type { ProcessState } from './managed-process.ts';
import type { Role } from './process-spec.ts';

/** One process, for `dev status`. `pid` is null while it does not run. */
export interface ProcessStatus {
  readonly id: string;
  /** host:port of its gRPC server; of etcd: its client URL. */
  readonly address: string;
  readonly pid: number | null;
  readonly role: Role;
  readonly state: ProcessState;
  readonly ready: boolean;
  /** Storage nodes have one. */
  readonly zone?: string;
  /** Of storage nodes that are not of the main pool. */
  readonly pool?: string;
  readonly httpAddress?: string;
  readonly log: string;
  /** Starts after the first one. */
  readonly restarts: number;
  /** Milliseconds since the Unix epoch; null while it does not run. */
  readonly startedAtMs: number | null;
  readonly residentBytes: number | null;
  /** How it ended last; null while it runs. */
  readonly exit: string | null;
}

/** What `dev up --json` and `dev status --json` print. Programs rely on the first five fields. */
export interface ClusterStatus {
  /** URL of etcd. */
  readonly etcd: string;
  readonly routers: readonly ProcessStatus[];
  readonly coordinators: readonly ProcessStatus[];
  readonly storageNodes: readonly ProcessStatus[];
  readonly backups: readonly ProcessStatus[];
  readonly etcdProcess: ProcessStatus;
  readonly dataDir: string;
  readonly basePort: number;
  readonly supervisorPid: number;
  /** As the elected coordinator sees it; null when it cannot be asked. */
  readonly health: ClusterHealth | null;
}

export interface ClusterHealth {
  readonly coordinator: string;
  readonly nodesUp: number;
  readonly nodesTotal: number;
  readonly partitions: number;
  readonly partitionsWithoutLeader: number;
  readonly partitionsUnderReplicated: number;
}

export function allProcesses(status: ClusterStatus): ProcessStatus[] {
  return [status.etcdProcess, ...status.coordinators, ...status.storageNodes, ...status.routers, ...status.backups];
}
