import type { EndpointCall } from './etcd-endpoints.ts';

/**
 * One keep-alive on a stream of its own, ended after the answer: a lease needs one every few seconds, and a
 * stream that is kept open would need a reconnection of its own. The request ends the stream's own half at once: a stream
 * that is cancelled while it could still be written to makes the library part with the connection, and with it go all
 * watches. Resolves to whether etcd knows the lease.
 */
export async function keepAliveOnce({ endpoint, options }: EndpointCall, id: string): Promise<boolean> {
  const stream = await endpoint.client.leaseClient.leaseKeepAlive(options);
  try {
    return await new Promise<boolean>((resolve, reject) => {
      stream.on('data', (response) => resolve(Number(response.TTL) > 0));
      stream.on('error', reject);
      stream.on('end', () => reject(new Error('the stream ended without an answer')));
      stream.write({ ID: id });
      stream.end();
    });
  } finally {
    stream.cancel();
  }
}
