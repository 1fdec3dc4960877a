import { Client, credentials } from '@grpc/grpc-js';
import { createClient as createRedisClient, RESP_TYPES } from 'redis';
import { createClient } from '@atoll/client';
import { CacheService, GetRequest } from '@atoll/contracts/atoll/v1/cache';
import { createChannelOptions } from '@atoll/platform-grpc';
import type { Target } from './generator-protocol.ts';

/** A connection to what is measured. `get` answers undefined where only the size of the answer is of interest. */
export interface Connection {
  get(key: string): Promise<Buffer | undefined>;
  set(key: string, value: Buffer): Promise<void>;
  close(): void;
}

const DEADLINE_MS = 10_000;

export async function connect(target: Target): Promise<Connection> {
  if (target.kind === 'unary') return connectUnary(target.address);
  return target.kind === 'atoll' ? connectAtoll(target.router) : connectRedis(target.port);
}

const passThrough = (bytes: Buffer): Buffer => bytes;

function connectUnary(address: string): Connection {
  const client = new Client(address, credentials.createInsecure(), createChannelOptions());
  const { path } = CacheService.get;
  return {
    get: (key) =>
      new Promise((resolve, reject) => {
        const request = Buffer.from(GetRequest.encode(GetRequest.fromPartial({ key: Buffer.from(key) })).finish());
        const deadline = Date.now() + DEADLINE_MS;
        client.makeUnaryRequest(path, passThrough, passThrough, request, { deadline }, (error) => (error === null ? resolve(undefined) : reject(error)));
      }),
    set: () => Promise.reject(new Error('unary rounds only read')),
    close: () => client.close(),
  };
}

function connectAtoll(router: string): Connection {
  const client = createClient({ routers: [router], deadlineMs: DEADLINE_MS, maxInFlight: 4096 });
  return {
    get: async (key) => (await client.get(key))?.value,
    set: async (key, value) => {
      await client.set(key, value, { ack: 'IN_SYNC' });
    },
    close: () => client.close(),
  };
}

async function connectRedis(port: number): Promise<Connection> {
  const client = await createRedisClient({ socket: { host: '127.0.0.1', port }, commandsQueueMaxLength: 100_000 })
    .withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer })
    .connect();
  return {
    get: async (key) => (await client.get(key)) ?? undefined,
    set: async (key, value) => {
      await client.set(key, value);
    },
    close: () => client.destroy(),
  };
}
