import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '@atoll/platform-etcd/testing';
import { endChild } from './generator-process.ts';

export interface RedisServer {
  readonly port: number;
  readonly pid: number;
  /** Where it saves. */
  readonly directory: string;
  /** As `redis-server --version` tells it. */
  readonly version: string;
  stop(): Promise<void>;
}

const READY_MS = 10_000;

/** One redis-server of PATH, without persistence, on a free port. undefined where there is none. */
export async function startRedisServer({ args: more = [] }: { readonly args?: readonly string[] } = {}): Promise<RedisServer | undefined> {
  const asked = spawnSync('redis-server', ['--version'], { encoding: 'utf8' });
  if (asked.error !== undefined || asked.status !== 0) return undefined;
  const version = /v=(\S+)/.exec(asked.stdout)?.[1] ?? 'unknown';
  const port = await freePort();
  const dir = mkdtempSync(join(tmpdir(), 'atoll-bench-redis-'));
  const args = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', dir, ...more];
  // A group of its own: Ctrl-C at the terminal must not end it before its clients.
  const child = spawn('redis-server', args, { stdio: ['ignore', 'pipe', 'ignore'], detached: true });
  const stop = async (): Promise<void> => {
    await endChild(child);
    rmSync(dir, { recursive: true, force: true });
  };
  try {
    child.stdout.setEncoding('utf8');
    const signal = AbortSignal.timeout(READY_MS);
    for (let output = ''; !output.includes('Ready to accept connections'); ) output += ((await once(child.stdout, 'data', { signal })) as [string])[0];
    child.stdout.resume();
    return { port, pid: child.pid!, directory: dir, version, stop };
  } catch (error) {
    await stop();
    throw new Error('redis-server did not become ready', { cause: error });
  }
}
