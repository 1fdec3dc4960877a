import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from './free-ports.ts';

const START_TIMEOUT_MS = 20_000;

/** A real etcd with one member, for tests: own ports on 127.0.0.1, own data directory. */
export interface TestEtcd {
  /** `http://127.0.0.1:port`; stays the same over restarts. */
  readonly client: string;
  readonly pid: number | undefined;
  /** Ends it and removes its data. */
  stop(): Promise<void>;
  /** SIGKILL; the data stays. */
  kill(): Promise<void>;
  /** Starts it again on the same data and ports, after kill(). */
  restart(): Promise<void>;
  /** SIGSTOP: the connections stay and nothing answers. */
  pause(): void;
  /** SIGCONT. */
  resume(): void;
}


/** Starts `ATOLL_ETCD_BIN`, or `etcd` on PATH, and waits until it answers. */
export async function startEtcd(): Promise<TestEtcd> {
  const [only] = await startEtcdCluster(1);
  return only!;
}

/** The same with several members that make up one cluster. */
export async function startEtcdCluster(members: number): Promise<readonly TestEtcd[]> {
  const peers: string[] = [];
  for (let index = 0; index < members; index += 1) peers.push(`http://127.0.0.1:${await freePort()}`);
  const cluster = peers.map((peer, index) => `member${index}=${peer}`).join(',');
  const started = await Promise.allSettled(peers.map((peer, index) => startMember({ name: `member${index}`, peer, cluster })));
  const failed = started.find((result) => result.status === 'rejected');
  const running = started.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  if (failed === undefined) return running;
  await Promise.all(running.map((member) => member.stop()));
  throw failed.reason;
}

async function startMember({ name, peer, cluster }: { name: string; peer: string; cluster: string }): Promise<TestEtcd> {
  const directory = await mkdtemp(join(tmpdir(), 'atoll-etcd-'));
  const client = `http://127.0.0.1:${await freePort()}`;
  const args = [
    `--name=${name}`,
    `--data-dir=${directory}`,
    `--listen-client-urls=${client}`,
    `--advertise-client-urls=${client}`,
    `--listen-peer-urls=${peer}`,
    `--initial-advertise-peer-urls=${peer}`,
    `--initial-cluster=${cluster}`,
    '--log-level=error',
    '--logger=zap',
  ];
  let child: ChildProcess | undefined;

  const start = async (): Promise<void> => {
    child = spawn(process.env['ATOLL_ETCD_BIN'] ?? 'etcd', args, {
      stdio: 'ignore',
      env: { PATH: process.env['PATH'], ETCD_UNSUPPORTED_ARCH: process.arch },
    });
    await waitUntilHealthy(client, child);
  };
  const kill = async (): Promise<void> => {
    const ending = child;
    child = undefined;
    if (ending === undefined || ending.exitCode !== null || ending.signalCode !== null) return;
    const exited = once(ending, 'exit');
    ending.kill('SIGKILL');
    await exited;
  };
  const stop = async (): Promise<void> => {
    await kill();
    await rm(directory, { recursive: true, force: true });
  };

  try {
    await start();
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    client,
    get pid() {
      return child?.pid;
    },
    stop,
    kill,
    restart: start,
    pause: () => void child?.kill('SIGSTOP'),
    resume: () => void child?.kill('SIGCONT'),
  };
}

async function waitUntilHealthy(client: string, child: ChildProcess): Promise<void> {
  const endsAtMs = performance.now() + START_TIMEOUT_MS;
  let failure: unknown;
  child.once('error', (error) => (failure = error));
  for (;;) {
    try {
      if ((await fetch(`${client}/health`, { signal: AbortSignal.timeout(1000) })).ok) return;
    } catch (error) {
      failure ??= error;
    }
    if (child.exitCode !== null || child.pid === undefined || performance.now() > endsAtMs) {
      child.kill('SIGKILL');
      throw new Error('etcd did not start', { cause: failure });
    }
    await sleep(25);
  }
}
