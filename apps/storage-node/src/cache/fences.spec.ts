import type { SetManyRequest } from '@atoll/contracts/atoll/v1/cache';
import { Fence, LockMode } from '@atoll/contracts/atoll/v1/locks';
import { MIB } from '@atoll/core-runtime';
import { callUnary } from '@atoll/platform-grpc';
import { DEADLINE, NodeWorld, failureOf } from '../testing/node-world.ts';

const SEED = 20_260_303;
const EMPTY = Buffer.alloc(0);
const by = (fencingToken: number, fields: Partial<Fence> = {}): { fence: Fence } => ({ fence: Fence.create({ name: 'lock', fencingToken, ...fields }) });
const STALE = { reason: 'STALE_FENCING_TOKEN' };

describe(`operations under a lock (R38, I9; seed ${SEED})`, () => {
  let world: NodeWorld;

  beforeEach(() => {
    world = new NodeWorld(SEED);
  });

  afterEach(() => world.stop());

  it('are refused once a later holder was seen, also after a failover and by a replica that was filled since', async () => {
    const [a, b] = [await world.start('a', { env: { STORAGE_NODE_LOG_BYTES_MAX: '64KiB' } }), await world.start('b')];
    const spec = await world.createKeyspace({}, [a]);
    await a.set('key', 'early', by(10));
    await a.set('key', 'late', by(20));
    expect(await failureOf(a.set('key', 'too late', by(10)))).toMatchObject(STALE);
    await a.set('large', Buffer.alloc(MIB)); // pushes what told of the tokens out of the log
    await a.set('large', Buffer.alloc(MIB));
    await world.addLearner(b, spec);
    await world.inSync(['a', 'b']);
    expect(await b.metric('atoll_installs_total')).toBe(1);
    await world.promote(b);
    await world.serving(b);
    expect(await failureOf(b.set('key', 'too late', by(10)))).toMatchObject(STALE);
    expect(await b.text('key')).toBe('late');
    expect((await b.set('key', 'mine', by(20))).applied).toBe(true);
  });

  it('are refused when a later holder has only read', async () => {
    const a = await world.start('a');
    await world.createKeyspace({}, [a]);
    await a.set('key', 'early', by(10));
    expect(await a.text('key', by(20))).toBe('early');
    expect(await failureOf(a.set('key', 'too late', by(10)))).toMatchObject(STALE);
    expect(await failureOf(a.get('key', by(10)))).toMatchObject(STALE);
    expect(await a.text('key', { ...by(5), fence: undefined })).toBe('early');
  });

  it('of ranges: a holder is outdated by any later one whose range overlaps', async () => {
    const a = await world.start('a');
    await world.createKeyspace({}, [a]);
    await a.set('key', 'v', by(10, { name: '' }));
    expect((await failureOf(a.set('key', 'v', by(9, { name: '' })))).reason).toBe('STALE_FENCING_TOKEN');
    expect(await failureOf(a.set('key', 'v', by(11, { name: '', rangeEnd: 1n })))).toMatchObject({ reason: 'INVALID_ARGUMENT', metadata: { field: 'fence' } });
    expect((await a.set('key', 'v', by(9, { mode: LockMode.LOCK_MODE_SHARED }))).applied).toBe(true);
  });

  it('of many keys are refused key by key', async () => {
    const a = await world.start('a');
    await world.createKeyspace({}, [a]);
    await a.set('key', 'v', by(20));
    const entry = (name: string) => ({ key: Buffer.from(name), value: Buffer.from('v'), ttlMs: 0, noExpiry: false });
    const request: SetManyRequest = { keyspace: '', entries: [entry('x'), entry('y')], ack: 0, opId: undefined, session: EMPTY, ...by(10) };
    const { results } = await callUnary(a.cache, 'setMany', request, DEADLINE);
    expect(results.map(({ error }) => error?.reason)).toEqual(['STALE_FENCING_TOKEN', 'STALE_FENCING_TOKEN']);
  });
});
