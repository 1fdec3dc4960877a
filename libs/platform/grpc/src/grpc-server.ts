import { createServer, type AddressInfo, type Server as NetServer, type Socket } from 'node:net';
import { Server, ServerCredentials, type ServerOptions } from '@grpc/grpc-js';
import { formatAddress, toListenError, type Address } from '@atoll/platform-config';
import { MESSAGE_BYTES_MAX } from './message-limits.ts';
import { RpcHandlers, type RpcHandlersOptions } from './rpc-handlers.ts';

export interface GrpcServerOptions extends RpcHandlersOptions {
  /** Largest message sent or taken, in bytes. Default 65 MiB. */
  readonly messageBytesMax?: number;
  /** Calls that one connection may have open; further ones wait at the client. Default 2048. */
  readonly concurrentStreamsMax?: number;
}

export interface GrpcServer {
  /** For `addService`. */
  readonly server: Server;
  /** Makes the handlers of the services. */
  readonly handlers: RpcHandlers;
  /** Binds without TLS. Answers the bound address (port 0 asks for any). A busy port is a StartupError. */
  listen(address: Address): Promise<Address>;
  /**
   * Takes no new connections, aborts the signals of streams (SHUTTING_DOWN), and waits for what is under
   * way; when `signal` aborts, cuts off the rest. Never rejects.
   */
  close(signal: AbortSignal): Promise<void>;
}

export const CONCURRENT_STREAMS_MAX = 2048;
/** Connections that one server takes; further ones are closed at once (I10). */
export const CONNECTIONS_MAX = 10_000;
const KEEPALIVE_INTERVAL_MS = 30_000;
const KEEPALIVE_TIMEOUT_MS = 10_000;

export function createGrpcServer(options: GrpcServerOptions): GrpcServer {
  const server = new Server(serverOptions(options));
  const handlers = new RpcHandlers(options);
  const listener = new Listener(server);
  return {
    server,
    handlers,
    listen: (address) => listener.listen(address),
    close: (signal) => {
      handlers.closeStreams();
      return shutDown(server, listener, signal);
    },
  };
}

/** Names of the options: https://github.com/grpc/grpc-node/tree/master/packages/grpc-js#supported-channel-options. */
function serverOptions({ messageBytesMax = MESSAGE_BYTES_MAX, concurrentStreamsMax = CONCURRENT_STREAMS_MAX }: GrpcServerOptions): ServerOptions {
  return {
    'grpc.max_receive_message_length': messageBytesMax,
    'grpc.max_send_message_length': messageBytesMax,
    'grpc.max_concurrent_streams': concurrentStreamsMax,
    // Finds clients that vanished without a word; grpc-js answers any client's pings, however often.
    'grpc.keepalive_time_ms': KEEPALIVE_INTERVAL_MS,
    'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
    // Bookkeeping per call that nobody reads.
    'grpc.enable_channelz': 0,
  };
}

/**
 * Accepts connections and hands them to grpc-js, whose own bindAsync reports a busy port as text (and prints
 * it) and whose forceShutdown leaves connections open while channelz is off (1.14.7).
 */
class Listener {
  readonly #listener: NetServer;
  readonly #sockets = new Set<Socket>();

  constructor(server: Server) {
    const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
    this.#listener = createServer((socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
      injector.injectConnection(socket);
    });
    this.#listener.maxConnections = CONNECTIONS_MAX;
  }

  listen(address: Address): Promise<Address> {
    return new Promise((resolve, reject) => {
      this.#listener.once('error', (error) => reject(toListenError(error, { what: 'gRPC server', address: formatAddress(address), setting: 'ATOLL_LISTEN' })));
      this.#listener.listen(address.port, address.host, () => resolve({ host: address.host, port: (this.#listener.address() as AddressInfo).port }));
    });
  }

  /** Takes no new connections; settles when the last one is closed. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#listener.close(() => resolve());
    });
  }

  cutOff(): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}

async function shutDown(server: Server, listener: Listener, signal: AbortSignal): Promise<void> {
  const cutOff = (): void => listener.cutOff();
  const closed = listener.close();
  // Sends GOAWAY, so that each connection ends with its last call. Its callback is no news: with connections
  // handed in, grpc-js calls it before they have ended.
  server.tryShutdown(() => undefined);
  signal.addEventListener('abort', cutOff, { once: true });
  if (signal.aborted) cutOff();
  await closed;
  signal.removeEventListener('abort', cutOff);
}
