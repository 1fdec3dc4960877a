import { credentials } from '@grpc/grpc-js';
import { HeartbeatClient, type ProbeRequest, type ProbeResponse } from '@atoll/contracts/atoll/v1/heartbeat';
import { invalidArgument } from '@atoll/core-errors';
import { parseAddress } from '@atoll/platform-config';
import { callUnary, createChannelOptions, probeTcp } from '@atoll/platform-grpc';

const TIMEOUT_MS_MAX = 10_000;
/** Probes under way at a time: a node is not a port scanner (I10). */
const PROBES_MAX = 64;

/** Handler of `Heartbeat.Probe`: asks the node at an address who it is, or, without an address, says who this one is. */
export class Prober {
  readonly #incarnation: string;
  #runningCount = 0;

  constructor(options: { incarnation: string }) {
    this.#incarnation = options.incarnation;
  }

  async probe({ address, timeoutMs }: ProbeRequest): Promise<ProbeResponse> {
    if (address === '') return { reached: true, refused: false, incarnation: this.#incarnation };
    if (parseAddress(address) === undefined) throw invalidArgument('address', 'must be host:port');
    if (timeoutMs < 1 || timeoutMs > TIMEOUT_MS_MAX) throw invalidArgument('timeout_ms', `must be 1 to ${TIMEOUT_MS_MAX}`);
    if (this.#runningCount >= PROBES_MAX) throw invalidArgument('address', `${PROBES_MAX} probes are under way already`);
    this.#runningCount += 1;
    try {
      return await probeNode(address, timeoutMs);
    } finally {
      this.#runningCount -= 1;
    }
  }
}

/** Whether a storage node answers at an address, and which process that is. Never rejects; takes at most `timeoutMs`. */
export async function probeNode(address: string, timeoutMs: number): Promise<ProbeResponse> {
  const deadlineMs = performance.now() + timeoutMs;
  const tcp = await probeTcp(address, timeoutMs);
  if (tcp !== 'reached') return { reached: false, refused: tcp === 'refused', incarnation: '' };
  const client = new HeartbeatClient(address, credentials.createInsecure(), createChannelOptions({ traffic: 'heartbeat' }));
  try {
    return await callUnary(client, 'probe', { address: '', timeoutMs: 0 }, { deadlineMs: deadlineMs - performance.now() });
  } catch {
    return { reached: false, refused: false, incarnation: '' };
  } finally {
    client.close();
  }
}
