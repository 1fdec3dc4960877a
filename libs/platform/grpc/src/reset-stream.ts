import { constants, type Http2Stream } from 'node:http2';

/**
 * Ends a server's stream at once (RST_STREAM), also when its peer does not read. grpc-js offers no such
 * thing: end() and an emitted error wait behind everything buffered, for ever if the peer has stalled. So
 * this reaches through grpc-js 1.14's call objects to the HTTP/2 stream; its spec fails if they change.
 * Answers whether it did.
 */
export function resetServerStream(call: object): boolean {
  let next: unknown = (call as { call?: unknown }).call;
  for (let depth = 0; depth < 16 && typeof next === 'object' && next !== null; depth += 1) {
    const { stream, nextCall } = next as { stream?: Http2Stream; nextCall?: unknown };
    if (stream !== undefined) {
      stream.close(constants.NGHTTP2_CANCEL);
      return true;
    }
    next = nextCall;
  }
  return false;
}
