// The way from `atoll dev kill` and the like to the supervisor: one request per connection of a local socket,
// as one line of JSON; the answer is one line as well.
import { rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { CliError, messageOf, unavailable } from '../cli-error.ts';
import type { ExitCode } from '../exit-code.ts';

export const CONTROL_COMMANDS = ['status', 'add-node', 'kill', 'pause', 'resume', 'stop', 'start', 'down'] as const;
export type ControlCommand = (typeof CONTROL_COMMANDS)[number];

export interface ControlRequest {
  readonly command: ControlCommand;
  /** Process meant; absent for status, add-node and down. */
  readonly id?: string;
  readonly signal?: NodeJS.Signals;
  readonly zone?: string;
  readonly pool?: string;
  readonly weight?: number;
}

type ControlAnswer = { readonly ok: true; readonly result: unknown } | { readonly ok: false; readonly message: string; readonly exitCode: ExitCode };

const REQUEST_CHARS_MAX = 4_096;

/** Serves requests on the socket; a file left there by a dead supervisor is replaced. */
export async function serveControl(path: string, handle: (request: ControlRequest) => Promise<unknown>): Promise<Server> {
  rmSync(path, { force: true });
  const server = createServer((socket) => serveOne(socket, handle));
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  return server;
}

function serveOne(socket: Socket, handle: (request: ControlRequest) => Promise<unknown>): void {
  let text = '';
  socket.setEncoding('utf8');
  socket.on('error', () => socket.destroy());
  const onData = (chunk: string): void => {
    text += chunk;
    if (text.length > REQUEST_CHARS_MAX) socket.destroy();
    if (!text.includes('\n')) return;
    socket.off('data', onData);
    answer(text, handle).then(
      (reply) => socket.end(`${JSON.stringify(reply)}\n`),
      () => socket.destroy(),
    );
  };
  socket.on('data', onData);
}

async function answer(text: string, handle: (request: ControlRequest) => Promise<unknown>): Promise<ControlAnswer> {
  try {
    const request = JSON.parse(text) as ControlRequest;
    if (!CONTROL_COMMANDS.includes(request.command)) throw new CliError(`unknown request ${JSON.stringify(text)}`);
    return { ok: true, result: (await handle(request)) ?? null };
  } catch (error) {
    return { ok: false, message: messageOf(error), exitCode: error instanceof CliError ? error.exitCode : 1 };
  }
}

/** Asks the supervisor. Throws CliError with its message, or unavailable (3) when it is not there or silent for `timeoutMs`. */
export function askSupervisor<T>(path: string, request: ControlRequest, timeoutMs: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.setTimeout(timeoutMs, () => fail(new Error(`no answer after ${timeoutMs / 1000} s`)));
    const fail = (error: Error): void => {
      socket.destroy();
      reject(unavailable(`the supervisor does not answer: ${error.message}`, error));
    };
    socket.once('error', fail);
    const lines = createInterface({ input: socket });
    lines.once('line', (line) => {
      socket.end();
      const reply = JSON.parse(line) as ControlAnswer;
      if (reply.ok) resolve(reply.result as T);
      else reject(new CliError(reply.message, { exitCode: reply.exitCode }));
    });
    // readline passes the socket's errors on; without a listener they would end this process.
    lines.on('error', fail);
    socket.once('close', () => fail(new Error('it closed the connection')));
    socket.once('connect', () => socket.write(`${JSON.stringify(request)}\n`));
  });
}
