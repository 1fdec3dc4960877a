import { connect } from 'node:net';
import { parseAddress } from '@atoll/platform-config';

/** `refused` is evidence that no process listens there; `silent` is evidence of nothing (R30). */
export type TcpProbe = 'reached' | 'refused' | 'silent';

/** Whether something listens at `host:port`. Never rejects; takes at most `timeoutMs`. A malformed address is silent. */
export function probeTcp(address: string, timeoutMs: number): Promise<TcpProbe> {
  const target = parseAddress(address);
  if (target === undefined) return Promise.resolve('silent');
  return new Promise((resolve) => {
    const socket = connect(target);
    const end = (result: TcpProbe): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(result);
    };
    const timer = setTimeout(() => end('silent'), timeoutMs);
    socket.once('connect', () => end('reached'));
    socket.once('error', (error: NodeJS.ErrnoException) => end(error.code === 'ECONNREFUSED' ? 'refused' : 'silent'));
  });
}
