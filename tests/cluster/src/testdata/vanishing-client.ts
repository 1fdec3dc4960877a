// A client that is killed in mid-stream: it keeps the router busy with small writes and reads, owes it the rest of
// a large value, and does not read its results. Prints `streaming` when all of that is under way.
import { credentials } from '@grpc/grpc-js';
import { CacheClient, GetRequest, SetRequest, type ExecuteRequest } from '@atoll/contracts/atoll/v1/cache';
import { MIB } from '@atoll/core-runtime';

const OPERATIONS_PER_MESSAGE = 500;
const MESSAGES_AT_ONCE = 20;
const KEYS = 1000;

const [address = ''] = process.argv.slice(2);
const call = new CacheClient(address, credentials.createInsecure()).execute();
let id = 0;

const operation = (kind: ExecuteRequest['operations'][number]['kind'], valueBytes = 0): ExecuteRequest['operations'][number] => {
  id += 1;
  return { id, deadlineMs: 60_000, traceparent: '', valueBytes, kind };
};

function nextMessage(): ExecuteRequest {
  const operations = Array.from({ length: OPERATIONS_PER_MESSAGE }, (_, index) => {
    const key = Buffer.from(`vanished-${(id + index) % KEYS}`);
    if (index % 2 === 0) return operation({ $case: 'set', value: SetRequest.fromPartial({ key, value: Buffer.alloc(2000, id % 256) }) });
    return operation({ $case: 'get', value: GetRequest.fromPartial({ key }) });
  });
  return { operations, parts: [] };
}

function writeOn(): void {
  for (let count = 0; count < MESSAGES_AT_ONCE; count += 1) call.write(nextMessage());
  setImmediate(() => setTimeout(writeOn, 10));
}

call.on('error', () => undefined);
const large = operation({ $case: 'set', value: SetRequest.fromPartial({ key: Buffer.from('never-complete') }) }, 8 * MIB);
call.write({ operations: [large], parts: [{ id: large.id, data: Buffer.alloc(MIB) }] });
for (let count = 0; count < MESSAGES_AT_ONCE; count += 1) call.write(nextMessage());
call.once('readable', () => {
  process.stdout.write('streaming\n');
  writeOn();
});
