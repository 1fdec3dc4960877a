import { Server, ServerCredentials } from '@grpc/grpc-js';
import { Readable, Writable } from 'node:stream';
import { AdminService, type AdminServer } from '@atoll/contracts/atoll/v1/admin';
import { StandbyService, type StandbyServer } from '@atoll/contracts/atoll/v1/standby';
import { runCli } from '../cli.ts';
import type { ExitCode } from '../exit-code.ts';

/** Size of a terminal that a command writes to. */
export interface Terminal {
  readonly rows: number;
  readonly columns: number;
}

export interface CliResult {
  readonly code: ExitCode;
  readonly out: string;
  readonly err: string;
  /** What was written to stdout, piece by piece. */
  readonly pieces: readonly string[];
}

/** Runs a command line as main.ts does, and keeps what it writes; with `terminal`, stdout is one. */
export async function runCollected(args: readonly string[], { env = {}, terminal, onOut }: { env?: Record<string, string>; terminal?: Terminal; onOut?: (text: string) => void } = {}): Promise<CliResult> {
  const pieces: string[] = [];
  let err = '';
  const into = (take: (text: string) => void): Writable =>
    new Writable({
      write(chunk: Buffer, _encoding, done) {
        take(chunk.toString('utf8'));
        done();
      },
    });
  const stdout = into((text) => {
    pieces.push(text);
    onOut?.(text);
  });
  const stderr = into((text) => {
    err += text;
  });
  const code = await runCli(args, { stdin: Readable.from([]), stdout: terminal === undefined ? stdout : Object.assign(stdout, { isTTY: true, ...terminal }), stderr, env, cwd: '/' });
  return { code, out: pieces.join(''), err, pieces };
}

/** A gRPC server with a part of the Admin service. */
export class FakeCoordinator {
  readonly #server: Server;
  readonly address: string;

  private constructor(server: Server, address: string) {
    this.#server = server;
    this.address = address;
  }

  static async start(methods: Partial<AdminServer>, standbys: Partial<StandbyServer> = {}): Promise<FakeCoordinator> {
    const server = new Server();
    server.addService(StandbyService, standbys as StandbyServer);
    server.addService(AdminService, methods as AdminServer);
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => (error === null ? resolve(bound) : reject(error)));
    });
    return new FakeCoordinator(server, `127.0.0.1:${port}`);
  }

  /** As a process that was killed: streams break. */
  stop(): void {
    this.#server.forceShutdown();
  }
}
