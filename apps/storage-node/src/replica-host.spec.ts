import { createKeyspaceSpec, type PartitionRecord, type VersionedRecord } from '@atoll/core-membership';
import { MIB, SeededRandom, keyHash, toEpoch, toNodeId, toPartitionId, toReplicaId } from '@atoll/core-runtime';
import { encodeEntry, encodedBytes, type LogEntry } from '@atoll/core-replication';
import { encodeKeyspaceSpec, encodePartitionRecord, ensureClusterId, keyspaceKey, openClusterView, partitionKey } from '@atoll/platform-etcd';
import { InMemoryMetadataStore, eventually } from '@atoll/platform-etcd/testing';
import { createLogger, startTelemetry } from '@atoll/platform-telemetry';
import { Discards } from './discards/discards.ts';
import { DiskHealth } from './disk-health.ts';
import { StorageNodeEvents } from './events.ts';
import type { HostedReplica } from './hosted-replica.ts';
import { RecordKeeper } from './record-keeper.ts';
import { ReplicaHost } from './replica-host.ts';
import { readMoment } from './turn.ts';
import { WalFixture, checkpointNames, flush } from './wal/testing/wal-fixture.ts';

const SEED = 20_261_007;
const spec = createKeyspaceSpec({ name: 'default', id: 'k1', partitionCount: 1, durability: 'SYNC' });
const leader = { node: toNodeId('leader'), replica: toReplicaId('00000000000000aa') };
const GENERATION = { counter: 1, id: 'g1' };

describe(`replicas and their disk (seed ${SEED})`, () => {
  const fixture = new WalFixture();
  const closers: (() => unknown)[] = [];

  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close();
    await fixture.cleanUp();
  });

  /** A host over a log that wants every replica to be checkpointed at once. */
  async function openHost(directory: string) {
    const opened = await fixture.open(directory, { logBytesMax: 1, segmentBytes: 4096 });
    const store = new InMemoryMetadataStore();
    await ensureClusterId(store, () => 'cluster-1');
    store.etcd.transact([], [{ kind: 'put', key: keyspaceKey(spec.name), value: encodeKeyspaceSpec(spec) }]);
    const logger = createLogger({ service: 's', instanceId: 'b', level: 'silent', format: 'json' });
    const view = await openClusterView(store, { onProblem: (problem) => logger.error(problem) });
    const telemetry = await startTelemetry({ service: 'storage-node', instanceId: 'b', version: '0', traceRatio: 0 });
    const records = new RecordKeeper({ store, logger });
    closers.push(() => store.close(), () => view.close(), () => telemetry.shutdown(), () => records.close(), () => discards.close());
    const events = new StorageNodeEvents({ logger, telemetry });
    const discards = new Discards({ dataDir: undefined, isScarce: () => false, events, logger });
    const host = new ReplicaHost({
      node: toNodeId('b'),
      incarnation: 'b-1',
      memoryBytesMax: 64 * MIB,
      leaseMs: 1000,
      followerAckTimeoutMs: 600,
      rejoinAfterMs: 100,
      uncommittedBytesMax: 66 * MIB,
      logBytesMax: MIB,
      logTotalBytesMax: 64 * MIB,
      random: new SeededRandom(SEED),
      view,
      records,
      wal: opened.wal,
      disk: new DiskHealth(),
      events,
      discards,
      logger,
    });
    return { host, view, store, ...opened };
  }

  /** The record in which the replica is a learner of the leader. */
  function recordWith(hosted: HostedReplica): VersionedRecord {
    const record: PartitionRecord = {
      keyspace: spec.name,
      keyspaceId: spec.id,
      partition: toPartitionId(0),
      state: 'ACTIVE',
      generation: GENERATION,
      epoch: toEpoch(1),
      leader,
      leaderIncarnation: 'leader-1',
      relinquished: false,
      inSync: [leader],
      eligible: [],
      learners: [hosted.replica.state.identity.self],
      leaving: [],
      changeId: 'c',
    };
    return { record, modRevision: 5 };
  }

  function putEntry(seq: number): Buffer {
    const entry: LogEntry = {
      epoch: 1,
      seq,
      stampMs: 1000 + seq,
      opId: undefined,
      evicted: [],
      operation: { kind: 'put', key: Buffer.from(`k${seq}`), value: Buffer.from('v'), expiresAtMs: 0 },
    };
    const bytes = Buffer.alloc(encodedBytes(entry));
    encodeEntry(entry, bytes, 0);
    return bytes;
  }

  /** A learner under a full sync whose log begins behind seq 10. */
  function beginInstall(host: ReplicaHost): HostedReplica {
    const [hosted] = host.ensure(spec, [0]);
    hosted!.replica.onRecord(recordWith(hosted!), readMoment());
    const follower = hosted!.replica.follower!;
    expect(follower.onInstallOrder({ channel: 1, epoch: 1, generation: GENERATION, logStart: { epoch: 1, seq: 10 } })).toBe('ok');
    return hosted!;
  }

  function follow(hosted: HostedReplica, seq: number): void {
    const message = { channel: 1, epoch: 1, prev: { epoch: 1, seq: seq - 1 }, count: 1, entries: putEntry(seq), commitSeq: seq, timeMs: 2000 };
    expect(hosted.replica.follower!.onAppend(message, performance.now())).toBe('ok');
  }

  function lastChunk(hosted: HostedReplica): void {
    const key = Buffer.from('from the snapshot');
    const entry = { key, hash: keyHash(key), value: Buffer.from('v'), version: { generation: 1, epoch: 1, seq: 9 }, expiresAtMs: 0 };
    expect(hosted.replica.follower!.onChunk({ from: { high: 0, low: 0 }, to: undefined, readSeq: 10, entries: [entry] }, 1)).toBe(true);
  }

  it('a replica goes by the record that stands in etcd, never by one that the watch tells of later than it was (R1)', async () => {
    const { host, store } = await openHost(await fixture.directory());
    const hosted = beginInstall(host);
    lastChunk(hosted);
    const { record } = recordWith(hosted);
    const put = (next: PartitionRecord): VersionedRecord => {
      const key = partitionKey(record.keyspace, record.partition);
      store.etcd.transact([], [{ kind: 'put', key, value: encodePartitionRecord(next) }]);
      return { record: next, modRevision: store.etcd.get(key)!.modRevision };
    };
    // 1. this node is cut off from etcd alone: it is struck off, and added again, and in sync by its leader's word
    while (store.etcd.revision <= 5) put(record);
    host.onNews(put(record));
    const struckOff = put({ ...record, learners: [], changeId: 'struck off' });
    const inSync = put({ ...record, learners: [], inSync: [leader, hosted.replica.state.identity.self], changeId: 'in sync' });
    // 2. the watch is back, and begins with what was
    host.onNews(struckOff);
    await eventually('read', () => hosted.replica.record?.modRevision === inSync.modRevision);
    expect([...host.replicas()]).toContain(hosted);
    // 3. now it is really struck off
    host.onNews(put({ ...record, learners: [], changeId: 'struck off again' }));
    await eventually('dropped', () => ![...host.replicas()].includes(hosted));
    expect(hosted.isDropped).toBe(true);
  });

  it('half a full sync is never a checkpoint: the next start must not take it for a whole replica (R33)', async () => {
    const directory = await fixture.directory();
    const { host, wal } = await openHost(directory);
    const hosted = beginInstall(host);
    for (let seq = 11; seq <= 20; seq += 1) follow(hosted, seq);
    await flush(wal);
    expect(wal.replicasToCheckpoint()).toEqual([hosted.replica.state.identity.self.replica]);
    for (let seq = 21; seq <= 40; seq += 1) {
      host.tick(readMoment());
      follow(hosted, seq);
      await flush(wal);
    }
    expect(await checkpointNames(directory)).toEqual([]);
    await wal.close({ clean: true });
    const again = await openHost(directory);
    expect(again.replicas).toHaveLength(1);
    expect(again.replicas[0]!.checkpoint).toBeUndefined();
    expect(await again.host.restore(again.replicas[0]!)).toBe(false);
  });

  it('a full sync counts once its checkpoint is on disk, and comes back whole', async () => {
    const directory = await fixture.directory();
    const { host, wal } = await openHost(directory);
    const hosted = beginInstall(host);
    follow(hosted, 11);
    lastChunk(hosted);
    const { state } = hosted.replica;
    expect([state.hasAllData, state.isInstalled]).toEqual([true, false]);
    await eventually('on disk', () => state.isInstalled);
    follow(hosted, 12);
    await flush(wal);
    await wal.close({ clean: true });
    const again = await openHost(directory);
    expect(await again.host.restore(again.replicas[0]!)).toBe(true);
    const [restored] = again.host.replicas();
    expect(restored!.replica.state).toMatchObject({ isInstalled: true, appliedSeq: 12 });
    expect(restored!.replica.state.store.entryCount).toBe(3);
  });

  it('a full sync that ends while an older checkpoint is being written is saved all the same', async () => {
    const { host } = await openHost(await fixture.directory());
    const hosted = beginInstall(host);
    lastChunk(hosted);
    // The first checkpoint has only begun when the leader orders another full sync, which ends at once.
    expect(hosted.replica.follower!.onInstallOrder({ channel: 1, epoch: 1, generation: GENERATION, logStart: { epoch: 1, seq: 10 } })).toBe('ok');
    lastChunk(hosted);
    await eventually('on disk', () => {
      host.tick({ ...readMoment(), monotonicMs: performance.now() + 10_000 });
      return hosted.replica.state.isInstalled;
    });
    expect(hosted.replica.state.isInstalled).toBe(true);
  });

  it('acknowledges what is flushed, looking at the replicas that wait alone (R25)', async () => {
    const { host, wal } = await openHost(await fixture.directory());
    const acknowledged: number[] = [];
    host.connect(
      { wake: () => undefined, commitMoved: () => undefined, cutOff: () => undefined, cutStrangers: () => undefined },
      { onRole: () => undefined, onDropped: () => undefined, onFlushed: () => undefined, onDurable: ({ replica }) => acknowledged.push(replica.state.appendedSeq) },
      { beforeServing: () => undefined, leaseUntilMs: () => Number.NEGATIVE_INFINITY, fenceUntilMs: () => Number.POSITIVE_INFINITY, hasStopped: () => false, askRemoval: () => undefined, noteOffices: () => undefined, noteRules: () => undefined },
    );
    const hosted = beginInstall(host);
    lastChunk(hosted);
    await eventually('on disk', () => hosted.replica.state.isInstalled);
    acknowledged.length = 0;
    follow(hosted, 11);
    expect(hosted.replica.state.appendedSeq).toBe(10);
    await flush(wal);
    expect(acknowledged).toEqual([11]);
  });
});
