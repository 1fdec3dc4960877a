// The granting side of a node played by a spec: registered under its id, it grants every lease that it is asked for.
import { Server, ServerCredentials, type ServerDuplexStream } from '@grpc/grpc-js';
import { HeartbeatService, type LeaseRequest, type LeaseResponse } from '@atoll/contracts/atoll/v1/heartbeat';
import { toNodeId } from '@atoll/core-runtime';
import { encodeNodeRecord, nodeKey } from '@atoll/platform-etcd';
import type { NodeWorld } from './node-world.ts';

export class RawGranter {
  readonly #server: Server;
  /** Whether beats are answered. */
  isAnswering = true;
  /** The last list that a leader sent. */
  items: LeaseRequest['items'] = [];

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(world: NodeWorld, id: string): Promise<RawGranter> {
    const server = new Server();
    const granter = new RawGranter(server);
    const unserved = (_: unknown, callback: (error: Error) => void): void => callback(new Error('not played'));
    const lease = (call: ServerDuplexStream<LeaseRequest, LeaseResponse>): void => granter.#serve(call);
    server.addService(HeartbeatService, { lease, report: (call: ServerDuplexStream<unknown, unknown>) => void call.end(), probe: unserved, handOver: unserved });
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => (error === null ? resolve(bound) : reject(error)));
    });
    const record = { id: toNodeId(id), address: `127.0.0.1:${port}`, httpAddress: '', zone: 'z', weight: 1, incarnation: `${id}-1`, phase: 'SERVING' as const };
    world.etcd.transact([], [{ kind: 'put', key: nodeKey(id), value: encodeNodeRecord(record) }]);
    return granter;
  }

  stop(): void {
    this.#server.forceShutdown();
  }

  #serve(call: ServerDuplexStream<LeaseRequest, LeaseResponse>): void {
    call.on('error', () => undefined);
    call.on('data', ({ beat, listVersion, items }: LeaseRequest) => {
      if (items.length > 0) this.items = items;
      if (this.isAnswering) call.write({ beat, listVersion, exceptions: [] });
    });
    call.on('end', () => call.end());
  }
}
