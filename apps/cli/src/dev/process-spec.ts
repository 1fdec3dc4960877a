import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { HTTP_PORT_OFFSET } from '@atoll/platform-config';
import { etcdEnv } from '../etcd/find-etcd.ts';
import type { ClusterLayout, StorageNodeLayout } from './layout.ts';
import { HOST, etcdPorts, servicePort, type ServiceRole, type WantedPort } from './ports.ts';

export type Role = 'etcd' | ServiceRole;

/** Everything that is needed to start one process, the same way each time. */
export interface ProcessSpec {
  readonly id: string;
  readonly role: Role;
  readonly file: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** What others are told: host:port, for etcd a URL. */
  readonly address: string;
  /** host:port of /metrics, /healthz, /readyz; undefined for etcd. */
  readonly httpAddress: string | undefined;
  /** Answers 200 when the process is ready. */
  readonly readyUrl: string;
  readonly ports: readonly WantedPort[];
  /** Of a storage node. */
  readonly zone: string | undefined;
  /** Undefined but for storage nodes of another pool than the main one. */
  readonly pool?: string | undefined;
}

/** What the specs of one cluster have in common. */
export interface SpecContext {
  readonly layout: ClusterLayout;
  /** Absolute. */
  readonly dataDir: string;
  readonly etcdPath: string;
  /** Environment that is passed on to every process. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Program of a service: file and arguments. */
  readonly serviceCommand: (role: ServiceRole) => readonly [string, ...string[]];
}

/** Variables of the command itself: services would refuse them as unknown settings. */
const OWN_VARIABLES = ['ATOLL_ROUTER', 'ATOLL_COORDINATOR', 'ATOLL_BACKUP', 'ATOLL_ETCD_BIN', 'ATOLL_DATA_DIR', 'NODE_CHANNEL_FD', 'NODE_CHANNEL_SERIALIZATION_MODE'];

/** The caller's environment without what belongs to the command. */
export function inheritedEnv(env: SpecContext['env']): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !OWN_VARIABLES.includes(name)));
}

/**
 * V8 collects everything as soon as the heap and the Buffers beside it have grown by a share of the heap, and here the
 * heap is small and the Buffers are many. A larger start makes that rare: the replay of a trace with values of 37 KB
 * went from 942 to 1452 operations/s, gets of 100 bytes gained about 10 % (docs/benchmarks.md). Memory that is not
 * used is not taken.
 */
const DATA_PATH_FLAGS: Readonly<Partial<Record<ServiceRole, readonly string[]>>> = {
  router: ['--initial-heap-size=512'],
  'storage-node': ['--initial-heap-size=512'],
};

/** This Node with the service's entry: the source tree, or the bundle beside this command's own. */
export function serviceCommand(role: ServiceRole): readonly [string, ...string[]] {
  const inTree = new URL(`../../../${role}/src/main.ts`, import.meta.url);
  const bundled = new URL(`../${role}/main.mjs`, import.meta.url);
  const entry = existsSync(inTree) || !existsSync(bundled) ? inTree : bundled;
  return [process.execPath, ...(DATA_PATH_FLAGS[role] ?? []), fileURLToPath(entry)];
}

export function etcdUrl(layout: ClusterLayout): string {
  return `http://${HOST}:${etcdPorts(layout.basePort).client}`;
}

export function etcdSpec({ layout, dataDir, etcdPath, env }: SpecContext): ProcessSpec {
  const { client, peer } = etcdPorts(layout.basePort);
  const clientUrl = etcdUrl(layout);
  const peerUrl = `http://${HOST}:${peer}`;
  return {
    id: 'etcd',
    role: 'etcd',
    file: etcdPath,
    args: [
      '--name=etcd',
      `--data-dir=${join(dataDir, 'etcd')}`,
      `--listen-client-urls=${clientUrl}`,
      `--advertise-client-urls=${clientUrl}`,
      `--listen-peer-urls=${peerUrl}`,
      `--initial-advertise-peer-urls=${peerUrl}`,
      `--initial-cluster=etcd=${peerUrl}`,
      '--logger=zap',
      '--log-level=warn',
    ],
    // etcd reads ETCD_* as flags: none of the caller's may leak in.
    env: etcdEnv(Object.fromEntries(Object.entries(inheritedEnv(env)).filter(([name]) => !name.startsWith('ETCD_')))),
    address: clientUrl,
    httpAddress: undefined,
    readyUrl: `${clientUrl}/health`,
    ports: [
      { port: client, owner: 'etcd (clients)' },
      { port: peer, owner: 'etcd (peers)' },
    ],
    zone: undefined,
  };
}

export function routerSpec(context: SpecContext, number: number): ProcessSpec {
  return service(context, { role: 'router', id: `router-${number}`, number, env: {} });
}

export function coordinatorSpec(context: SpecContext, number: number): ProcessSpec {
  const { durability, replicationFactor } = context.layout;
  return service(context, {
    role: 'coordinator',
    id: `coordinator-${number}`,
    number,
    env: {
      ...(durability === undefined ? {} : { COORDINATOR_DEFAULT_DURABILITY: durability }),
      ...(replicationFactor === undefined ? {} : { COORDINATOR_DEFAULT_REPLICATION_FACTOR: String(replicationFactor) }),
    },
  });
}

export function backupSpec(context: SpecContext, number: number): ProcessSpec {
  return service(context, {
    role: 'backup',
    id: `backup-${number}`,
    number,
    env: { BACKUP_REPOSITORY: pathToFileURL(join(context.dataDir, 'backup')).href },
  });
}

export function storageNodeSpec(context: SpecContext, node: StorageNodeLayout): ProcessSpec {
  const id = storageNodeId(node);
  const { memoryBytes } = context.layout;
  return service(context, {
    role: 'storage-node',
    id,
    number: node.number,
    zone: node.zone,
    ...(node.pool !== undefined && { pool: node.pool }),
    env: {
      STORAGE_NODE_ZONE: node.zone,
      ...(node.pool !== undefined && { STORAGE_NODE_POOL: node.pool }),
      STORAGE_NODE_WEIGHT: String(node.weight),
      STORAGE_NODE_DATA_DIR: join(context.dataDir, 'nodes', id),
      ...(memoryBytes === undefined ? {} : { STORAGE_NODE_MEMORY_BYTES_MAX: String(memoryBytes) }),
    },
  });
}

export function storageNodeId(node: StorageNodeLayout): string {
  return `node-${node.number}`;
}

/** Every process of the cluster, in starting order. */
export function allSpecs(context: SpecContext): ProcessSpec[] {
  const { layout } = context;
  const numbers = (count: number): number[] => Array.from({ length: count }, (_, index) => index + 1);
  return [
    etcdSpec(context),
    ...numbers(layout.coordinators).map((number) => coordinatorSpec(context, number)),
    ...layout.storageNodes.map((node) => storageNodeSpec(context, node)),
    ...numbers(layout.routers).map((number) => routerSpec(context, number)),
    ...numbers(layout.backups).map((number) => backupSpec(context, number)),
  ];
}

function service(
  context: SpecContext,
  own: { role: ServiceRole; id: string; number: number; env: Record<string, string>; zone?: string; pool?: string },
): ProcessSpec {
  const { layout } = context;
  const port = servicePort(layout.basePort, own.role, own.number);
  const address = `${HOST}:${port}`;
  const httpAddress = `${HOST}:${port + HTTP_PORT_OFFSET}`;
  const [file, ...args] = context.serviceCommand(own.role);
  return {
    id: own.id,
    role: own.role,
    file,
    args,
    env: {
      ...inheritedEnv(context.env),
      ATOLL_ID: own.id,
      ATOLL_LISTEN: address,
      ATOLL_ADVERTISE: address,
      ATOLL_HTTP_LISTEN: httpAddress,
      ATOLL_ETCD: etcdUrl(layout),
      ...(layout.logLevel === undefined ? {} : { ATOLL_LOG_LEVEL: layout.logLevel }),
      ...own.env,
    },
    address,
    httpAddress,
    readyUrl: `http://${httpAddress}/readyz`,
    ports: [
      { port, owner: `${own.id} (gRPC)` },
      { port: port + HTTP_PORT_OFFSET, owner: `${own.id} (HTTP)` },
    ],
    zone: own.zone,
    pool: own.pool,
  };
}
