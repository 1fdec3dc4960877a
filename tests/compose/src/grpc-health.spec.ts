// The health check of the images, against servers as the services have them.
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { CacheService } from '@atoll/contracts/atoll/v1/cache';
import { freePorts } from '@atoll/platform-etcd/testing';
import { addStandardServices, type Health } from '@atoll/platform-grpc';
import { ROOT, run, type CommandResult } from './docker.ts';

const SCRIPT = join(ROOT, 'infra/docker/grpc-health.mjs');
const check = (address: string): Promise<CommandResult> => run([process.execPath, SCRIPT, address]);

describe('grpc-health.mjs', () => {
  let server: Server;
  let health: Health;
  let port: number;

  beforeAll(async () => {
    server = new Server();
    health = addStandardServices(server, { services: [CacheService] });
    port = await new Promise<number>((resolve, reject) => server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => (error === null ? resolve(bound) : reject(error))));
  });
  afterAll(() => server.forceShutdown());

  it('follows what the service says of itself', async () => {
    expect(await check(`127.0.0.1:${port}`)).toEqual({ code: 1, stdout: '', stderr: `127.0.0.1:${port}: NOT_SERVING\n` });
    health.setServing(true);
    expect(await check(`127.0.0.1:${port}`)).toEqual({ code: 0, stdout: '', stderr: '' });
    health.setServing(false);
    expect((await check(`127.0.0.1:${port}`)).code).toBe(1);
  });

  it('asks its own container where no address is given', async () => {
    health.setServing(true);
    expect(await run([process.execPath, SCRIPT], { env: { ATOLL_LISTEN: `0.0.0.0:${port}` } })).toMatchObject({ code: 0 });
    expect(await run([process.execPath, SCRIPT], { env: {} })).toMatchObject({ code: 1, stderr: expect.stringContaining('ATOLL_LISTEN') });
  });

  it('fails where nobody listens, and within 3 s where nobody answers', async () => {
    const [closed] = await freePorts(1);
    expect(await check(`127.0.0.1:${closed}`)).toMatchObject({ code: 1, stderr: expect.stringContaining('ECONNREFUSED') });
    const silent = createServer(() => undefined);
    const address = await new Promise<string>((resolve) => silent.listen(0, '127.0.0.1', () => resolve(`127.0.0.1:${(silent.address() as { port: number }).port}`)));
    expect(await check(address)).toMatchObject({ code: 1, stderr: expect.stringContaining('no answer within') });
    silent.close();
  });
});
