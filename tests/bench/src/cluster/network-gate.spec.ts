import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { NetworkGate } from './network-gate.ts';

const OUTWARD = new URL('outward-connections.ts', import.meta.url).href;
/** Connects twice with the same options, as callers do that try again, and prints what is answered. */
const CALLER = `
  const { connect } = require('node:net');
  const target = { host: '127.0.0.1', port: Number(process.argv[1]) };
  const ask = () => new Promise((resolve) => {
    let answer = '';
    const socket = connect(target, () => socket.write('hello'));
    socket.on('data', (data) => socket.end((answer += data) && '')).on('error', () => (answer = 'error')).on('close', () => resolve(answer === '' ? 'ended' : answer));
  });
  ask().then(async (first) => console.log(first + ' ' + (await ask())));
`;

let server: Server;
let gate: NetworkGate;
const sockets = new Set<Socket>();

beforeEach(async () => {
  server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('data', (data) => socket.write(data.toString().toUpperCase()));
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
});

afterEach(async () => {
  await gate.close();
  for (const socket of sockets) socket.destroy();
  sockets.clear();
  server.close();
  await once(server, 'close');
});

const port = (): number => (server.address() as AddressInfo).port;

/** What a process behind the gate is answered, twice. */
const askedThrough = (): Promise<string> =>
  new Promise((resolve, reject) => {
    const env = { PATH: process.env['PATH'], BENCH_OUTWARD_GATE: gate.address };
    execFile(process.execPath, ['--import', OUTWARD, '-e', CALLER, String(port())], { env }, (error, out) => (error === null ? resolve(out.trim()) : reject(error)));
  });

describe('a gate behind a process', () => {
  beforeEach(async () => {
    gate = await NetworkGate.openOutward();
  });

  it('leads each of its connections to where it was meant to go, also those that are tried again', async () => {
    expect(await askedThrough()).toBe('HELLO HELLO');
    expect(sockets.size).toBe(2);
  });

  it('that is cut lets none of them out', async () => {
    gate.set({ kind: 'cut' });
    expect(await askedThrough()).toMatch(/^(ended|error) (ended|error)$/);
    expect(sockets.size).toBe(0);
  });

  it('ends a connection that names no target', async () => {
    const [host, gatePort] = gate.address.split(':');
    const socket = connect({ host: host!, port: Number(gatePort) }, () => socket.write('PRI * HTTP/2.0\r\n\r\n'));
    socket.on('error', () => undefined);
    await once(socket, 'close');
    expect(sockets.size).toBe(0);
  });
});

describe('a gate in front of an address', () => {
  it('that falls silent keeps connections and what was written, and delivers it once it is open', async () => {
    gate = await NetworkGate.open(`127.0.0.1:${port()}`);
    const [host, gatePort] = gate.address.split(':');
    const socket = connect({ host: host!, port: Number(gatePort) });
    await once(socket, 'connect');
    gate.set({ kind: 'silent' });
    socket.write('late');
    let isAnswered = false;
    socket.once('data', () => (isAnswered = true));
    // As long as somebody takes who is not behind the gate.
    const direct = connect({ host: '127.0.0.1', port: port() }, () => direct.write('now'));
    await once(direct, 'data');
    direct.destroy();
    expect(isAnswered).toBe(false);
    gate.set({ kind: 'open' });
    const [answer] = (await once(socket, 'data')) as [Buffer];
    expect(answer.toString()).toBe('LATE');
    socket.destroy();
  });
});
