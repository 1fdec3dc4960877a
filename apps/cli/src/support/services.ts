// Which processes a cluster has, and how each of them is asked over HTTP. The coordinator knows the storage nodes; of the
// others those are asked that the options, the environment or the data directory name.
import { NodeState, type Node } from '@atoll/contracts/atoll/v1/admin';
import { HTTP_PORT_OFFSET, formatAddress, parseAddress, reachableAt, type ShownSettings } from '@atoll/platform-config';
import { messageOf } from '../cli-error.ts';
import { MetricsText } from './metrics-text.ts';

export type ServiceRole = 'router' | 'storage-node' | 'coordinator' | 'backup';

export interface ServiceTarget {
  readonly role: ServiceRole;
  /** Id of a storage node; of others their address. */
  readonly name: string;
  /** host:port of its gRPC server. */
  readonly address: string;
  /** host:port of its HTTP server; undefined: it has none. */
  readonly httpAddress: string | undefined;
}

/** What a process told over HTTP. */
export interface ServiceReading {
  readonly target: ServiceTarget;
  /** Why it could not be asked; undefined when it answered. */
  readonly problem: string | undefined;
  readonly metricsText: string;
  readonly metrics: MetricsText;
  readonly ready: boolean;
  /** Why it is not ready, or what it waits for. */
  readonly reasons: readonly string[];
  /** Its settings without what is secret; empty when it does not tell. */
  readonly settings: ShownSettings;
  /** How far its wall clock is ahead of this machine's, in ms, and how exactly that is known; undefined: not told. */
  readonly clock: { readonly offsetMs: number; readonly errorMs: number } | undefined;
}

/** The HTTP address that belongs to a gRPC address by default. */
export function httpAddressOf(address: string): string | undefined {
  const parsed = parseAddress(address);
  return parsed === undefined ? undefined : formatAddress({ host: parsed.host, port: parsed.port + HTTP_PORT_OFFSET });
}

export const toTarget = (role: ServiceRole, address: string): ServiceTarget => ({ role, name: address, address, httpAddress: httpAddressOf(address) });

/** Nodes that left on purpose, or were removed, are missed by nobody. */
export const isExpected = ({ state, wanted }: Pick<Node, 'state' | 'wanted'>): boolean => state !== NodeState.NODE_STATE_LEFT && wanted !== 'REMOVED';

export function nodeTarget({ id, address, httpAddress }: Pick<Node, 'id' | 'address' | 'httpAddress'>): ServiceTarget {
  const [grpc, http] = [parseAddress(address), parseAddress(httpAddress)];
  // Nodes up to 0.1.0 told where they listen, which may be 0.0.0.0.
  return { role: 'storage-node', name: id, address, httpAddress: http === undefined ? undefined : formatAddress(grpc === undefined ? http : reachableAt(http, grpc.host)) };
}

/** Asks for metrics, readiness and settings. Never rejects. */
export async function readService(target: ServiceTarget, timeoutMs: number): Promise<ServiceReading> {
  const silent = (problem: string): ServiceReading => ({ target, problem, metricsText: '', metrics: new MetricsText(''), ready: false, reasons: [], settings: {}, clock: undefined });
  if (target.httpAddress === undefined) return silent('it has no HTTP address');
  const fetchFrom = (path: string): Promise<Response> => fetch(`http://${target.httpAddress}${path}`, { signal: AbortSignal.timeout(timeoutMs) });
  try {
    const sentMs = Date.now();
    const response = await fetchFrom('/metrics');
    const answeredMs = Date.now();
    const metricsText = await response.text();
    if (!response.ok) return silent(`/metrics answers ${response.status}${response.status === 404 ? `: ${metricsText.trim()}` : ''}`);
    const [readiness, settings] = await Promise.all([fetchFrom('/readyz').then(parseReadiness), fetchFrom('/settings').then(parseSettings)]);
    const metrics = new MetricsText(metricsText);
    const wallSeconds = metrics.value('process_wall_clock_seconds');
    const clock = wallSeconds === undefined ? undefined : { offsetMs: wallSeconds * 1000 - (sentMs + answeredMs) / 2, errorMs: (answeredMs - sentMs) / 2 };
    return { target, problem: undefined, metricsText, metrics, ...readiness, settings, clock };
  } catch (error) {
    return silent(reasonOf(error));
  }
}

/** fetch says `fetch failed`, and only in the cause why. */
export function reasonOf(error: unknown): string {
  const { cause } = error as { cause?: { code?: unknown; message?: unknown } };
  return typeof cause?.code === 'string' ? cause.code : messageOf(error);
}

async function parseReadiness(response: Response): Promise<{ ready: boolean; reasons: string[] }> {
  const { ready, reasons } = (await response.json()) as { ready?: unknown; reasons?: unknown };
  return { ready: ready === true, reasons: Array.isArray(reasons) ? reasons.map(String) : [] };
}

/** Processes of versions before this one answer 404. */
async function parseSettings(response: Response): Promise<ShownSettings> {
  if (!response.ok) return {};
  return (await response.json()) as ShownSettings;
}
