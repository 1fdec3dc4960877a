import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { once } from 'node:events';

/** A door in front of a server: closed, it ends every connection and refuses new ones; stalled, it passes nothing on. */
export class TcpGate {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #target: { readonly host: string; readonly port: number } | undefined;
  #isOpen = true;
  #isStalled = false;

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
      from.pipe(to);
    }
    if (this.#isStalled) for (const each of [socket, target]) each.pause();
  }
}
