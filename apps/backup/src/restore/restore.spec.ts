import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { credentials } from '@grpc/grpc-js';
import { ArchiveService, type MergeEntriesRequest, type MergeEntriesResponse } from '@atoll/contracts/atoll/v1/archive';
import type { RestoreBackupRequest } from '@atoll/contracts/atoll/v1/backup';
import { CopyClient, CopyService, FollowSourceResponse, type FollowSourceRequest } from '@atoll/contracts/atoll/v1/copy';
import type { ChunkRef } from '@atoll/core-archive';
import { AtollError, type ErrorReason } from '@atoll/core-errors';
import { createKeyspaceSpec, type KeyspaceSpec } from '@atoll/core-membership';
import { partitionOfToken, sourcePartitionsOf, tokenOfKey } from '@atoll/core-placement';
import { compareHash, keyHash } from '@atoll/core-runtime';
import { decodeRows, evaluateWrite, type CurrentEntry } from '@atoll/core-store';
import { formatAddress } from '@atoll/platform-config';
import { encodeKeyspaceSpec, encodeNodeRecord, encodePartitionRecord, ensureClusterId, keyspaceKey, nodeKey, openClusterView, partitionKey, type ClusterView } from '@atoll/platform-etcd';
import { InMemoryMetadataStore, sampleNode, samplePartition } from '@atoll/platform-etcd/testing';
import { ByteRate, callUnary, createGrpcServer, readEncodedStream } from '@atoll/platform-grpc';
import { Repository, nodeArchiveCodec, openFileObjectStore } from '@atoll/platform-repository';
import { writeArchive, type WrittenEntry } from '@atoll/platform-repository/testing';
import { createLogger, startTelemetry } from '@atoll/platform-telemetry';
import { toMergeOutcomeByte } from '@atoll/platform-wire';
import { NodeClients } from '../cold/node-clients.ts';
import type { JobRun } from '../jobs/job-kind.ts';
import { planOf, readChain } from './archive-chain.ts';
import { ArchiveSource } from './archive-source.ts';
import { ArchiveSources, copyDefinition, copyHandlers } from './archive-sources.ts';
import { ChunkCache } from './chunk-cache.ts';
import { KeyspaceMerge } from './merge/keyspace-merge.ts';
import { MergeLeaders } from './merge/merge-leaders.ts';
import { MergeProgress } from './merge/merge-progress.ts';
import { requireWritable } from './merge/merge-target.ts';
import type { RestoreFence } from './merge/restore-fence.ts';
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

const request = (fields: Partial<FollowSourceRequest> = {}): FollowSourceRequest => ({ clusterId: 'archive-job.0', keyspace: 'restore-x-0', keyspaceId: 'job.0', partition: 0, targetPartition: 0, targetPartitionCount: PARTITIONS, origin: undefined, tokenFrom: 0n, tokenTo: 0n, held: undefined, targetClusterId: '', targetKeyspaceId: '', targetTimeMs: 0, ...fields });

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

  it('leaves out of comparisons what has expired by the time of the copy, where the clock of the service is behind it (R23)', async () => {
    const source = await sourceOf();
    const messages = await follow(source, { targetTimeMs: CUT_MS + 3_600_000 + 1 }, CUT_MS);
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
    await source.measure(new AbortController().signal);
    expect(source.sizes().reduce((sum, { entries: count }) => sum + count, 0)).toBe(all.length);
    expect(source.sizes()[0]!.bytes).toBeLessThan(source.sizesMax()[0]!.bytes);
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

/** The leader of every partition of a keyspace, which holds what a map holds. */
class RawLeader {
  readonly entries = new Map<string, CurrentEntry>();
  /** What requests fail with before any entry, one after the other; then in the middle of them. */
  readonly failures: ErrorReason[] = [];
  readonly halves: ErrorReason[] = [];
  readonly requests: MergeEntriesRequest[] = [];
  /** Highest that was seen. */
  token = 0;

  merge(asked: MergeEntriesRequest): MergeEntriesResponse {
    this.requests.push(asked);
    const { rows, generation, fencingToken, dryRun } = asked;
    const failure = this.failures.shift();
    if (failure !== undefined) throw new AtollError(failure, 'as the spec wants');
    if (fencingToken < this.token) return { outcomes: Buffer.alloc(decodeRows(rows).length), reason: 'STALE_FENCING_TOKEN', problem: 'a later one came' };
    this.token = fencingToken;
    const half = this.halves.shift();
    const all = decodeRows(rows);
    const outcomes = all.map(({ key, value, expiresAtMs, version }, index) => {
      if (half !== undefined && index >= all.length / 2) return 0;
      const evaluation = evaluateWrite({ kind: 'merge', value, expiresAtMs, version: generation && version }, this.entries.get(key.toString()), CUT_MS);
      if (evaluation.kind === 'mutation' && evaluation.mutation.kind === 'put' && !dryRun) this.entries.set(key.toString(), { value, expiresAtMs, version: { generation: 1, epoch: 9, seq: this.requests.length } });
      return evaluation.kind !== 'refused' && evaluation.answer.kind === 'merge' ? toMergeOutcomeByte(evaluation.answer.outcome) : 0;
    });
    return { outcomes: Buffer.from(outcomes), reason: half ?? '', problem: half === undefined ? '' : 'as the spec wants' };
  }
}

describe('entries that go into a keyspace that is there and is served (KEEP_NEWER)', () => {
  let leader: RawLeader;
  let view: ClusterView;
  let stops: (() => Promise<unknown>)[];
  let waits: string[];
  beforeEach(async () => {
    leader = new RawLeader();
    waits = [];
    const telemetry = await startTelemetry({ service: 'node', instanceId: 'a', version: '0', traceRatio: 0 });
    const grpc = createGrpcServer({ telemetry, logger: createLogger({ service: 'node', instanceId: 'a', level: 'silent', format: 'json' }) });
    const { mergeEntries } = ArchiveService;
    grpc.server.addService({ mergeEntries }, { mergeEntries: grpc.handlers.unary(mergeEntries, async (asked) => leader.merge(asked)) });
    const address = formatAddress(await grpc.listen({ host: '127.0.0.1', port: 0 }));
    const store = new InMemoryMetadataStore();
    await ensureClusterId(store, () => 'c1');
    const spec = createKeyspaceSpec({ name: 'orders', id: 'id-of-orders', partitionCount: 2, replicationFactor: 1 });
    await store.transact([], [
      { kind: 'put', key: keyspaceKey('orders'), value: encodeKeyspaceSpec(spec) },
      { kind: 'put', key: nodeKey('a'), value: encodeNodeRecord(sampleNode('a', { address })) },
      ...[0, 1].map((partition) => ({ kind: 'put', key: partitionKey('orders', partition), value: encodePartitionRecord(samplePartition('orders', partition)) }) as const),
    ]);
    view = await openClusterView(store, { onProblem: (problem) => void waits.push(problem) });
    stops = [() => store.close(), () => telemetry.shutdown(), () => grpc.close(AbortSignal.timeout(1000)), () => view.close()];
  });
  afterEach(async () => {
    for (const stop of stops.reverse()) await stop();
  });

  /** A run of the job; `cancelled` ends it. */
  async function merging(fields: { readonly isArchived?: boolean; readonly keyspaceId?: string; readonly cancelled?: AbortController; readonly source?: ArchiveSource } = {}): Promise<{ merge: KeyspaceMerge; leaders: MergeLeaders; clients: NodeClients }> {
    const { isArchived = true, keyspaceId = 'id-of-orders', cancelled = new AbortController(), source = await sourceOf() } = fields;
    const run = { duty: { view }, signal: cancelled.signal, waitsFor: (problem: string) => void (problem !== '' && waits.push(problem)) } as unknown as JobRun;
    const clients = new NodeClients();
    stops.push(async () => clients.close());
    let token = 10;
    const fence = { get token() { return token; }, renew: async () => void (token += 10) } as unknown as RestoreFence;
    const leaders = new MergeLeaders({ run, target: { keyspace: 'orders', keyspaceId, partitionCount: 2 }, clients, fence });
    return { merge: new KeyspaceMerge({ run, source, leaders, partitionCount: 2, isArchived, rate: new ByteRate(0, 0) }), leaders, clients };
  }

  const put = (key: string, seq: number): void => void leader.entries.set(key, { value: Buffer.from('since'), expiresAtMs: 0, version: { generation: 1, epoch: 1, seq } });
  const shownOf = (): string[] => [...leader.entries].map(([key, { value, expiresAtMs }]) => `${key} ${Buffer.from(value).toString()} ${expiresAtMs}`).sort();

  it('are all written where nothing is there, older ones replaced and newer ones kept by their versions, with every count', async () => {
    put('item:1', 1_000_000);
    put('item:2', 1);
    const progress = new MergeProgress(PARTITIONS);
    const { merge, leaders } = await merging();
    let bytes = 0;
    await merge.run(progress, (moved) => (bytes += moved));
    expect(progress.counts).toEqual({ written: living.length - 1, kept: 1, same: 0, expired: entries.length - living.length });
    expect([progress.done, progress.total, progress.notes.open]).toEqual([PARTITIONS, PARTITIONS, []]);
    expect(bytes).toBe(living.reduce((sum, { key, value }) => sum + key.length + value.length, 0));
    expect(shownOf()).toEqual([...shown(living.filter(({ key }) => key !== 'item:1')), 'item:1 since 0'].sort());
    await leaders.close();
    expect(leader.requests.slice(-2)).toMatchObject([{ rows: Buffer.alloc(0) }, { rows: Buffer.alloc(0) }]);
    // Once more: nothing changes.
    const again = new MergeProgress(PARTITIONS);
    await (await merging()).merge.run(again, () => undefined);
    expect(again.counts).toEqual({ written: 0, kept: 1, same: living.length - 1, expired: entries.length - living.length });
  });

  it('of a keyspace that is not the one that was archived, whatever is there stays (R3); a prefix alone, where that is asked for', async () => {
    put('user:5', 1);
    const progress = new MergeProgress(PARTITIONS);
    await (await merging({ isArchived: false, source: await sourceOf({ prefix: 'user:' }) })).merge.run(progress, () => undefined);
    const users = living.filter(({ key }) => key.startsWith('user:'));
    expect(progress.counts).toMatchObject({ written: users.length - 1, kept: 1 });
    expect(leader.entries.size).toBe(users.length);
    expect(leader.requests.every(({ generation }) => generation === undefined)).toBe(true);
  });

  it('wait for leaders that are overloaded or change, repeat what was not decided, and get another token where a lock of a client has outdated theirs', async () => {
    leader.failures.push('OVERLOADED', 'NOT_LEADER', 'REPLICA_UNKNOWN');
    leader.halves.push('OVERLOADED', 'WRITE_IN_DOUBT');
    leader.token = 25;
    const progress = new MergeProgress(PARTITIONS);
    await (await merging()).merge.run(progress, () => undefined);
    expect(progress.counts).toMatchObject({ written: living.length, kept: 0, same: 0 });
    expect(waits).toEqual(expect.arrayContaining([expect.stringContaining('as the spec wants')]));
    expect(leader.requests.at(-1)!.fencingToken).toBeGreaterThanOrEqual(30);
  });

  it.each(['KEYSPACE_FROZEN', 'MEMORY_EXHAUSTED', 'KEYSPACE_COPYING'] as const)('end with %s, and say in which partition', async (reason) => {
    leader.halves.push(reason, reason, reason, reason);
    await expect((await merging()).merge.run(new MergeProgress(PARTITIONS), () => undefined)).rejects.toMatchObject({ reason, message: expect.stringMatching(/^orders\/[01]: /) });
  });

  it('do not go into a keyspace that was made again under the name', async () => {
    await expect((await merging({ keyspaceId: 'before' })).merge.run(new MergeProgress(PARTITIONS), () => undefined)).rejects.toMatchObject({ reason: 'KEYSPACE_NOT_FOUND' });
    expect(leader.requests).toEqual([]);
    // Nothing can come in late there.
    await (await merging({ keyspaceId: 'before' })).leaders.close();
  });

  it('go on where they were when a run was ended in the middle, and what it would take was measured without writing', async () => {
    const cancelled = new AbortController();
    const { merge } = await merging({ cancelled });
    const progress = new MergeProgress(PARTITIONS);
    expect(await merge.lackingBytes()).toBe(living.reduce((sum, { key, value }) => sum + key.length + value.length + 128, 0));
    expect(leader.entries.size).toBe(0);
    const measured = leader.requests.length;
    await expect(merge.run(progress, () => cancelled.abort(new AtollError('CANCELLED', 'it was cancelled')))).rejects.toMatchObject({ reason: 'CANCELLED' });
    const written = leader.entries.size;
    expect(written).toBeGreaterThan(0);
    const notes = JSON.parse(JSON.stringify(progress.notes));
    const next = new MergeProgress(PARTITIONS, notes);
    await (await merging()).merge.run(next, () => undefined);
    expect(shownOf()).toEqual(shown(living));
    const { counts } = next;
    expect(counts.written + counts.same + counts.expired).toBe(entries.length);
    // What was done is not read again.
    const asked = (some: readonly MergeEntriesRequest[]): number => some.reduce((sum, { rows }) => sum + decodeRows(rows).length, 0);
    expect(asked(leader.requests.slice(measured))).toBeLessThan(2 * living.length);
  });

  it.each<[string, Partial<KeyspaceSpec>, string]>([
    ['a copy or a standby', { copyOf: { job: 'j', keyspace: 'far', keyspaceId: 'f', isPaused: false } }, 'KEYSPACE_COPYING'],
    ['frozen', { freeze: { id: 'f', sinceMs: 1, note: 'by hand' } }, 'KEYSPACE_FROZEN'],
    ['moved to another cluster', { freeze: { id: 'f', sinceMs: 1, note: '', movedTo: { cluster: 'c2', keyspace: 'orders', hold: 'h', timeMs: 1 } } }, 'KEYSPACE_MOVED'],
    ['about to be deleted', { movedTo: 'orders-2' }, 'KEYSPACE_NOT_FOUND'],
  ])('are refused by a keyspace that is %s', (_, fields, reason) => {
    const spec = { ...createKeyspaceSpec({ name: 'orders', id: 'o', partitionCount: 1 }), ...fields };
    expect(() => requireWritable(spec)).toThrow(expect.objectContaining({ reason, message: expect.stringContaining('keyspace orders') }));
  });
});

describe('how far a merge is', () => {
  it('fits into a record however many partitions there are, and comes out of it as it was', () => {
    const progress = new MergeProgress(4096);
    for (let index = 0; index < 4000; index += 1) {
      const piece = progress.take()!;
      progress.advance(piece.index, index < 3996 ? undefined : { high: index, low: 7 }, { written: 1000, same: 2 });
    }
    const text = JSON.stringify(progress.notes);
    expect(text.length).toBeLessThan(300);
    const next = new MergeProgress(4096, JSON.parse(text));
    expect([next.done, next.counts]).toEqual([3996, { written: 4_000_000, kept: 0, same: 8000, expired: 0 }]);
    expect([next.take(), next.take(), next.take(), next.take(), next.take()]).toEqual([...[3996, 3997, 3998, 3999].map((index) => ({ index, from: { high: index, low: 7 } })), { index: 4000, from: { high: 0, low: 0 } }]);
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
    ['partition_count', { policy: 3, partitionCount: 8 }],
    ['replication_factor', { policy: 3, replicationFactor: 2 }],
    ['min_in_sync', { policy: 3, minInSync: 1 }],
  ])('is refused by the name of the field %s', (field, fields) => {
    expect(() => toRestoreAsk({ ...asked, ...fields })).toThrow(expect.objectContaining({ reason: 'INVALID_ARGUMENT', metadata: expect.objectContaining({ field }) }));
  });
});
