// Which port each process of a local cluster uses, counted from --base-port B (default 7400). Clusters
// whose base ports are 100 apart run side by side. HTTP is always the gRPC port + 1000.
//
//   B+0..9    routers          B+20..29  coordinators     B+40      etcd, clients
//   B+10..19  node-1..10       B+30..39  backup services  B+41      etcd, peers
//   B+50..99  node-11..60
import { createServer } from 'node:net';
import { HTTP_PORT_OFFSET } from '@atoll/platform-config';
import { CliError, usageError } from '../cli-error.ts';

export const HOST = '127.0.0.1';
export const BASE_PORT_DEFAULT = 7400;
/** Ports per cluster. */
export const PORT_BLOCK = 100;
/** So that the highest HTTP port is below 65536. */
export const BASE_PORT_MAX = 65_535 - HTTP_PORT_OFFSET - PORT_BLOCK;

export const PROCESS_COUNT_MAX = { router: 10, coordinator: 10, backup: 10, 'storage-node': 60 } as const;

const FIRST_PORT = { router: 0, 'storage-node': 10, coordinator: 20, backup: 30 } as const;
const ETCD_CLIENT_PORT = 40;
const ETCD_PEER_PORT = 41;
const MORE_STORAGE_NODES_PORT = 50;
const STORAGE_NODES_BEFORE_MORE = 10;

export type ServiceRole = keyof typeof FIRST_PORT;

/** gRPC port of the `number`-th (from 1) process of a kind. */
export function servicePort(basePort: number, role: ServiceRole, number: number): number {
  if (role === 'storage-node' && number > STORAGE_NODES_BEFORE_MORE) {
    return basePort + MORE_STORAGE_NODES_PORT + number - STORAGE_NODES_BEFORE_MORE - 1;
  }
  return basePort + FIRST_PORT[role] + number - 1;
}

export function etcdPorts(basePort: number): { client: number; peer: number } {
  return { client: basePort + ETCD_CLIENT_PORT, peer: basePort + ETCD_PEER_PORT };
}

/** A port that a process is going to listen on. */
export interface WantedPort {
  readonly port: number;
  /** For people: `node-1 (gRPC)`. */
  readonly owner: string;
}

/** Throws CliError (usage) that names the first port that something else listens on. */
export async function assertPortsFree(wanted: readonly WantedPort[]): Promise<void> {
  const free = await Promise.all(wanted.map(({ port }) => isPortFree(port)));
  const busy = wanted.filter((_, index) => !free[index]);
  const first = busy[0];
  if (first === undefined) return;
  const more = busy.length > 1 ? ` (and ${busy.length - 1} more)` : '';
  throw usageError(`port ${first.port} for ${first.owner} is in use by another process${more}; choose another --base-port`);
}

function isPortFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: HOST, exclusive: true }, () => server.close(() => resolve(true)));
  });
}

const FREE_BLOCK_TRIES_MAX = 50;
// Below the range from which Linux and macOS give ports to outgoing connections (32768 and 49152 up).
const FREE_BLOCK_LOWEST = 10_000;
const FREE_BLOCK_HIGHEST = 31_600;

/** A base port of which the whole block, HTTP ports included, is free now; `seed` spreads callers. */
export async function findFreeBasePort(seed: number): Promise<number> {
  const blocks = Math.floor((FREE_BLOCK_HIGHEST - FREE_BLOCK_LOWEST) / PORT_BLOCK);
  for (let step = 0; step < FREE_BLOCK_TRIES_MAX; step += 1) {
    const base = FREE_BLOCK_LOWEST + ((seed + step * 7) % blocks) * PORT_BLOCK;
    const ports = Array.from({ length: PORT_BLOCK }, (_, index) => [base + index, base + index + HTTP_PORT_OFFSET]).flat();
    const free = await Promise.all(ports.map(isPortFree));
    if (free.every(Boolean)) return base;
  }
  throw new CliError('no block of free ports was found; choose a --base-port');
}
