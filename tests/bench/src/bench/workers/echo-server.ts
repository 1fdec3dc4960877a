// The peer of the router in `unary`: a bare grpc-js server that answers every Get with the same bytes, neither
// decoding nor looking anything up. Its argument is the size of the answer.
import { Server, ServerCredentials, type handleUnaryCall } from '@grpc/grpc-js';
import { CacheService } from '@atoll/contracts/atoll/v1/cache';

const answer = Buffer.alloc(Number(process.argv[2]), 1);
const passThrough = (bytes: Buffer): Buffer => bytes;
const get: handleUnaryCall<Buffer, Buffer> = (_call, callback) => callback(null, answer);

const server = new Server();
server.addService(
  { get: { path: CacheService.get.path, requestStream: false, responseStream: false, requestSerialize: passThrough, requestDeserialize: passThrough, responseSerialize: passThrough, responseDeserialize: passThrough } },
  { get },
);
server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => {
  if (error !== null) throw error;
  process.send?.({ port });
});
process.on('SIGINT', () => undefined);
process.on('disconnect', () => process.exit());
