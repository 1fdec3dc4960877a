import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { credentials } from '@grpc/grpc-js';
import type { RestoreBackupRequest } from '@atoll/contracts/atoll/v1/backup';
import { CopyClient, CopyService, FollowSourceResponse, type FollowSourceRequest } from '@atoll/contracts/atoll/v1/copy';
import type { ChunkRef } from '@atoll/core-archive';
import { partitionOfToken, sourcePartitionsOf, tokenOfKey } from '@atoll/core-placement';
import { compareHash, keyHash } from '@atoll/core-runtime';
import { formatAddress } from '@atoll/platform-config';
import { callUnary, createGrpcServer, readEncodedStream } from '@atoll/platform-grpc';
import { Repository, nodeArchiveCodec, openFileObjectStore } from '@atoll/platform-repository';
import { writeArchive, type WrittenEntry } from '@atoll/platform-repository/testing';
import { createLogger, startTelemetry } from '@atoll/platform-telemetry';
import { planOf, readChain } from './archive-chain.ts';
import { ArchiveSource } from './archive-source.ts';
import { ArchiveSources, copyDefinition, copyHandlers } from './archive-sources.ts';
import { ChunkCache } from './chunk-cache.ts';
import { toRestoreAsk } from './restore-ask.ts';

const CUT_MS = 1_790_000_000_000;
const PARTITIONS = 4;

const entries: WrittenEntry[] = Array.from({ length: 400 }, (_, index) => ({
  key: `${index % 5 === 0 ? 'user' : 'item'}:${index}`,
  value: Buffer.alloc(index % 7 === 0 ? 2000 : 10, `v${index}`),
  // Some are gone at the cut, some go behind it.
  expiresAtMs: index % 10 === 0 ? CUT_MS - 1 : index % 10 === 1 ? CUT_MS + 3_600_000 : 0,
}));
const living = entries.filter(({ expiresAtMs = 0 }) => expiresAtMs === 0 || expiresAtMs > CUT_MS);

let directory: string;
let repository: Repository;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'atoll-restore-'));
  repository = await Repository.open({ store: await openFileObjectStore(directory), codec: nodeArchiveCodec }, { newId: 'r', nowMs: 0 });
  await writeArchive(repository, { id: 'full', keyspaces: [{ name: 'orders', partitionCount: PARTITIONS, settings: { replicationFactor: 3, defaultTtlMs: 5000 }, entries }], atMs: CUT_MS, entriesPerChunk: 20 });
});
afterAll(() => rm(directory, { recursive: true, force: true }));

const ASK = { archive: 'full', exact: false };

async function sourceOf(fields: { readonly prefix?: string; readonly read?: (chunk: ChunkRef) => Promise<Buffer> } = {}): Promise<ArchiveSource> {
  const chain = await readChain(repository, ASK);
  const { prefix = '', read = async (chunk) => (await repository.readChunk(chunk)).plain } = fields;
  const cache = new ChunkCache({ bytesMax: 2 ** 20, read });
  return new ArchiveSource({
    id: 'job.0',
    name: 'restore-x-0',
    title: 'full/orders',
    archived: chain.manifests[0]!.keyspaces[0]!,
    plan: planOf(repository, chain, ASK, 'orders'),
    prefix: Buffer.from(prefix),
    read: ({ chunk }, next) => cache.take(chunk, next?.chunk),
  });
}

const request = (fields: Partial<FollowSourceRequest> = {}): FollowSourceRequest => ({ clusterId: 'archive-job.0', keyspace: 'restore-x-0', keyspaceId: 'job.0', partition: 0, targetPartition: 0, targetPartitionCount: PARTITIONS, origin: undefined, tokenFrom: 0n, tokenTo: 0n, held: undefined, targetClusterId: '', targetKeyspaceId: '', ...fields });

async function follow(source: ArchiveSource, asked: Partial<FollowSourceRequest>, nowMs = CUT_MS): Promise<FollowSourceResponse[]> {
  const messages: FollowSourceResponse[] = [];
  for await (const message of source.follow(request(asked), () => nowMs)) messages.push(message);
  return messages;
}

const changesOf = (messages: readonly FollowSourceResponse[]): string[] => messages.flatMap(({ changes }) => changes.map(({ key, value, expiresAtMs }) => `${key.toString()} ${value!.toString()} ${expiresAtMs}`)).sort();
const shown = (some: readonly WrittenEntry[]): string[] => some.map(({ key, value, expiresAtMs = 0 }) => `${key} ${value.toString()} ${expiresAtMs}`).sort();
const inPartition = (partition: number, count: number) => ({ key }: WrittenEntry): boolean => partitionOfToken(tokenOfKey(Buffer.from(key)), count) === partition;

describe('an archive as a source of a copy', () => {
  it.each([1, 4, 16])('of %i partitions gives each of them its keys, but for those that had expired at the cut (I7), and is compared all through', async (count) => {
    const source = await sourceOf();
    let compared = 0;
    for (let target = 0; target < count; target += 1) {
      const messages: FollowSourceResponse[] = [];
      for (const partition of sourcePartitionsOf(target, { sourceCount: PARTITIONS, targetCount: count, tokens: undefined })) messages.push(...(await follow(source, { partition, targetPartition: target, targetPartitionCount: count })));
      expect(changesOf(messages)).toEqual(shown(living.filter(inPartition(target, count))));
      compared += messages.reduce((sum, { check }) => sum + check!.entries, 0);
      expect(messages.at(-1)).toMatchObject({ nextHigh: undefined, nextLow: undefined, restart: '', stampMs: CUT_MS, headStampMs: CUT_MS });
      expect(messages.at(-1)!.check).toMatchObject({ toHigh: undefined });
    }
    expect(compared).toBe(living.length);
    expect(source.sentEntries).toBe(living.length);
  });

  it('goes on from the next hash that a reader names, and then compares all of it (R33, R37)', async () => {
    const source = await sourceOf();
    const [first] = source.frozen();
    const next = { high: 2 ** 31, low: 0 };
    const messages = await follow(source, { origin: first!.barrier, nextHigh: next.high, nextLow: next.low });
    const own = living.filter(inPartition(0, PARTITIONS));
    expect(changesOf(messages)).toEqual(shown(own.filter(({ key }) => compareHash(keyHash(Buffer.from(key)), next) >= 0)));
    expect(messages.reduce((sum, { check }) => sum + (check?.entries ?? 0), 0)).toBe(own.length);
    // One that has everything is compared alone; one from another archive begins anew.
    expect(changesOf(await follow(source, { origin: first!.barrier }))).toEqual([]);
    expect(await follow(source, { origin: { ...first!.barrier!, seq: 7 } })).toMatchObject([{ restart: 'WATCH_RESET' }]);
  });

  it('leaves out of comparisons what expires within the next minute: the copy removes it by its own time (R23)', async () => {
    const source = await sourceOf();
    const messages = await follow(source, {}, CUT_MS + 3_600_000 - 30_000);
    const own = living.filter(inPartition(0, PARTITIONS));
    expect(changesOf(messages)).toEqual(shown(own));
    expect(messages.reduce((sum, { check }) => sum + check!.entries, 0)).toBe(own.filter(({ expiresAtMs = 0 }) => expiresAtMs === 0).length);
  });

  it('has the keys with a prefix alone where that is asked for', async () => {
    const source = await sourceOf({ prefix: 'user:' });
    const all: string[] = [];
    for (let partition = 0; partition < PARTITIONS; partition += 1) all.push(...changesOf(await follow(source, { partition, targetPartition: partition })));
    expect(all.sort()).toEqual(shown(living.filter(({ key }) => key.startsWith('user:'))));
    expect(source.sizes()).toEqual([]);
  });

  it('answers as a router of another cluster would, and stands still when it is asked to', async () => {
    const telemetry = await startTelemetry({ service: 'backup', instanceId: 'b', version: '0', traceRatio: 0 });
    const grpc = createGrpcServer({ telemetry, logger: createLogger({ service: 'backup', instanceId: 'b', level: 'silent', format: 'json' }) });
    const sources = new ArchiveSources();
    grpc.server.addService(copyDefinition, copyHandlers(sources, grpc));
    const address = await grpc.listen({ host: '127.0.0.1', port: 0 });
    const client = new CopyClient(formatAddress(address), credentials.createInsecure());
    const deadline = { deadlineMs: 5000 };
    try {
      await expect(callUnary(client, 'describeSource', { keyspace: 'restore-x-0' }, deadline)).rejects.toMatchObject({ reason: 'KEYSPACE_NOT_FOUND' });
      const source = await sourceOf();
      sources.offer(source);
      const described = await callUnary(client, 'describeSource', { keyspace: 'restore-x-0' }, deadline);
      expect(described).toMatchObject({ clusterId: 'archive-job.0', keyspaceId: 'job.0', archive: 'full/orders', keyspace: { name: 'restore-x-0', partitionCount: PARTITIONS, replicationFactor: 3, defaultTtlMs: 5000 } });
      expect(described.partitions).toHaveLength(PARTITIONS);
      expect(described.partitions[0]!.bytes).toBeGreaterThan(1000);
      const place = { clusterId: 'archive-job.0', keyspace: 'restore-x-0', keyspaceId: 'job.0' };
      const held = await callUnary(client, 'holdSource', { ...place, toClusterId: 'c', toKeyspace: 't', maxPauseMs: 1000, traceparent: '' }, deadline);
      expect(held.partitions).toMatchObject(Array.from({ length: PARTITIONS }, (_, partition) => ({ partition, timeMs: CUT_MS, barrier: { generation: 1, epoch: 1, seq: 401 } })));
      await expect(callUnary(client, 'settleHold', { ...place, hold: held.hold, move: true }, deadline)).resolves.toEqual({ moved: true, timeMs: CUT_MS });
      await expect(callUnary(client, 'settleHold', { ...place, clusterId: 'other', hold: '', move: true }, deadline)).rejects.toMatchObject({ reason: 'WRONG_CLUSTER' });
      // The stream goes on with signs of life, until the restore is over.
      const abort = new AbortController();
      const read = async (): Promise<void> => {
        let quiet = 0;
        for await (const bytes of readEncodedStream(client, CopyService.followSource, request(), { signal: abort.signal })) {
          const { changes, nextHigh } = FollowSourceResponse.decode(bytes);
          quiet += changes.length === 0 && nextHigh === undefined ? 1 : 0;
          if (quiet === 2) sources.withdraw(source);
        }
      };
      await expect(read()).rejects.toMatchObject({ reason: 'KEYSPACE_NOT_FOUND' });
    } finally {
      client.close();
      await grpc.close(AbortSignal.timeout(1000));
      await telemetry.shutdown();
    }
  });
});

describe('chunks that are read for a restore', () => {
  const chunk = (id: string, plainBytes = 10): ChunkRef => ({ id, kind: 'ROWS', storedBytes: plainBytes, plainBytes, entries: 1, deletes: 0 });

  it('are read once for all that ask at about the same time, ahead where there is room, and kept within the bound', async () => {
    const reads: string[] = [];
    const cache = new ChunkCache({ bytesMax: 25, read: async ({ id, plainBytes }) => (reads.push(id), Buffer.alloc(plainBytes, id)) });
    await Promise.all([cache.take(chunk('a'), chunk('b')), cache.take(chunk('a')), cache.take(chunk('b'))]);
    expect(reads).toEqual(['a', 'b']);
    // No room to read ahead.
    await cache.take(chunk('c'), chunk('d'));
    await cache.take(chunk('b'));
    expect(reads).toEqual(['a', 'b', 'c']);
    expect(cache.bytes).toBe(20);
    expect((await cache.take(chunk('huge', 100))).length).toBe(100);
    expect(cache.bytes).toBeLessThanOrEqual(25);
  });

  it('that fail are read anew by who asks next', async () => {
    let tries = 0;
    const cache = new ChunkCache({ bytesMax: 100, read: () => ((tries += 1) === 1 ? Promise.reject(new Error('away')) : Promise.resolve(Buffer.alloc(1))) });
    await expect(cache.take(chunk('a'))).rejects.toThrow('away');
    await expect(cache.take(chunk('a'))).resolves.toHaveLength(1);
    expect(cache.bytes).toBe(10);
  });
});

describe('what a restore is asked for', () => {
  const asked = { id: '', archive: 'full', keyspaces: ['orders'], target: '', prefix: Buffer.alloc(0), exact: false, partitionCount: 0, replicationFactor: 0, minInSync: 0, policy: 0 as const, bytesPerSecond: 0 };
  it.each<[string, Partial<RestoreBackupRequest>]>([
    ['archive', { archive: '' }],
    ['archive', { archive: 'No' }],
    ['keyspaces', { keyspaces: ['a', 'a'] }],
    ['target', { target: 'other', keyspaces: [] }],
    ['target', { target: 'Other' }],
    ['prefix', { prefix: Buffer.alloc(2000) }],
    ['exact', { exact: true }],
    ['at_ms', { atMs: -1 }],
    ['partition_count', { partitionCount: 3 }],
    ['replication_factor', { replicationFactor: 9 }],
    ['policy', { policy: 77 as never }],
    ['policy', { policy: 2, prefix: Buffer.from('a') }],
  ])('is refused by the name of the field %s', (field, fields) => {
    expect(() => toRestoreAsk({ ...asked, ...fields })).toThrow(expect.objectContaining({ reason: 'INVALID_ARGUMENT', metadata: expect.objectContaining({ field }) }));
  });
});
