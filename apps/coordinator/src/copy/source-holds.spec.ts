import { credentials } from '@grpc/grpc-js';
import { CopyClient, type HoldSourceRequest } from '@atoll/contracts/atoll/v1/copy';
import { parseKeyspaceSpec, keyspaceKey, parsePartitionRecord, PARTITIONS_PREFIX } from '@atoll/platform-etcd';
import { eventually } from '@atoll/platform-etcd/testing';
import { callUnary } from '@atoll/platform-grpc';
import { DEADLINE, MigrationCluster, failureOf } from '../testing/migration-cluster.ts';
import type { RunningCoordinator } from '../testing/run-coordinator.ts';

const SEED = 20_261_129;

let cluster: MigrationCluster;
let running: RunningCoordinator;
let copy: CopyClient;
let clusterId: string;
beforeEach(async () => {
  cluster = new MigrationCluster(SEED);
  running = await cluster.start();
  copy = new CopyClient(running.address, credentials.createInsecure());
  ({ clusterId } = await callUnary(running.admin, 'getCluster', {}, DEADLINE));
});
afterEach(async () => {
  copy.close();
  await cluster.stop();
});

const spec = () => {
  const parsed = parseKeyspaceSpec(cluster.etcd.get(keyspaceKey('default'))!.value);
  if (parsed.kind === 'malformed') throw new Error(parsed.problem);
  return parsed.value;
};
/** What the records say, each once. */
const frozen = (): (string | undefined)[] => [
  ...new Set(
    cluster.etcd.list(PARTITIONS_PREFIX).map(({ value }) => {
      const parsed = parsePartitionRecord(value);
      return parsed.kind === 'parsed' ? parsed.value.frozen : 'malformed';
    }),
  ),
];
const asked = (fields: Partial<HoldSourceRequest> = {}): HoldSourceRequest => ({ clusterId, keyspace: 'default', keyspaceId: spec().id, toClusterId: 'far', toKeyspace: 'wide', maxPauseMs: 30_000, traceparent: '', ...fields });
const hold = (fields: Partial<HoldSourceRequest> = {}) => callUnary(copy, 'holdSource', asked(fields), DEADLINE);
const settle = (id: string, move: boolean, client = copy) => callUnary(client, 'settleHold', { clusterId, keyspace: 'default', keyspaceId: spec().id, hold: id, move }, DEADLINE);
const untilThawed = () => eventually('writes are taken again', () => frozen().every((one) => one === undefined), 20_000);

describe(`a keyspace that stands still for a cut-over to another cluster (R37, seed ${SEED})`, () => {
  it('is held with a barrier of each partition, by one cluster at a time; given up it takes writes again, and is never moved by that hold', async () => {
    const { hold: id, partitions } = await hold();
    expect(partitions.map(({ partition }) => partition).sort((a, b) => a - b)).toEqual(Array.from({ length: 64 }, (_, partition) => partition));
    expect(partitions[0]).toMatchObject({ barrier: { generation: 1, seq: 7 } });
    expect([frozen(), spec().freeze]).toEqual([[id], undefined]);
    expect(await failureOf(hold())).toMatchObject({ reason: 'MIGRATION_CONFLICT', metadata: { field: 'keyspace' } });
    expect(await failureOf(callUnary(running.admin, 'freezeKeyspace', { name: 'default', note: '' }, DEADLINE))).toMatchObject({ reason: 'MIGRATION_CONFLICT', metadata: { field: 'name' } });
    expect(await settle(id, false)).toEqual({ moved: false, timeMs: 0 });
    await untilThawed();
    expect(await settle(id, true)).toEqual({ moved: false, timeMs: 0 });
    expect(spec().freeze).toBeUndefined();
  });

  it('lapses by itself, also where its leaders do not confirm it or its caller goes away', async () => {
    const { hold: id } = await hold({ maxPauseMs: 300 });
    await untilThawed();
    expect(await settle(id, true)).toEqual({ moved: false, timeMs: 0 });
    for (const node of cluster.nodes.values()) node.confirmsFreezes = false;
    expect(await failureOf(hold({ maxPauseMs: 200 }))).toMatchObject({ reason: 'DEADLINE_EXCEEDED' });
    await untilThawed();
    const leaving = new AbortController();
    const left = failureOf(callUnary(copy, 'holdSource', asked(), { ...DEADLINE, signal: leaving.signal }));
    await eventually('it is held', () => frozen().length === 1 && frozen()[0] !== undefined);
    leaving.abort();
    await left;
    await untilThawed();
  });

  it('is moved once and for all, until an operator reopens it', async () => {
    const { hold: id } = await hold();
    const moved = { moved: true, timeMs: 1063 };
    expect(await settle(id, true)).toEqual(moved);
    const { freeze } = spec();
    expect(freeze).toMatchObject({ note: '', movedTo: { cluster: 'far', keyspace: 'wide', hold: id, timeMs: 1063 } });
    // From the freeze of the hold to the one that lasts, never thawed in between.
    await eventually('the records say what the keyspace says', () => frozen().join() === freeze!.id);
    for (const move of [true, false]) expect(await settle(id, move)).toEqual(moved);
    expect(await failureOf(hold())).toMatchObject({ reason: 'KEYSPACE_MOVED' });
    expect(await failureOf(callUnary(running.admin, 'unfreezeKeyspace', { name: 'default', reopenMoved: false }, DEADLINE))).toMatchObject({ reason: 'KEYSPACE_MOVED', metadata: { moved_to_cluster: 'far', moved_to_keyspace: 'wide' } });
    const second = await cluster.coordinator('c2');
    await running.stop();
    running = second;
    const next = new CopyClient(second.address, credentials.createInsecure());
    const answer = await eventually('the next coordinator knows', () => settle(id, false, next).catch(() => undefined), 20_000);
    expect(answer).toEqual(moved);
    await callUnary(second.admin, 'unfreezeKeyspace', { name: 'default', reopenMoved: true }, DEADLINE);
    expect(frozen()).toEqual([undefined]);
    expect(await settle(id, false, next)).toEqual({ moved: false, timeMs: 0 });
    next.close();
  });

  it('is moved once where the answer of etcd is lost, and never unmoved (R7)', async () => {
    const { hold: id } = await hold({ maxPauseMs: 1000 });
    running.store.loseNextAnswer();
    expect(await settle(id, true)).toEqual({ moved: true, timeMs: 1063 });
    const { freeze } = spec();
    await eventually('the records say so', () => frozen().join() === freeze!.id);
    expect(spec().freeze).toEqual(freeze);
  });

  it('takes writes again under another coordinator, which moves nothing that it did not hold', async () => {
    const { hold: id } = await hold();
    const second = await cluster.coordinator('c2');
    await running.stop();
    await untilThawed();
    const next = new CopyClient(second.address, credentials.createInsecure());
    expect(await settle(id, true, next)).toEqual({ moved: false, timeMs: 0 });
    expect(spec().freeze).toBeUndefined();
    next.close();
  });

  it('that is frozen by an operator is not held, and stays frozen under another coordinator', async () => {
    await callUnary(running.admin, 'freezeKeyspace', { name: 'default', note: 'why' }, DEADLINE);
    expect(frozen()).toEqual([spec().freeze!.id]);
    expect(await failureOf(hold())).toMatchObject({ reason: 'KEYSPACE_FROZEN' });
    const second = await cluster.coordinator('c2');
    await running.stop();
    await eventually('the next one is elected', () => callUnary(second.admin, 'listKeyspaces', {}, DEADLINE).catch(() => undefined), 20_000);
    expect((await callUnary(second.admin, 'freezeKeyspace', { name: 'default', note: 'again' }, DEADLINE)).keyspace!.freeze).toMatchObject({ note: 'why' });
    expect(frozen()).toEqual([spec().freeze!.id]);
    await callUnary(second.admin, 'unfreezeKeyspace', { name: 'default', reopenMoved: false }, DEADLINE);
    expect(frozen()).toEqual([undefined]);
  });

  it.each<{ title: string; fields: Partial<HoldSourceRequest>; reason: string }>([
    { title: 'another cluster', fields: { clusterId: 'other' }, reason: 'WRONG_CLUSTER' },
    { title: 'a keyspace that was made again', fields: { keyspaceId: 'older' }, reason: 'KEYSPACE_NOT_FOUND' },
    { title: 'a pause that is too short', fields: { maxPauseMs: 99 }, reason: 'INVALID_ARGUMENT' },
    { title: 'a pause that is too long', fields: { maxPauseMs: 60_001 }, reason: 'INVALID_ARGUMENT' },
    { title: 'nowhere', fields: { toClusterId: '' }, reason: 'INVALID_ARGUMENT' },
  ])('is not held for $title: $reason', async ({ fields, reason }) => {
    expect((await failureOf(hold(fields)))?.reason).toBe(reason);
    expect(frozen()).toEqual([undefined]);
  });
});
