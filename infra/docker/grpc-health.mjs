// node grpc-health.mjs [HOST:PORT]   exit code 0: grpc.health.v1 says SERVING; else 1 and the reason on stderr.
// Without an address it asks this container's own service, at ATOLL_LISTEN. Plain HTTP/2 with nothing to load:
// checks run every few seconds in every container, and this one takes 0.07 s of processor time, the command atoll 0.9 s.
import { connect, constants } from 'node:http2';

const TIMEOUT_MS = 2500;
const SERVING = 1;
const STATUSES = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN'];
/** A gRPC message: not compressed, 0 bytes long. In it no service is named, so the whole process is meant. */
const REQUEST = Buffer.alloc(5);

const address = process.argv[2] ?? process.env.ATOLL_LISTEN?.replace(/^(0\.0\.0\.0|\[::\]):/, '127.0.0.1:');

/** @returns {never} */
function end(problem) {
  if (problem !== undefined) process.stderr.write(`${address}: ${problem}\n`);
  process.exit(problem === undefined ? 0 : 1);
}

if (address === undefined) end('no address: give one, or set ATOLL_LISTEN');
setTimeout(() => end(`no answer within ${TIMEOUT_MS} ms`), TIMEOUT_MS);
const session = connect(`http://${address}`);
session.on('error', (error) => end(error.message));
const stream = session.request({
  [constants.HTTP2_HEADER_METHOD]: 'POST',
  [constants.HTTP2_HEADER_PATH]: '/grpc.health.v1.Health/Check',
  [constants.HTTP2_HEADER_CONTENT_TYPE]: 'application/grpc',
  [constants.HTTP2_HEADER_TE]: 'trailers',
});
const chunks = [];
let grpcStatus;
stream.on('response', (headers) => (grpcStatus = headers['grpc-status']));
stream.on('trailers', (trailers) => (grpcStatus = trailers['grpc-status']));
stream.on('data', (chunk) => chunks.push(chunk));
stream.on('error', (error) => end(error.message));
stream.on('end', () => {
  if (grpcStatus !== '0') end(`gRPC status ${grpcStatus ?? 'missing'}`);
  // HealthCheckResponse has one field, status = 1: tag 0x08 and the number. UNKNOWN, 0, is left out.
  const message = Buffer.concat(chunks).subarray(5);
  const status = message[0] === 0x08 ? message[1] : 0;
  end(status === SERVING ? undefined : (STATUSES[status] ?? `status ${status}`));
});
stream.end(REQUEST);
