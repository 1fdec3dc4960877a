import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ListRecordsResponse } from '@atoll/contracts/atoll/v1/replication';
import { toEpoch } from '@atoll/core-runtime';
import { RECOVERY_KEY, REGRESSED_KEY, parsePartitionRecord } from '@atoll/platform-etcd';
import { eventually, type InMemoryBackup } from '@atoll/platform-etcd/testing';
import { callServerStream, callUnary } from '@atoll/platform-grpc';
import { DEADLINE, NodeWorld, failureOf, setRequest, type WorldNode } from './testing/node-world.ts';
import { RawCoordinator } from './testing/raw-coordinator.ts';


const SEED = 20_260_914;

describe(`nodes whose etcd goes back (R13, seed ${SEED})`, () => {
  let world: NodeWorld;
  const directories: string[] = [];

  beforeEach(() => {
    world = new NodeWorld(SEED);
  });
  afterEach(async () => {
    await world.stop();
    for (const directory of directories.splice(0)) await rm(directory, { recursive: true, force: true });
  });

  async function onDisk(): Promise<{ env: Record<string, string> }> {
    const directory = await mkdtemp(join(tmpdir(), 'atoll-gone-back-'));
    directories.push(directory);
    return { env: { STORAGE_NODE_DATA_DIR: directory } };
  }

  /** etcd is stopped, an older state put back, and started. */
  function goBackTo(backup: InMemoryBackup, nodes: readonly WorldNode[]): void {
    for (const { store } of nodes) store.goAway();
    world.etcd.restore(backup);
    for (const { store } of nodes) store.comeBack();
  }

  /** As `recover-metadata` does: etcd's revision first, then the record above every epoch, then the word. */
  function recover(above: number, epoch: number): void {
    while (world.etcd.revision <= above) world.etcd.transact([], [{ kind: 'put', key: 'cluster/filler', value: '' }]);
    world.change(() => ({ epoch: toEpoch(epoch) }));
    world.etcd.transact([], [{ kind: 'put', key: RECOVERY_KEY, value: '{}' }, { kind: 'delete', key: REGRESSED_KEY }]);
  }

  const knows = (node: WorldNode): Promise<unknown> => eventually(`${node.id} knows`, async () => (await node.metric('atoll_metadata_regressed')) === 1);

  async function recordsOf(node: WorldNode): Promise<ListRecordsResponse[]> {
    const messages: ListRecordsResponse[] = [];
    for await (const message of callServerStream(node.replication, 'listRecords', { clusterId: await world.clusterId() }, DEADLINE)) messages.push(message);
    return messages;
  }

  it('serve on by what they saw, change nothing, obey nobody, and tell what they remember', async () => {
    const gate = await world.gate();
    const [a, b] = [await world.start('a'), await world.start('b', { gate })];
    const spec = await world.createKeyspace({}, [a, b]);
    const backup = world.etcd.backup();
    await world.promote(b);
    await world.serving(b);
    await b.set('k', 'v1');
    const before = world.record();
    goBackTo(backup, [a, b]);
    await Promise.all([knows(a), knows(b)]);

    expect(a.node.readiness()).toEqual({ ready: true, reasons: [expect.stringContaining('etcd went back')] });
    // etcd names a as the leader of epoch 1: it is not.
    expect(world.record().record.epoch).toBe(1);
    await b.set('k', 'v2');
    expect(await b.text('k')).toBe('v2');
    expect((await failureOf(a.get('k'))).reason).toBe('NOT_LEADER');
    expect((await failureOf(world.ensure(a, spec))).reason).toBe('METADATA_REGRESSED');

    // Whoever is elected in that etcd is answered, whatever its token, and not obeyed.
    const coordinator = new RawCoordinator(b).hello(await world.clusterId(), 3);
    const news = JSON.stringify({ ...before.record, epoch: 9, leader: before.record.inSync[0], changeId: 'x' });
    const report = await coordinator.report({ records: [{ record: news, modRevision: before.modRevision + 100 }] });
    expect(report.metadata?.regressed.join()).toContain("etcd's revision went back");
    expect(report.metadata?.revision).toBeGreaterThanOrEqual(before.modRevision);
    expect(b.replica().replica.leader?.epoch).toBe(2);

    const [head, tail] = await recordsOf(b);
    expect(head!.keyspaces.map((text) => (JSON.parse(text) as { name: string }).name)).toEqual(['default']);
    const [known] = tail!.records;
    expect(parsePartitionRecord(known!.record)).toEqual({ kind: 'parsed', value: before.record });
    expect(known).toMatchObject({ modRevision: before.modRevision, leads: true, epoch: 2, replica: { entries: 1 } });
    expect((await recordsOf(a))[1]!.records[0]).toMatchObject({ leads: false, epoch: 2 });

    // Nobody can be removed: a write that would need it stays in doubt, as with etcd away (R12).
    await a.stop(100);
    expect((await failureOf(callUnary(b.cache, 'set', setRequest('k', 'v3'), { deadlineMs: 1500 }))).reason).toMatch(/WRITE_IN_DOUBT|DEADLINE_EXCEEDED|NOT_ENOUGH_REPLICAS|PARTITION_UNAVAILABLE/);
    expect(world.record()).toMatchObject({ record: { epoch: 1, changeId: 'made' } });

    recover(before.modRevision, 5);
    world.change(() => ({ leader: before.record.leader, leaderIncarnation: before.record.leaderIncarnation, epoch: toEpoch(6) }));
    await world.inSync(['b']);
    await world.serving(b);
    expect(['v2', 'v3']).toContain(await b.text('k'));
    expect(await b.metric('atoll_metadata_regressed')).toBe(0);
    // Tokens count again: that of the coordinator of meanwhile is lower than those of before.
    coordinator.send({});
    expect((await coordinator.ended)?.reason).toBe('STALE_FENCING_TOKEN');
  });

  it('a node that starts again on its disk remembers: it waits, keeps its data, and comes back with it', async () => {
    const disk = await onDisk();
    const a = await world.start('a', disk);
    const empty = world.etcd.backup();
    await world.createKeyspace({ durability: 'SYNC' }, [a]);
    for (let index = 0; index < 10; index += 1) await a.set(`k${index}`, 'v');
    const [held] = await a.held();
    const made = world.etcd.backup();
    const { modRevision } = world.record();
    await a.stop(100);
    // A keyspace of which this etcd knows nothing: its data would go if that were believed.
    world.etcd.restore(empty);
    const again = await world.launch('a', disk);
    await eventually('it says what it waits for', () => again.node.readiness().reasons.join().includes('the recovery of the metadata'));
    expect((await failureOf(again.get('k1'))).reason).toBe('METADATA_UNAVAILABLE');
    world.etcd.transact([], made.keys.filter(({ key }) => key.startsWith('keyspaces/') || key.startsWith('partitions/')).map(({ key, value }) => ({ kind: 'put', key, value })));
    recover(modRevision + 10, 4);
    await eventually('it is ready', () => again.node.readiness().ready);
    await world.promote(again);
    await world.serving(again);
    expect((await again.held())[0]).toMatchObject({ replicaId: held!.replicaId, entries: 10 });
    expect(await again.text('k7')).toBe('v');
  });
});
