import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import { Transform } from 'node:stream';

/**
 * A door in front of a server: closed, it ends every connection and refuses new ones; stalled, it passes nothing on;
 * narrow, what comes from the server takes its time.
 */
export class TcpGate {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #target: { readonly host: string; readonly port: number } | undefined;
  #isOpen = true;
  #isStalled = false;
  #bytesPerSecond = 0;
  #dueMs = 0;

  private constructor() {
    this.#server = createServer((socket) => this.#accept(socket));
  }

  static async listen(): Promise<TcpGate> {
    const gate = new TcpGate();
    gate.#server.listen(0, '127.0.0.1');
    await once(gate.#server, 'listening');
    return gate;
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Where connections go from now on. */
  leadTo(target: { readonly host: string; readonly port: number }): void {
    this.#target = target;
  }

  close(): void {
    this.#isOpen = false;
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Connections stay and nothing moves on them. */
  stall(): void {
    this.#isStalled = true;
    for (const socket of this.#sockets) socket.pause();
  }

  /** What comes from the server, over all connections together; 0: at any rate. */
  narrow(bytesPerSecond: number): void {
    this.#bytesPerSecond = bytesPerSecond;
  }

  open(): void {
    this.#isOpen = true;
    this.#isStalled = false;
    for (const socket of this.#sockets) socket.resume();
  }

  async end(): Promise<void> {
    this.close();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #pace(): Transform {
    return new Transform({
      highWaterMark: 1,
      transform: (chunk: Buffer, _, done) => {
        if (this.#bytesPerSecond === 0) return done(undefined, chunk);
        const nowMs = performance.now();
        this.#dueMs = Math.max(this.#dueMs, nowMs) + (chunk.length / this.#bytesPerSecond) * 1000;
        setTimeout(() => done(undefined, chunk), this.#dueMs - nowMs);
      },
    });
  }

  #accept(socket: Socket): void {
    if (!this.#isOpen || this.#target === undefined) return void socket.destroy();
    const target = connect(this.#target);
    for (const [from, to] of [
      [socket, target],
      [target, socket],
    ] as const) {
      this.#sockets.add(from);
      from.setNoDelay(true);
      from.on('error', () => to.destroy());
      from.on('close', () => {
        this.#sockets.delete(from);
        to.destroy();
      });
      if (from === target) from.pipe(this.#pace()).pipe(to);
      else from.pipe(to);
    }
    if (this.#isStalled) for (const each of [socket, target]) each.pause();
  }
}
