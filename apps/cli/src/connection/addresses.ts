import { resolve } from 'node:path';
import { Option } from 'commander';
import { parseAddress } from '@atoll/platform-config';
import { usageError } from '../cli-error.ts';
import { hostAndPort } from '../commands/options.ts';
import { HOST, servicePort } from '../dev/ports.ts';
import { readState } from '../dev/state-file.ts';
import type { Io } from '../io.ts';

export interface ConnectionFlags {
  readonly router?: string;
  readonly coordinator?: string;
  readonly dataDir?: string;
  /** Milliseconds. */
  readonly timeout: number;
}

const ROUTER_DEFAULT = '127.0.0.1:7400';
const COORDINATOR_DEFAULT = '127.0.0.1:7420';
const BACKUP_DEFAULT = '127.0.0.1:7430';

export const routerOption = (): Option => new Option('--router <host:port>', `router to ask (env: ATOLL_ROUTER, default: ${ROUTER_DEFAULT})`).argParser(hostAndPort);
export const coordinatorOption = (): Option =>
  new Option('--coordinator <host:port>', `coordinator to ask (env: ATOLL_COORDINATOR, default: ${COORDINATOR_DEFAULT})`).argParser(hostAndPort);
export const backupOption = (): Option => new Option('--backup <host:port>', `backup service to ask (env: ATOLL_BACKUP, default: ${BACKUP_DEFAULT})`).argParser(hostAndPort);
export const clusterDirOption = (): Option => new Option('--data-dir <dir>', 'ask the local cluster of this directory instead');

/** Where to find a router: --router, --data-dir, ATOLL_ROUTER, the default port, in this order. */
export function routerAddresses(io: Io, flags: ConnectionFlags): string[] {
  return addresses(io, flags.router, flags.dataDir, { role: 'router', variable: 'ATOLL_ROUTER', standard: ROUTER_DEFAULT });
}

/** Where to find a coordinator; any of them knows the elected one. */
export function coordinatorAddresses(io: Io, flags: ConnectionFlags): string[] {
  return addresses(io, flags.coordinator, flags.dataDir, { role: 'coordinator', variable: 'ATOLL_COORDINATOR', standard: COORDINATOR_DEFAULT });
}

/** The backup services of a local cluster; `address` wins. */
export function backupAddresses(io: Io, address: string | undefined, dataDir: string | undefined): string[] {
  return addresses(io, address, dataDir, { role: 'backup', variable: 'ATOLL_BACKUP', standard: BACKUP_DEFAULT });
}

/** The first of them. */
export function backupAddress(io: Io, address: string | undefined, dataDir: string | undefined): string {
  const [first = ''] = backupAddresses(io, address, dataDir);
  return first;
}

function addresses(
  io: Io,
  flag: string | undefined,
  dataDir: string | undefined,
  { role, variable, standard }: { role: 'router' | 'coordinator' | 'backup'; variable: string; standard: string },
): string[] {
  if (flag !== undefined) return [flag];
  if (dataDir !== undefined) {
    const layout = readState(resolve(io.cwd, dataDir))?.layout;
    if (layout === undefined) throw usageError(`--data-dir: no local cluster was started in ${resolve(io.cwd, dataDir)}`);
    const count = { router: layout.routers, coordinator: layout.coordinators, backup: layout.backups }[role];
    return Array.from({ length: count }, (_, index) => `${HOST}:${servicePort(layout.basePort, role, index + 1)}`);
  }
  const list = (io.env[variable]?.trim() || standard).split(',').map((address) => address.trim());
  for (const address of list) if (parseAddress(address) === undefined) throw usageError(`${variable} must be host:port, got "${address}"`);
  return list;
}
