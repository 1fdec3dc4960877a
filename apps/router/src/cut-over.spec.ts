// A copy takes the place of its source under the hands of a router (R37).
import { GetRequest, SetRequest, type Operation } from '@atoll/contracts/atoll/v1/cache';
import { isAtollError } from '@atoll/core-errors';
import { createKeyspaceSpec, type KeyspaceRequest } from '@atoll/core-membership';
import { partitionOfToken, tokenOfKey } from '@atoll/core-placement';
import { toEpoch, toNodeId, toPartitionId, toReplicaId } from '@atoll/core-runtime';
import { encodePartitionRecord, partitionKey } from '@atoll/platform-etcd';
import { eventually } from '@atoll/platform-etcd/testing';
import { callUnary } from '@atoll/platform-grpc';
import { RouterWorld } from './testing/router-world.ts';
import { refuse, serve, type Script } from './testing/scripted-node.ts';

const PARTITIONS = 8;
const WIDE = { name: 'wide', id: 'ks2', partitionCount: PARTITIONS } as const;
const COPY_OF = { job: 'c', keyspace: 'default', keyspaceId: 'ks1', isPaused: false };
const CUT_OVER = { job: 'c', id: 'x', fencesBelow: 1, timeMs: 0 };

let world: RouterWorld;
beforeEach(async () => {
  world = await RouterWorld.start();
  const member = { node: toNodeId('b'), replica: toReplicaId('b'.padStart(16, '0')) };
  await put({ copyOf: COPY_OF });
  for (let partition = 0; partition < PARTITIONS; partition += 1) {
    const record = { keyspace: 'wide', keyspaceId: 'ks2', partition: toPartitionId(partition), state: 'ACTIVE' as const, generation: { counter: 1, id: 'g' }, epoch: toEpoch(1), leader: member, leaderIncarnation: 'i1', relinquished: false, inSync: [member], eligible: [], learners: [], leaving: [], changeId: 'c' };
    await world.store.transact([], [{ kind: 'put', key: partitionKey('wide', partition), value: encodePartitionRecord(record) }]);
  }
});
afterEach(() => world.stop());

const put = (fields: Partial<KeyspaceRequest>): Promise<void> => world.putKeyspace(createKeyspaceSpec({ ...WIDE, ...fields }));
/** The copy first, as a router may hear of it, or both. */
const cutOver = async (): Promise<void> => {
  await put({ cutOver: CUT_OVER, aliases: ['default'] });
  await world.putKeyspace(createKeyspaceSpec({ ...world.keyspace, movedTo: 'wide' }));
};
const set = (key: string, keyspace = '') => callUnary(world.client, 'set', SetRequest.create({ key: Buffer.from(key), value: Buffer.from('v'), keyspace }), { deadlineMs: 5000, mayWrite: true });
const get = (key: string, keyspace = '') => callUnary(world.client, 'get', GetRequest.create({ key: Buffer.from(key), keyspace }), { deadlineMs: 5000 });
type Kind = ReturnType<Script>;
const named = (operations: readonly Operation[]): string[] => operations.map(({ kind }) => `${kind!.$case} ${kind!.value.keyspace}`);
const reasonOf = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => 'OK',
    (error: unknown) => (isAtollError(error) ? error.reason : String(error)),
  );

describe('a copy that takes the place of its source (R37)', () => {
  it('gets what is asked for under the name of the source, by its own name and in its own partitions', async () => {
    await cutOver();
    await eventually('the router has heard of it', async () => (await reasonOf(set('k'))) === 'OK' && world.node(1).operations.length > 0);
    expect((await get('k', 'default')).value.toString()).toBe('v');
    expect((await get('k', 'wide')).value.toString()).toBe('v');
    expect(named(world.node(1).operations).slice(-3)).toEqual(['set wide', 'get wide', 'get wide']);
    expect(partitionOfToken(tokenOfKey(Buffer.from('k')), PARTITIONS)).not.toBe(world.partitionOf('k'));
  });

  it('gets what waits at the source, once, when it has its place: a write that was refused is no repeat there', async () => {
    world.node(0).script = () => refuse('PARTITION_UNAVAILABLE');
    const write = reasonOf(set('k'));
    const read = reasonOf(get('k'));
    await eventually('the source has refused both', () => world.node(0).operations.length >= 2);
    await cutOver();
    expect([await write, await read]).toEqual(['OK', 'OK']);
    expect(named(world.node(1).operations).toSorted()).toEqual(['get wide', 'set wide']);
    const sent = world.node(1).operations.find(({ kind }) => kind?.$case === 'set')!.kind!;
    expect(sent.$case === 'set' && sent.value.opId?.repeatAgeMs).toBe(0);
  });

  it('a keyspace that comes home gets what waits where it was meanwhile, although no name is an alias any more', async () => {
    await cutOver();
    await eventually('the router has heard of it', async () => (await reasonOf(set('k'))) === 'OK' && world.node(1).operations.length > 0);
    world.node(1).script = () => refuse('PARTITION_UNAVAILABLE');
    const before = world.node(0).operations.length;
    const write = reasonOf(set('k'));
    const read = reasonOf(get('k'));
    const sent = world.node(1).operations.length;
    await eventually('both were refused', () => world.node(1).operations.length >= sent + 2);
    await put({ cutOver: CUT_OVER, movedTo: 'default' });
    await world.putKeyspace(world.keyspace);
    expect([await write, await read]).toEqual(['OK', 'OK']);
    expect(named(world.node(0).operations.slice(before)).toSorted()).toEqual(['get default', 'set default']);
    expect(await reasonOf(get('k', 'wide'))).toBe('KEYSPACE_NOT_FOUND');
  });

  it('gets what the source was sent and did not answer; a write says that it was sent before', async () => {
    world.node(0).script = () => undefined;
    const write = reasonOf(set('k'));
    const read = reasonOf(get('k'));
    await eventually('the source has both', () => world.node(0).heldCount === 2);
    await cutOver();
    expect([await write, await read]).toEqual(['OK', 'OK']);
    const sent = world.node(1).operations.find(({ kind }) => kind?.$case === 'set')!.kind!;
    expect(sent.$case === 'set' && (sent.value.opId?.repeatAgeMs ?? 0) > 0).toBe(true);
  });

  it.each([
    ['the cut-over that came', 'x', 0],
    ['another one, behind which it may have been taken', 'earlier', 1],
  ])('gets a write in doubt as a first sending only when the source said that it did not have it, for %s', async (_name, cutOverId, repeats) => {
    let sendings = 0;
    world.node(0).script = () => {
      sendings += 1;
      // In doubt first; then whoever leads says that it is not in the log.
      return sendings === 1 ? refuse('WRITE_IN_DOUBT') : refuse('PARTITION_UNAVAILABLE', { not_applied_for: cutOverId });
    };
    const write = reasonOf(set('k'));
    await eventually('the source has refused it twice', () => sendings >= 2);
    await cutOver();
    expect(await write).toBe('OK');
    const sent = world.node(1).operations.find(({ kind }) => kind?.$case === 'set')!.kind!;
    expect(sent.$case === 'set' && Math.min(1, sent.value.opId?.repeatAgeMs ?? 0)).toBe(repeats);
  });

  it('every write that is in doubt asks the source, although one operation tries for all that wait', async () => {
    let isFrozen = false;
    world.node(0).script = ({ kind }) => {
      if (!isFrozen) return refuse('WRITE_IN_DOUBT');
      return refuse('PARTITION_UNAVAILABLE', kind!.$case === 'set' ? { not_applied_for: 'x' } : {});
    };
    const keys = Array.from({ length: 8 }, (_, index) => world.keyIn(2, `doubt-${index}`));
    const writes = keys.map((key) => reasonOf(set(key)));
    await eventually('all are in doubt', () => new Set(world.node(0).operations.map(({ kind }) => kind!.value.key.toString())).size === keys.length);
    const before = world.node(0).operations.length;
    isFrozen = true;
    await eventually('all were told', () => new Set(world.node(0).operations.slice(before).map(({ kind }) => kind!.value.key.toString())).size === keys.length);
    await cutOver();
    expect(await Promise.all(writes)).toEqual(keys.map(() => 'OK'));
    expect(world.node(1).operations.map(({ kind }) => (kind!.$case === 'set' ? (kind!.value.opId?.repeatAgeMs ?? 0) : -1))).toEqual(keys.map(() => 0));
  });

  it('is asked again when its node has not heard of it; before it has the place of its source its refusal stands', async () => {
    const behind = (): Kind => refuse('KEYSPACE_COPYING');
    world.node(1).script = behind;
    expect(await reasonOf(set('k', 'wide'))).toBe('KEYSPACE_COPYING');
    world.node(1).script = serve;
    await cutOver();
    await eventually('the router has heard of it', async () => (await reasonOf(set('k'))) === 'OK' && world.node(1).operations.length > 1);
    world.node(1).script = behind;
    const before = world.node(1).operations.length;
    const write = reasonOf(set('k'));
    await eventually('it was refused, and asked again', () => world.node(1).operations.length >= before + 3);
    world.node(1).script = serve;
    expect(await write).toBe('OK');
  });
});
