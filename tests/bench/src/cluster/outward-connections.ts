// Loaded into a process of its own (`node --import`): every TCP connection that it opens goes to the gate that
// BENCH_OUTWARD_GATE names (host:port) and tells it in its first line where it was meant to go. See NetworkGate.openOutward.
import { Socket } from 'node:net';

const [host, port] = process.env['BENCH_OUTWARD_GATE']!.split(':');

/** What `net.connect` hands on: options and a callback in an array that is marked as checked, or options alone. */
type ConnectArguments = [first: { host?: string; port?: number | string } | [{ host?: string; port?: number | string }, ...unknown[]], ...rest: unknown[]];

// oxlint-disable-next-line typescript/unbound-method -- called with the socket as `this` below
const connectDirectly = Socket.prototype.connect as (this: Socket, ...args: ConnectArguments) => Socket;

Socket.prototype.connect = function connectThroughGate(this: Socket, ...args: ConnectArguments): Socket {
  const [first] = args;
  const options = Array.isArray(first) ? first[0] : first;
  const target = `${options.host ?? '127.0.0.1'}:${options.port}`;
  // A copy: the options are the caller's, who uses them again for the next attempt.
  const toGate = { ...options, host, port: Number(port) };
  if (Array.isArray(first)) first[0] = toGate;
  else args[0] = toGate;
  connectDirectly.apply(this, args);
  // Before any listener of the caller: nothing may go ahead of this line.
  return this.prependOnceListener('connect', () => this.write(`${target}\n`));
} as typeof Socket.prototype.connect;
