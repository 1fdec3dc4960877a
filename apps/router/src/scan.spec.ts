import { ScanRequest, type ScanEntry, type ScanResponse } from '@atoll/contracts/atoll/v1/cache';
import { isAtollError, AtollError } from '@atoll/core-errors';
import { callServerStream, toServiceError } from '@atoll/platform-grpc';
import { cursorTag, decodeCursor, encodeCursor } from '@atoll/platform-wire';
import { RouterWorld } from './testing/router-world.ts';

const EMPTY = Buffer.alloc(0);
const tag = cursorTag('ks1');
let world: RouterWorld;
afterEach(() => world.stop());

const entry = (key: string): ScanEntry => ({ key: Buffer.from(key), value: Buffer.from(`value of ${key}`), version: EMPTY, expiresAtMs: 0 });
const at = (partition: number, high: number): Buffer => encodeCursor(tag, { partition, position: { high, low: 0 } });

/** Each partition holds p<partition>-0 to p<partition>-4; two entries per response, the position is the index. */
function scanEntries(request: ScanRequest): ScanResponse[] {
  const partition = request.partition!;
  const from = decodeCursor(request.cursor, { tag, partitionCount: 4 })?.position.high ?? 0;
  const wanted = Math.min(5, from + (request.limit === 0 ? 5 : request.limit));
  const responses: ScanResponse[] = [];
  for (let index = from; index < wanted || responses.length === 0; index += 2) {
    const end = Math.min(index + 2, wanted);
    const entries = Array.from({ length: Math.max(0, end - index) }, (_, offset) => entry(`p${partition}-${index + offset}`));
    responses.push({ entries, cursor: end >= 5 ? EMPTY : at(partition, end) });
  }
  return responses;
}

const startWorld = async (): Promise<void> => {
  world = await RouterWorld.start();
  for (const node of world.nodes) node.scanScript = scanEntries;
};

async function scan(fields: Partial<ScanRequest> = {}): Promise<{ keys: string[]; cursor: Buffer; responses: ScanResponse[] }> {
  const responses: ScanResponse[] = [];
  for await (const response of callServerStream(world.client, 'scan', ScanRequest.create(fields), { deadlineMs: 10_000 })) responses.push(response);
  return { keys: responses.flatMap(({ entries }) => entries.map(({ key }) => key.toString())), cursor: responses.at(-1)?.cursor ?? EMPTY, responses };
}
const all = [0, 1, 2, 3].flatMap((partition) => [0, 1, 2, 3, 4].map((index) => `p${partition}-${index}`));

describe('scan', () => {
  it('goes through all partitions and ends with an empty cursor', async () => {
    await startWorld();
    const { keys, cursor, responses } = await scan({ prefix: Buffer.from('p'), keysOnly: true });
    expect(keys).toEqual(all);
    expect(cursor).toHaveLength(0);
    expect(responses.slice(0, -1).every((response) => response.cursor.length > 0)).toBe(true);
    expect(world.node(0).scans.map(({ partition, keysOnly, prefix }) => [partition, keysOnly, prefix.toString()])).toEqual([0, 1, 2, 3].map((partition) => [partition, true, 'p']));
  });

  it('goes on from any cursor that it gave', async () => {
    await startWorld();
    const { responses } = await scan();
    let seen = 0;
    for (const response of responses.slice(0, -1)) {
      seen += response.entries.length;
      expect((await scan({ cursor: response.cursor })).keys).toEqual(all.slice(seen));
    }
  });

  it('stops at the limit, and the cursor goes on behind it', async () => {
    await startWorld();
    for (const limit of [1, 5, 7, 19]) {
      const first = await scan({ limit });
      expect(first.keys).toEqual(all.slice(0, limit));
      expect(first.cursor.length).toBeGreaterThan(0);
      expect((await scan({ cursor: first.cursor })).keys).toEqual(all.slice(limit));
    }
    expect((await scan({ limit: 20 })).cursor).toHaveLength(0);
  });

  it('of one partition ends with it', async () => {
    await startWorld();
    const { keys, cursor } = await scan({ partition: 2 });
    expect(keys).toEqual(all.slice(10, 15));
    expect(cursor).toHaveLength(0);
  });

  it('answers an empty keyspace with one empty response', async () => {
    await startWorld();
    for (const node of world.nodes) node.scanScript = () => [{ entries: [], cursor: EMPTY }];
    const { responses } = await scan();
    expect(responses).toEqual([{ entries: [], cursor: EMPTY }]);
  });

  it('goes on at the new leader from the last cursor, and returns nothing twice', async () => {
    await startWorld();
    let failures = 0;
    world.node(0).scanScript = (request) => {
      if (request.partition !== 1) return scanEntries(request);
      failures += 1;
      void world.lead(1, 1);
      return [scanEntries(request)[0]!, toServiceError(new AtollError('NOT_LEADER', 'moved'))];
    };
    expect((await scan()).keys).toEqual(all);
    expect(failures).toBe(1);
    expect(world.node(1).scans.map(({ cursor }) => decodeCursor(cursor, { tag, partitionCount: 4 })?.position.high)).toEqual([2]);
  });

  it('goes on when a node breaks off', async () => {
    await startWorld();
    let calls = 0;
    world.node(0).scanScript = (request) => {
      calls += 1;
      return calls % 2 === 1 ? scanEntries(request).slice(0, 1) : scanEntries(request);
    };
    expect((await scan()).keys).toEqual(all);
  });

  it.each<[string, Partial<ScanRequest>, string]>([
    ['a malformed cursor', { cursor: Buffer.from('nonsense') }, 'CURSOR_MALFORMED'],
    ['the cursor of another keyspace', { cursor: encodeCursor(cursorTag('other'), { partition: 0, position: { high: 0, low: 0 } }) }, 'CURSOR_MALFORMED'],
    ['the cursor of another partition', { cursor: at(1, 2), partition: 2 }, 'CURSOR_MALFORMED'],
    ['a partition that is not there', { partition: 4 }, 'INVALID_ARGUMENT'],
    ['an unknown keyspace', { keyspace: 'nowhere' }, 'KEYSPACE_NOT_FOUND'],
    ['large batches', { batchEntries: 10_001 }, 'INVALID_ARGUMENT'],
  ])('refuses %s', async (_name, fields, reason) => {
    await startWorld();
    const failure = await scan(fields).catch((error: unknown) => error);
    expect(isAtollError(failure) && failure.reason).toBe(reason);
    expect(world.node(0).scans).toHaveLength(0);
  });

  it('fails with what a node refuses for good', async () => {
    await startWorld();
    world.node(0).scanScript = () => [toServiceError(new AtollError('CURSOR_MALFORMED', 'no'))];
    const failure = await scan().catch((error: unknown) => error);
    expect(isAtollError(failure) && failure.reason).toBe('CURSOR_MALFORMED');
  });
});
