import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { once } from 'node:events';

/**
 * What the network between a process and those who connect to it does: passes everything; refuses and ends every
 * connection; keeps connections and passes nothing; or passes everything later.
 */
export type GateMode = { readonly kind: 'open' } | { readonly kind: 'cut' } | { readonly kind: 'silent' } | { readonly kind: 'slow'; readonly delayMs: number };

const OPEN: GateMode = { kind: 'open' };

/**
 * A piece of network. In front of one address: a process that advertises the gate's address is reached through it alone.
 * Behind one process (`openOutward`): whatever that process connects to, it reaches through the gate alone.
 */
export class NetworkGate {
  readonly #server = createServer((socket) => this.#accept(socket));
  readonly #pipes = new Set<Pipe>();
  /** undefined: each connection names its own. */
  readonly #target: string | undefined;
  #mode: GateMode = OPEN;

  private constructor(target: string | undefined) {
    this.#target = target;
  }

  /** Listens on a free port of 127.0.0.1. `target`: host:port. */
  static open(target: string): Promise<NetworkGate> {
    return new NetworkGate(target).#listen();
  }

  /** For a process that `outward-connections.ts` was loaded into: the first line of a connection is its target, host:port. */
  static openOutward(): Promise<NetworkGate> {
    return new NetworkGate(undefined).#listen();
  }

  async #listen(): Promise<this> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return this;
  }

  /** host:port. */
  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  set(mode: GateMode): void {
    this.#mode = mode;
    if (mode.kind === 'cut') for (const pipe of this.#pipes) pipe.destroy();
    else for (const pipe of this.#pipes) pipe.set(mode);
  }

  async close(): Promise<void> {
    this.set({ kind: 'cut' });
    this.#server.close();
    await once(this.#server, 'close');
  }

  #accept(socket: Socket): void {
    if (this.#target !== undefined) this.#join(socket, this.#target);
    else readTarget(socket, (target) => this.#join(socket, target));
  }

  #join(socket: Socket, address: string): void {
    if (this.#mode.kind === 'cut') return void socket.destroy();
    const at = address.lastIndexOf(':');
    const target = connect({ host: address.slice(0, at), port: Number(address.slice(at + 1)) });
    const ends = [
      [socket, target],
      [target, socket],
    ] as const;
    for (const [from, to] of ends) {
      const pipe = new Pipe(from, to, () => this.#pipes.delete(pipe));
      pipe.set(this.#mode);
      this.#pipes.add(pipe);
    }
  }
}

const TARGET_BYTES_MAX = 300;
const TARGET = /^\S+:\d{1,5}$/;

/** Takes the first line off `socket` and leaves what follows it. A connection that names no target ends. */
function readTarget(socket: Socket, join: (target: string) => void): void {
  let read = Buffer.alloc(0);
  const onError = (): void => void socket.destroy();
  const onData = (chunk: Buffer): void => {
    read = Buffer.concat([read, chunk]);
    const end = read.indexOf('\n');
    if (end < 0) return void (read.length > TARGET_BYTES_MAX && socket.destroy());
    const target = read.toString('utf8', 0, end);
    if (!TARGET.test(target)) return void socket.destroy();
    socket.off('data', onData);
    socket.pause();
    if (end + 1 < read.length) socket.unshift(read.subarray(end + 1));
    join(target);
    socket.off('error', onError);
  };
  socket.on('error', onError);
  socket.on('data', onData);
}

/** One direction of a connection. Bytes keep their order whatever the mode; a reader that is slow slows its writer. */
class Pipe {
  readonly #from: Socket;
  readonly #to: Socket;
  #mode: GateMode = OPEN;
  /** Chunks that are on their way, with the time at which they arrive. */
  #onWay: { readonly chunk: Buffer; readonly atMs: number }[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(from: Socket, to: Socket, onClose: () => void) {
    this.#from = from;
    this.#to = to;
    from.setNoDelay(true);
    from.on('data', (chunk: Buffer) => this.#take(chunk));
    from.on('error', () => to.destroy());
    from.on('close', () => {
      clearTimeout(this.#timer);
      to.destroy();
      onClose();
    });
    to.on('drain', () => this.#release());
  }

  set(mode: GateMode): void {
    this.#mode = mode;
    if (mode.kind === 'silent') this.#from.pause();
    else this.#release();
  }

  destroy(): void {
    this.#from.destroy();
    this.#to.destroy();
  }

  #take(chunk: Buffer): void {
    const delayMs = this.#mode.kind === 'slow' ? this.#mode.delayMs : 0;
    this.#onWay.push({ chunk, atMs: performance.now() + delayMs });
    this.#release();
  }

  #release(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#mode.kind === 'silent' || this.#to.destroyed) return;
    while (this.#onWay.length > 0 && !this.#to.writableNeedDrain) {
      const waitMs = this.#mode.kind === 'slow' ? this.#onWay[0]!.atMs - performance.now() : 0;
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.#release(), waitMs);
        break;
      }
      this.#to.write(this.#onWay.shift()!.chunk);
    }
    if (this.#to.writableNeedDrain) this.#from.pause();
    else this.#from.resume();
  }
}
