import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { formatAddress, toListenError, type Address, type ShownSettings } from '@atoll/platform-config';

/** Whether a process can do its work, and what it waits for otherwise. */
export interface Readiness {
  readonly ready: boolean;
  /** For people: `waiting for etcd`, `partition default/7 is learning`. At most a few. */
  readonly reasons: readonly string[];
}

export interface HttpEndpointOptions {
  /** Port 0: any. */
  readonly listen: Address;
  readonly metrics: (request: IncomingMessage, response: ServerResponse) => void;
  /** False asks the supervisor for a restart; default: true while the event loop answers. */
  readonly isLive?: () => boolean;
  readonly readiness: () => Readiness;
  /** Without anything secret. */
  readonly settings?: ShownSettings;
}

export interface HttpEndpoint {
  /** The bound address. */
  readonly address: Address;
  close(): Promise<void>;
}

/** Probes and scrapers are few; further connections are closed at once (I10). */
const CONNECTIONS_MAX = 64;

/**
 * Serves `/metrics` (Prometheus text), `/healthz` (200 or 503) and `/readyz` (200, or 503 with
 * `{"ready":false,"reasons":[...]}`) and `/settings` (JSON by name, nothing secret). A busy port is a StartupError.
 */
export async function startHttpEndpoint(options: HttpEndpointOptions): Promise<HttpEndpoint> {
  const { listen, metrics, isLive = () => true, readiness, settings = {} } = options;
  const server = createServer({ requestTimeout: 5000, headersTimeout: 5000, keepAliveTimeout: 10_000 }, (request, response) => {
    if (request.method !== 'GET' && request.method !== 'HEAD') return answer(response, 405, 'method not allowed\n', { allow: 'GET, HEAD' });
    switch (request.url?.split('?', 1)[0]) {
      case '/metrics':
        return metrics(request, response);
      case '/healthz':
        return isLive() ? answer(response, 200, 'ok\n') : answer(response, 503, 'not live\n');
      case '/readyz': {
        const state = readiness();
        return answer(response, state.ready ? 200 : 503, `${JSON.stringify(state)}\n`, { 'content-type': 'application/json' });
      }
      case '/settings':
        return answer(response, 200, `${JSON.stringify(settings)}\n`, { 'content-type': 'application/json' });
      default:
        return answer(response, 404, 'see /metrics, /healthz, /readyz and /settings\n');
    }
  });
  server.maxConnections = CONNECTIONS_MAX;
  await listenOn(server, listen);
  const { port } = server.address() as AddressInfo;
  return {
    address: { host: listen.host, port },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function answer(response: ServerResponse, status: number, body: string, headers: Record<string, string> = {}): void {
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', ...headers }).end(body);
}

function listenOn(server: Server, listen: Address): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => reject(toListenError(error, { what: 'HTTP endpoint', address: formatAddress(listen), setting: 'ATOLL_HTTP_LISTEN' })));
    server.listen(listen.port, listen.host, resolve);
  });
}
