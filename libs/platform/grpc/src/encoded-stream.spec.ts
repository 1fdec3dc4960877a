import { Client, Server, ServerCredentials, credentials, type ServerWritableStream } from '@grpc/grpc-js';
import { CacheService, ScanRequest, ScanResponse } from '@atoll/contracts/atoll/v1/cache';
import { AtollError } from '@atoll/core-errors';
import { KIB } from '@atoll/core-runtime';
import { createChannelOptions } from './channel-options.ts';
import { readEncodedStream } from './encoded-stream.ts';
import { toServiceError } from './service-error.ts';

const MESSAGES = 200;
const messageOf = (index: number): ScanResponse => ScanResponse.create({ cursor: Buffer.alloc(64 * KIB, index) });

describe('readEncodedStream', () => {
  let server: Server;
  let client: Client;
  /** Messages that the connection has taken, and how the call under way is ended. */
  let taken = 0;
  let end: (call: ServerWritableStream<ScanRequest, ScanResponse>) => void = (call) => call.end();
  const cancelled = { count: 0 };

  beforeAll(async () => {
    server = new Server();
    server.addService(
      { scan: CacheService.scan },
      {
        scan: (call: ServerWritableStream<ScanRequest, ScanResponse>) => {
          taken = 0;
          call.on('cancelled', () => (cancelled.count += 1));
          const next = (index: number): void => {
            if (index === call.request.limit) return end(call);
            call.write(messageOf(index), () => {
              taken += 1;
              next(index + 1);
            });
          };
          next(0);
        },
      },
    );
    const port = await new Promise<number>((resolve, reject) => server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => (error === null ? resolve(bound) : reject(error))));
    client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), createChannelOptions());
  });
  afterAll(() => {
    client.close();
    server.forceShutdown();
  });

  const read = (limit = MESSAGES, signal = new AbortController().signal) => readEncodedStream(client, CacheService.scan, ScanRequest.fromPartial({ limit }), { signal });
  const turns = async (count: number): Promise<void> => {
    for (let turn = 0; turn < count; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  };

  it('gives every message as it is on the wire, in order', async () => {
    let index = 0;
    for await (const message of read()) {
      expect(message.equals(ScanResponse.encode(messageOf(index)).finish())).toBe(true);
      index += 1;
    }
    expect(index).toBe(MESSAGES);
  });

  it('reads nothing ahead of who reads but what the window holds (I10)', async () => {
    const messages = read();
    await messages.next();
    await turns(200);
    // Windows of 64 KiB on both sides, a message in the decoder and the one that was given: some, not 16 and more.
    expect(taken).toBeLessThan(8);
    for (let index = 1; index < 50; index += 1) await messages.next();
    await turns(200);
    expect(taken).toBeLessThan(58);
    await messages.return();
  });

  it('ends with what the other side says, and cancels when its reader has enough', async () => {
    end = (call) => call.emit('error', toServiceError(new AtollError('NOT_LEADER', 'somebody else leads')));
    const received = (async () => {
      let count = 0;
      for await (const { length } of read(3)) count += length > 0 ? 1 : 0;
      return count;
    })();
    await expect(received).rejects.toMatchObject({ reason: 'NOT_LEADER', message: 'somebody else leads' });
    const before = cancelled.count;
    for await (const { length } of read()) if (length > 0) break;
    while (cancelled.count === before) await turns(1);
    const abort = new AbortController();
    const stopped = (async () => {
      for await (const { length } of read(MESSAGES, abort.signal)) if (length > 0) abort.abort(new Error('enough'));
    })();
    await expect(stopped).rejects.toMatchObject({ reason: 'CANCELLED' });
  });
});
