import { Server, ServerCredentials, credentials } from '@grpc/grpc-js';
import { fromBinary } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import { CacheService } from '@atoll/contracts/atoll/v1/cache';
import { ServerReflectionClient, type ServerReflectionResponse } from '@atoll/contracts/grpc/reflection/v1/reflection';
import { HealthClient } from '@atoll/contracts/health/v1/health';
import { callUnary } from './call.ts';
import { addStandardServices, type Health } from './standard-services.ts';

describe('standard services', () => {
  const server = new Server();
  let health: Health;
  let address: string;
  beforeAll(async () => {
    health = addStandardServices(server, { services: [CacheService] });
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => (error === null ? resolve(bound) : reject(error)));
    });
    address = `127.0.0.1:${port}`;
  });
  afterAll(() => server.forceShutdown());

  it('tells health of the process and of each service', async () => {
    const client = new HealthClient(address, credentials.createInsecure());
    const statusOf = async (service: string) => (await callUnary(client, 'check', { service }, { deadlineMs: 5000 })).status;
    expect(await statusOf('')).toBe(2);
    health.setServing(true);
    expect([await statusOf(''), await statusOf('atoll.v1.Cache')]).toEqual([1, 1]);
    await expect(statusOf('no.such.Service')).rejects.toMatchObject({ metadata: { status: 'NOT_FOUND' } });
    client.close();
  });

  it('describes its services, with all files that a client needs', async () => {
    const client = new ServerReflectionClient(address, credentials.createInsecure());
    const call = client.serverReflectionInfo();
    const answers: ServerReflectionResponse['messageResponse'][] = [];
    const ended = new Promise((resolve, reject) => call.on('end', resolve).on('error', reject));
    call.on('data', ({ messageResponse }: ServerReflectionResponse) => answers.push(messageResponse));
    call.write({ host: '', messageRequest: { $case: 'listServices', value: '' } });
    call.write({ host: '', messageRequest: { $case: 'fileContainingSymbol', value: 'atoll.v1.Cache.Get' } });
    call.write({ host: '', messageRequest: { $case: 'fileContainingSymbol', value: 'no.such.Symbol' } });
    call.end();
    await ended;
    client.close();
    const [list, file, missing] = answers;
    expect(list?.$case === 'listServicesResponse' && list.value.service.map(({ name }) => name)).toEqual(['atoll.v1.Cache', 'grpc.health.v1.Health', 'grpc.reflection.v1.ServerReflection']);
    const names = file?.$case === 'fileDescriptorResponse' ? file.value.fileDescriptorProto.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes).name) : [];
    expect(names).toContain('atoll/v1/cache.proto');
    expect(missing?.$case === 'errorResponse' && missing.value.errorCode).toBe(5);
  });
});
