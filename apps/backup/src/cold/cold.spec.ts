// Backups of partitions that a raw node serves, in a repository whose calls fail as the spec wants: what becomes of the job.
import { setImmediate as nextTurn } from 'node:timers/promises';
import { ArchiveService, type ArchivePlace, type ArchiveServer, type ReadPartitionResponse } from '@atoll/contracts/atoll/v1/archive';
import type { Manifest } from '@atoll/core-archive';
import { AtollError, type ErrorReason } from '@atoll/core-errors';
import { createKeyspaceSpec, type KeyspaceSpec } from '@atoll/core-membership';
import { ReplicaState, beginOfArchive, readForArchive, type LogOperation, type LogPosition } from '@atoll/core-replication';
import { SeededRandom, hashOfHalves, keyHash, toNodeId, toPartitionId, toReplicaId } from '@atoll/core-runtime';
import { FIRST_HASH, PartitionStore, StoreMemory, encodeRows } from '@atoll/core-store';
import { formatAddress } from '@atoll/platform-config';
import { encodeKeyspaceSpec, encodeNodeRecord, encodePartitionRecord, ensureClusterId, keyspaceKey, nodeKey, openClusterView, partitionKey, type ClusterView } from '@atoll/platform-etcd';
import { InMemoryMetadataStore, sampleNode, samplePartition } from '@atoll/platform-etcd/testing';
import { createGrpcServer } from '@atoll/platform-grpc';
import { Repository, listSessions, nodeArchiveCodec, removeArchives } from '@atoll/platform-repository';
import { InMemoryObjectStore, InMemoryObjects } from '@atoll/platform-repository/testing';
import { createLogger, startTelemetry } from '@atoll/platform-telemetry';
import { newestOf } from '../drill/drill-job.ts';
import { KnownRepository } from '../repository/known-repository.ts';
import { RepositoryAccess } from '../repository/repository-access.ts';
import { UnreadableManifests, type UnreadableManifest } from '../repository/unreadable-manifests.ts';
import { readChain } from '../restore/archive-chain.ts';
import type { JobOutcome, JobRun } from '../jobs/job-kind.ts';
import { JobMeter } from '../jobs/job-meter.ts';
import { newJob, type JobNotes } from '../jobs/job-record.ts';
import type { BackupAsk } from './backup-ask.ts';
import { BackupJobKind } from './backup-job.ts';

const PARTITIONS = 2;
const LIMITS = { logBytesMax: 10_000, slice: { entriesMax: 10, bytesMax: 10_000 } };
const FULL: BackupAsk = { kind: 'FULL', parent: '', bytesPerSecond: 2 ** 40, offline: false };

/** A node that leads all partitions; what it serves is what replicas hold. */
class RawNode {
  readonly states = Array.from({ length: PARTITIONS }, (_, partition) => openState(partition));
  /** What releases say, one after the other; then that the hold stood. */
  readonly releases: string[] = [];
  /** What readings fail with, one after the other. */
  readonly failures: ErrorReason[] = [];
  /** Called before each reading. */
  onRead: (partition: number) => void = () => undefined;
  cuts = 0;
  /** Writes of clients wait. */
  isHolding = false;
  /** The time of its partitions. */
  nowMs = (): number => Date.now();

  append(partition: number, operation: LogOperation): LogPosition {
    const state = this.states[partition]!;
    const seq = state.log.end.seq + 1;
    state.append({ epoch: 1, seq, stampMs: 1000 + seq, opId: undefined, evicted: [], operation }, 'key' in operation ? keyHash(operation.key) : undefined);
    state.commitTo(seq, 0);
    return { epoch: 1, seq };
  }

  put(partition: number, key: string, value = `value of ${key}`): void {
    this.append(partition, { kind: 'put', key: Buffer.from(key), value: Buffer.from(value), expiresAtMs: 0 });
  }

  readonly service: ArchiveServer = {
    holdBarrier: ({ request: { partitions } }, callback) => {
      this.cuts += 1;
      this.isHolding = true;
      callback(null, { partitions: partitions.map(({ partition }) => ({ marker: this.append(partition, { kind: 'marker' }), generation: { ...this.states[partition]!.generation }, stampMs: this.nowMs(), problem: '' })) });
    },
    releaseBarrier: ({ request: { partitions } }, callback) => {
      const problem = this.releases.shift() ?? '';
      this.isHolding = false;
      callback(null, { problems: partitions.map(() => problem) });
    },
    readPartition: () => undefined,
    mergeEntries: () => undefined,
  };

  *read(partition: number, place: ArchivePlace | undefined, upTo: LogPosition | undefined): Generator<ReadPartitionResponse> {
    this.onRead(partition);
    const state = this.states[partition]!;
    const failure = this.failures.shift();
    if (failure !== undefined) throw new AtollError(failure, 'as the spec wants');
    let at = place === undefined ? beginOfArchive(state, FIRST_HASH) : { generation: place.generation!, position: place.position!, next: hashOfHalves(place.nextHigh, place.nextLow) };
    for (;;) {
      const reading = readForArchive(state, at, upTo, LIMITS);
      if (!('place' in reading)) throw new AtollError('SNAPSHOT_GONE', reading.kind);
      at = reading.place;
      const digest = upTo && state.marks.get(upTo);
      yield {
        rows: reading.kind === 'rows' ? encodeRows(reading.entries) : Buffer.alloc(0),
        log: reading.kind === 'log' ? Buffer.from(reading.bytes) : Buffer.alloc(0),
        entries: reading.kind === 'rows' ? reading.entries.length : reading.kind === 'log' ? reading.count : 0,
        place: { generation: { ...at.generation }, position: { ...at.position }, nextHigh: at.next?.high, nextLow: at.next?.low },
        end: reading.kind === 'end',
        stampMs: 4000,
        digest: digest && { entries: digest.count, sumHigh: 0, sumLow: 0 },
        bytesLeft: 0,
      };
      if (reading.kind === 'end') return;
    }
  }
}

function openState(partition: number): ReplicaState {
  const memory = new StoreMemory({ bytesMax: 1e8 });
  const state = new ReplicaState({
    identity: { keyspace: 'k', keyspaceId: 'k-1', partition: toPartitionId(partition), self: { node: toNodeId('a'), replica: toReplicaId('00000000000000aa') } },
    store: new PartitionStore({ account: memory.openAccount('k', 1), random: new SeededRandom(1) }),
    origin: { generation: { counter: 1, id: `g${partition}` }, applied: { epoch: 0, seq: 0 }, installed: true },
    isSync: false,
  });
  return state;
}

describe('a cold backup', () => {
  let stops: (() => Promise<unknown>)[];
  let node: RawNode;
  let view: ClusterView;
  let objects: InMemoryObjects;
  let onStep: (what: string) => Promise<void>;
  let waits: string[];

  beforeEach(async () => {
    stops = [];
    node = new RawNode();
    objects = new InMemoryObjects();
    onStep = async () => undefined;
    waits = [];
    unreadable = [];
    const telemetry = await startTelemetry({ service: 'node', instanceId: 'a', version: '0', traceRatio: 0 });
    const grpc = createGrpcServer({ telemetry, logger: createLogger({ service: 'node', instanceId: 'a', level: 'silent', format: 'json' }) });
    const readPartition = grpc.handlers.serverStream(ArchiveService.readPartition, async (call) => {
      for (const message of node.read(call.request.partition!.partition, call.request.place, call.request.upTo)) call.write(message);
    });
    grpc.server.addService(ArchiveService, { ...node.service, readPartition });
    const address = formatAddress(await grpc.listen({ host: '127.0.0.1', port: 0 }));
    stops.push(() => telemetry.shutdown(), () => grpc.close(AbortSignal.timeout(1000)));
    const store = new InMemoryMetadataStore();
    await ensureClusterId(store, () => 'test');
    const keyspace: KeyspaceSpec = createKeyspaceSpec({ name: 'k', id: 'k-1', partitionCount: PARTITIONS, replicationFactor: 1 });
    await store.transact([], [
      { kind: 'put', key: keyspaceKey('k'), value: encodeKeyspaceSpec(keyspace) },
      { kind: 'put', key: nodeKey('a'), value: encodeNodeRecord(sampleNode('a', { address })) },
      ...node.states.map((_, partition) => ({ kind: 'put', key: partitionKey('k', partition), value: encodePartitionRecord(samplePartition('k', partition)) }) as const),
    ]);
    view = await openClusterView(store, { onProblem: (problem) => void waits.push(problem) });
    stops.push(() => view.close(), () => store.close());
    for (let index = 0; index < 50; index += 1) node.put(index % PARTITIONS, `key-${index}`);
  });
  afterEach(async () => {
    for (const stop of stops.reverse()) await stop();
  });

  let unreadable: UnreadableManifest[];
  const openRepository = (): Promise<Repository> => Repository.open({ store: new InMemoryObjectStore(objects, (what) => onStep(what)), codec: nodeArchiveCodec }, { newId: 'r', nowMs: 0 });

  let tokens = 1;
  async function run(archive: string, { ask = FULL, checkpoint = {}, cancelled = new AbortController(), isHeld = () => true }: { ask?: BackupAsk; checkpoint?: JobNotes; cancelled?: AbortController; isHeld?: () => boolean } = {}): Promise<{ outcome: JobOutcome; checkpoint: JobNotes }> {
    const repository = await openRepository();
    tokens += 1;
    const fencingToken = tokens;
    let number = 0;
    const job: JobRun = {
      job: { ...newJob({ id: `job-${archive}`, kind: 'BACKUP', archive, keyspaces: [], createdMs: 1, traceparent: '', ask: { ...ask } }), checkpoint },
      signal: cancelled.signal,
      meter: new JobMeter(),
      span: undefined,
      duty: {
        view,
        signal: cancelled.signal,
        lock: { fencingToken, comparison: { kind: 'modRevision', key: 'x', equals: 0 }, isHeld, lost: new AbortController().signal, release: async () => undefined },
        repository: async () => repository,
        nextSession: () => ({ clusterId: 'test', fencingToken, number: (number += 1) }),
      },
      enter: async () => undefined,
      checkpoint: async (notes) => {
        (job as { job: JobRun['job'] }).job = { ...job.job, checkpoint: notes };
        return 1;
      },
      leaves: () => undefined,
      waitsFor: (problem) => void waits.push(problem),
    };
    const kind = new BackupJobKind({ access: new RepositoryAccess({ location: { kind: 'directory', path: '/nowhere' }, keys: [], known: new KnownRepository(new InMemoryMetadataStore()), onUnreadable: (found) => void unreadable.push(found) }), defaults: { bytesPerSecond: 2 ** 40, compressionLevel: 1, partitionsAtOnce: 2, barrierHoldMs: 250 } });
    const outcome = await kind.run(job);
    return { outcome, checkpoint: job.job.checkpoint };
  }

  const manifestOf = async (archive: string): Promise<Manifest> => (await openRepository()).readManifest(archive);
  const rangesOf = (manifest: Manifest): Manifest['keyspaces'][number]['ranges'] => manifest.keyspaces[0]!.ranges;
  const written = (): string[] => [...objects.objects.keys()].filter((key) => key.startsWith('chunks/'));

  it('has every entry, ends its session, and says what it came to', async () => {
    const { outcome } = await run('full');
    const manifest = await manifestOf('full');
    expect(rangesOf(manifest).map(({ digest, versions }) => [digest?.entries, versions?.entries])).toEqual([[25, 25], [25, 25]]);
    expect(outcome.result).toMatchObject({ cutAttempts: 1, archive: { entries: 50 } });
    expect(await listSessions(await openRepository())).toEqual([]);
    expect([...objects.objects.keys()].some((key) => key.startsWith('progress/'))).toBe(false);
  });

  it('tries a cut again that did not hold, and says why', async () => {
    node.releases.push('writes have gone on', 'no lease');
    const { outcome } = await run('full');
    expect([node.cuts, outcome.result!['cutAttempts']]).toEqual([3, 3]);
    expect(waits.filter((problem) => problem !== '')).toEqual([expect.stringContaining('writes have gone on'), expect.stringContaining('no lease')]);
  });

  it('bears the time of its partitions where the clock of the service is certainly wrong (R23), so that its date says how old it is', async () => {
    const beforeMs = Date.now();
    await run('by-its-own-clock');
    expect((await manifestOf('by-its-own-clock')).barriers[0]!.atMs).toBeGreaterThanOrEqual(beforeMs);
    for (const aheadMs of [-3_600_000, 365 * 86_400_000]) {
      node.nowMs = () => beforeMs + aheadMs;
      await run(`ahead-${aheadMs > 0}`);
      expect((await manifestOf(`ahead-${aheadMs > 0}`)).barriers[0]!.atMs).toBe(beforeMs + aheadMs);
    }
  });

  it.each(['REPLICA_NOT_READY', 'OVERLOADED', 'PEER_UNAVAILABLE'] as const)('waits for a replica that answers %s', async (reason) => {
    node.failures.push(reason);
    await run('full');
    expect(rangesOf(await manifestOf('full')).map(({ versions }) => versions?.entries)).toEqual([25, 25]);
    expect(waits[0]).toContain('as the spec wants');
  });

  it('waits while the repository is away, and loses nothing of what it had read', async () => {
    let failures = 3;
    onStep = async (what) => {
      if (!what.startsWith('put chunks/') || failures === 0) return;
      failures -= 1;
      throw new AtollError('REPOSITORY_UNAVAILABLE', 'it does not answer');
    };
    await run('full');
    expect(rangesOf(await manifestOf('full')).map(({ chunks }) => chunks.reduce((sum, { entries }) => sum + entries, 0))).toEqual([25, 25]);
    expect(waits).toContain('it does not answer');
  });

  it('asks nothing of the repository, which may be slow, while writes of clients wait for its cut', async () => {
    const asked: string[] = [];
    onStep = async (what) => {
      if (node.isHolding) asked.push(what);
      await nextTurn();
    };
    await run('full');
    expect([node.cuts, asked]).toEqual([1, []]);
  });

  it.each(['REPOSITORY_FULL', 'REPOSITORY_READ_ONLY'] as const)('fails with %s, and ends its session where it can', async (reason) => {
    onStep = async (what) => {
      if (what.startsWith('put chunks/')) throw new AtollError(reason, 'no');
    };
    await expect(run('full')).rejects.toMatchObject({ reason });
    expect(await listSessions(await openRepository())).toEqual([]);
    expect(await (await openRepository()).listManifests()).toEqual([]);
  });

  it('publishes nothing once its lock may be gone', async () => {
    await expect(run('full', { isHeld: () => false })).rejects.toMatchObject({ reason: 'STALE_FENCING_TOKEN' });
    expect(await (await openRepository()).listManifests()).toEqual([]);
  });

  it('that was published, and whose record could not be written, is done when it is taken up', async () => {
    const { checkpoint } = await run('full');
    const chunks = written();
    const { outcome } = await run('full', { checkpoint });
    expect([outcome.summary.startsWith('full: 50 entries'), node.cuts, written()]).toEqual([true, 1, chunks]);
    await expect(run('full')).rejects.toMatchObject({ reason: 'BACKUP_JOB_CONFLICT', metadata: { field: 'archive' } });
  });

  it('an answer to publishing that was lost is settled by what is there', async () => {
    let isLost = false;
    // The look behind the manifest that was created fails once: nothing tells whether it is there.
    onStep = async (what) => {
      if (isLost || !what.startsWith('create archives/full')) return;
      isLost = true;
      throw new AtollError('REPOSITORY_UNAVAILABLE', 'no answer');
    };
    await run('full');
    expect([isLost, rangesOf(await manifestOf('full')).length]).toEqual([true, PARTITIONS]);
  });

  it('an increment has what changed, and all of a partition whose log is gone; one of nothing has no chunk', async () => {
    await run('full');
    node.put(0, 'key-0', 'changed');
    node.append(0, { kind: 'delete', key: Buffer.from('key-2') });
    await run('first', { ask: { ...FULL, kind: 'INCREMENTAL' } });
    const [changed, same] = rangesOf(await manifestOf('first'));
    expect(changed!.chunks).toMatchObject([{ kind: 'ROWS', entries: 1, deletes: 1 }]);
    expect([same!.chunks, same!.after === undefined]).toEqual([[], false]);
    node.put(1, 'late');
    const { log } = node.states[1]!;
    log.trim(log.end.seq, 0);
    const { outcome } = await run('second', { ask: { ...FULL, kind: 'INCREMENTAL' } });
    const manifest = await manifestOf('second');
    expect(manifest.parent).toBe('first');
    expect(rangesOf(manifest).map(({ after, chunks }) => [after === undefined, chunks.length])).toEqual([[false, 0], [true, 1]]);
    expect(outcome.result).toMatchObject({ partitionsWhole: 1 });
    await expect(run('third', { ask: { ...FULL, kind: 'INCREMENTAL', parent: 'none' } })).rejects.toMatchObject({ reason: 'ARCHIVE_NOT_FOUND' });
  });

  it('an archive whose manifest is damaged keeps nobody from going on from another one, nor from restoring it; it is told, and can be removed', async () => {
    await run('good');
    node.put(0, 'key-1000');
    await run('damaged');
    const [key] = [...objects.objects.keys()].filter((each) => each.startsWith('archives/damaged/'));
    objects.objects.get(key!)!.body.write('X', 40);
    const { outcome } = await run('goes-on', { ask: { ...FULL, kind: 'INCREMENTAL' } });
    expect([outcome.summary.split(':')[0], (await manifestOf('goes-on')).parent]).toEqual(['goes-on', 'good']);
    expect(unreadable).toEqual([{ archive: 'damaged', problem: expect.stringContaining('manifest damaged') }]);
    const repository = await openRepository();
    const noted = new UnreadableManifests();
    expect([await newestOf(repository, noted), noted.count]).toEqual(['goes-on', 1]);
    expect(await readChain(repository, { archive: '', atMs: Date.now() + 60_000, exact: false }, noted)).toMatchObject({ archive: 'goes-on' });
    // Nobody knows what it goes on from: others stay as long as it does.
    const by = (number: number) => ({ clusterId: 'test', fencingToken: 99, number });
    await expect(removeArchives(repository, ['goes-on'], by(1))).rejects.toMatchObject({ reason: 'ARCHIVE_DAMAGED' });
    await removeArchives(repository, ['damaged'], by(2));
    expect((await repository.listManifests()).map(({ archive }) => archive)).toEqual(['goes-on', 'good']);
  });

  it('takes another cut where a partition became another one behind the first', async () => {
    let isReplaced = false;
    node.onRead = (partition) => {
      if (node.cuts !== 1 || isReplaced || partition !== 0) return;
      isReplaced = true;
      node.states[0] = openState(0);
      node.states[0].adoptEmpty({ counter: 2, id: 'another' });
      node.put(0, 'only');
    };
    await run('full');
    const [range] = rangesOf(await manifestOf('full'));
    expect([node.cuts, range!.generation, range!.versions?.entries]).toEqual([2, { counter: 2, id: 'another' }, 1]);
  });

  it('is cancelled in the middle, and ends its session', async () => {
    const cancelled = new AbortController();
    node.onRead = () => cancelled.abort(new AtollError('CANCELLED', 'the job was cancelled'));
    await expect(run('full', { cancelled })).rejects.toMatchObject({ reason: 'CANCELLED' });
    expect(await listSessions(await openRepository())).toEqual([]);
  });
});
