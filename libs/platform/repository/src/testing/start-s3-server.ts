import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describeWith, freePort } from '@atoll/platform-etcd/testing';
import type { S3Options } from '../stores/s3-object-store.ts';

const START_TIMEOUT_MS = 20_000;
const CREDENTIALS = { accessKeyId: 'atoll-test', secretAccessKey: 'atoll-test-secret' };
const BUCKET = 'atoll-test';

/** Servers that are started where they are found, in this order. */
const SERVERS = [
  { command: 'versitygw', args: (address: string, directory: string) => ['--port', address, '--access', CREDENTIALS.accessKeyId, '--secret', CREDENTIALS.secretAccessKey, 'posix', directory] },
  { command: 'minio', args: (address: string, directory: string) => ['server', '--address', address, directory] },
];

export interface TestS3Server {
  /** For people. */
  readonly name: string;
  readonly options: S3Options;
  /** SIGKILL; what was written stays. */
  kill(): Promise<void>;
  /** On the same data and port. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

/**
 * What tests of S3 run against: the command `ATOLL_TEST_S3_BIN` (a versitygw or minio), or one of these on the PATH. A text says
 * why there is none.
 */
function findS3Server(): { readonly path: string; readonly index: number } | string {
  const wanted = process.env['ATOLL_TEST_S3_BIN'];
  for (const [index, { command }] of SERVERS.entries()) {
    const path = wanted ?? command;
    if (wanted !== undefined && !wanted.split('/').at(-1)!.includes(command)) continue;
    if (spawnSync(path, ['--version'], { stdio: 'ignore' }).status === 0) return { path, index };
  }
  return 'no S3 server: ATOLL_TEST_S3_BIN names none that runs, and neither versitygw nor minio is on the PATH';
}

/** `describe` where there is a server; else the specs are skipped and the reason is printed. */
export function describeWithS3(): typeof describe.skip {
  const found = findS3Server();
  return describeWith(typeof found === 'string' ? found : undefined);
}

export async function startS3Server(): Promise<TestS3Server> {
  const found = findS3Server();
  if (typeof found === 'string') throw new Error(found);
  const directory = await mkdtemp(join(tmpdir(), 'atoll-s3-'));
  // Each directory of the top one is a bucket, for both servers.
  await mkdir(join(directory, BUCKET));
  const address = `127.0.0.1:${await freePort()}`;
  const server = SERVERS[found.index]!;
  const env = { PATH: process.env['PATH'], HOME: directory, MINIO_ROOT_USER: CREDENTIALS.accessKeyId, MINIO_ROOT_PASSWORD: CREDENTIALS.secretAccessKey };
  let child: ChildProcess | undefined;
  const start = async (): Promise<void> => {
    child = spawn(found.path, server.args(address, directory), { stdio: 'ignore', env });
    await waitUntilItAnswers(`http://${address}`, child);
  };
  const kill = async (): Promise<void> => {
    const ending = child;
    child = undefined;
    if (ending === undefined || ending.exitCode !== null || ending.signalCode !== null) return;
    const exited = once(ending, 'exit');
    ending.kill('SIGKILL');
    await exited;
  };
  await start();
  return {
    name: server.command,
    options: { bucket: BUCKET, endpoint: `http://${address}`, region: 'us-east-1', credentials: CREDENTIALS },
    kill,
    restart: start,
    stop: async () => {
      await kill();
      await rm(directory, { recursive: true, force: true });
    },
  };
}


async function waitUntilItAnswers(url: string, child: ChildProcess): Promise<void> {
  const endsAtMs = performance.now() + START_TIMEOUT_MS;
  for (;;) {
    // Any answer will do: without a signature it is a refusal.
    const answered = await fetch(url, { signal: AbortSignal.timeout(1000) }).then(() => true, () => false);
    if (answered) return;
    if (child.exitCode !== null || child.pid === undefined || performance.now() > endsAtMs) {
      child.kill('SIGKILL');
      throw new Error('the S3 server did not start');
    }
    await sleep(25);
  }
}
