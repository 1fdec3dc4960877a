import { createServer } from 'node:net';
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
const KEEPALIVE_INTERVAL_MS = 30_000;
const KEEPALIVE_TIMEOUT_MS = 10_000;

export function createGrpcServer(options: GrpcServerOptions): GrpcServer {
  const server = new Server(serverOptions(options));
  const handlers = new RpcHandlers(options);
  return {
    server,
    handlers,
    listen: async (address) => {
      await assertFree(address);
      const port = await bind(server, address);
      return { host: address.host, port };
    },
    close: (signal) => {
      handlers.closeStreams();
      return shutDown(server, signal);
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
 * grpc-js reports a failed bind as text, and prints it. Trying the address first with a plain socket gives
 * the error code, and so one clear message.
 */
function assertFree(address: Address): Promise<void> {
  if (address.port === 0) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', (error) => reject(toListenError(error, { what: 'gRPC server', address: formatAddress(address), setting: 'ATOLL_LISTEN' })));
    probe.listen(address.port, address.host, () => probe.close(() => resolve()));
  });
}

function bind(server: Server, address: Address): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(formatAddress(address), ServerCredentials.createInsecure(), (error, port) => (error === null ? resolve(port) : reject(error)));
  });
}

function shutDown(server: Server, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const force = (): void => server.forceShutdown();
    signal.addEventListener('abort', force, { once: true });
    server.tryShutdown(() => {
      signal.removeEventListener('abort', force);
      resolve();
    });
    if (signal.aborted) force();
  });
}
