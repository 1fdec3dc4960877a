import { credentials } from '@grpc/grpc-js';
import { AdminClient } from '@atoll/contracts/atoll/v1/admin';
import { StandbyClient } from '@atoll/contracts/atoll/v1/standby';
import { isAtollError } from '@atoll/core-errors';
import { createChannelOptions } from '@atoll/platform-grpc';
import { unavailable } from '../cli-error.ts';

/** From one coordinator to the elected one is one step; a change of office in between makes it two. */
const HOPS_MAX = 4;
const HOP_TIMEOUT_MS = 3_000;

/**
 * Calls the elected coordinator. Starts with any of `addresses` that answers; NOT_COORDINATOR names the
 * elected one in its metadata. A coordinator that cannot be reached is passed over; one that does not answer, after
 * `hopTimeoutMs`.
 */
export function askCoordinator<Response>(
  addresses: readonly string[],
  timeoutMs: number,
  call: (client: AdminClient, settings: { deadlineMs: number }) => Promise<Response>,
  hopTimeoutMs = HOP_TIMEOUT_MS,
): Promise<Response> {
  return askElected((address) => new AdminClient(address, credentials.createInsecure(), createChannelOptions()), addresses, timeoutMs, call, hopTimeoutMs);
}

/** As askCoordinator, of its service of standbys. */
export function askStandbys<Response>(
  addresses: readonly string[],
  timeoutMs: number,
  call: (client: StandbyClient, settings: { deadlineMs: number }) => Promise<Response>,
  hopTimeoutMs = HOP_TIMEOUT_MS,
): Promise<Response> {
  return askElected((address) => new StandbyClient(address, credentials.createInsecure(), createChannelOptions()), addresses, timeoutMs, call, hopTimeoutMs);
}

async function askElected<Client extends { close(): void }, Response>(
  connect: (address: string) => Client,
  addresses: readonly string[],
  timeoutMs: number,
  call: (client: Client, settings: { deadlineMs: number }) => Promise<Response>,
  hopTimeoutMs: number,
): Promise<Response> {
  const deadline = Date.now() + timeoutMs;
  const queue = [...addresses];
  let lastError: unknown;
  for (let hop = 0; hop < HOPS_MAX + addresses.length && queue.length > 0; hop += 1) {
    const address = queue.shift() ?? '';
    const left = deadline - Date.now();
    const client = connect(address);
    try {
      // While others may be asked, none may use up all the time.
      return await call(client, { deadlineMs: queue.length > 0 ? Math.min(left, hopTimeoutMs) : left });
    } catch (error) {
      lastError = error;
      if (!isAtollError(error)) throw error;
      const elected = error.metadata['address'];
      if (error.reason === 'NOT_COORDINATOR' && elected) queue.unshift(elected);
      else if (!['PEER_UNAVAILABLE', 'NOT_COORDINATOR', 'SHUTTING_DOWN', 'DEADLINE_EXCEEDED'].includes(error.reason)) throw error;
    } finally {
      client.close();
    }
  }
  if (isAtollError(lastError) && lastError.reason === 'PEER_UNAVAILABLE') throw unavailable(`no coordinator answers at ${addresses.join(', ')}`, lastError);
  throw lastError;
}
