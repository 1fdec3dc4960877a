import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { freePort } from '@atoll/platform-etcd/testing';
import { ROOT } from './run-command.ts';

export type Service = 'router' | 'storage-node' | 'coordinator' | 'backup';

export const SERVICES: readonly Service[] = ['router', 'storage-node', 'coordinator', 'backup'];

export interface ServiceEnd {
  readonly code: number | null;
  /** Standard output and standard error. */
  readonly output: string;
  /** Standard error alone: what is told to whoever typed the command. */
  readonly stderr: string;
}

const END_MS = 30_000;

/** Runs a service by itself, with these settings and no others, to its end; kills it when it does not end. */
export async function runServiceToItsEnd(service: Service, settings: Readonly<Record<string, string>>, endMs = END_MS): Promise<ServiceEnd> {
  const child: ChildProcess = spawn(process.execPath, [join(ROOT, 'apps', service, 'src/main.ts')], {
    cwd: ROOT,
    env: { PATH: process.env['PATH'], ...settings },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout!.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr!.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const timer = setTimeout(() => child.kill('SIGKILL'), endMs);
  const [code] = (await once(child, 'close')) as [number | null];
  clearTimeout(timer);
  return { code, output: `${stdout}${stderr}`, stderr };
}


/** Settings of a service on free ports of its own. */
export async function ownAddresses(): Promise<Record<string, string>> {
  return { ATOLL_LISTEN: `127.0.0.1:${await freePort()}`, ATOLL_HTTP_LISTEN: `127.0.0.1:${await freePort()}` };
}

export interface RunningService {
  readonly pid: number;
  /** SIGTERM; SIGKILL when it does not end in time. */
  stop(): Promise<void>;
}

/** Starts a service by itself, with these settings and no others. `nodeArgs` stand before its program, `program` is that of the source tree. */
export function startService(service: Service, settings: Readonly<Record<string, string>>, { nodeArgs = [], program = join(ROOT, 'apps', service, 'src/main.ts') }: { readonly nodeArgs?: readonly string[]; readonly program?: string } = {}): RunningService {
  const child = spawn(process.execPath, [...nodeArgs, program], {
    cwd: ROOT,
    env: { PATH: process.env['PATH'], ...settings },
    stdio: process.env['KEEP_CLUSTER_DATA'] === undefined ? 'ignore' : 'inherit',
  });
  return {
    pid: child.pid!,
    stop: () => endChild(child),
  };
}

/** SIGTERM; SIGKILL when it does not end in time. */
export async function endChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  const timer = setTimeout(() => child.kill('SIGKILL'), END_MS);
  child.kill('SIGTERM');
  await ended;
  clearTimeout(timer);
}
