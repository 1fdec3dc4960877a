import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { once } from 'node:events';

/**
 * What the network between a process and those who connect to it does: passes everything; refuses and ends every
 * connection; keeps connections and passes nothing; or passes everything later.
 */
export type GateMode = { readonly kind: 'open' } | { readonly kind: 'cut' } | { readonly kind: 'silent' } | { readonly kind: 'slow'; readonly delayMs: number };

const OPEN: GateMode = { kind: 'open' };

/** A piece of network in front of one address. A process that advertises the gate's address is reached through it alone. */
export class NetworkGate {
  readonly #server = createServer((socket) => this.#accept(socket));
  readonly #pipes = new Set<Pipe>();
  readonly #host: string;
  readonly #port: number;
  #mode: GateMode = OPEN;

  private constructor(target: string) {
    const at = target.lastIndexOf(':');
    this.#host = target.slice(0, at);
    this.#port = Number(target.slice(at + 1));
  }

  /** Listens on a free port of 127.0.0.1. `target`: host:port. */
  static async open(target: string): Promise<NetworkGate> {
    const gate = new NetworkGate(target);
    gate.#server.listen(0, '127.0.0.1');
    await once(gate.#server, 'listening');
    return gate;
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
    if (this.#mode.kind === 'cut') return void socket.destroy();
    const target = connect({ host: this.#host, port: this.#port });
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
