import { InMemoryEtcd, InMemoryMetadataStore } from '@atoll/platform-etcd/testing';
import { OPERATORS_PREFIX, MIGRATIONS_PREFIX, RESULTS_PREFIX, type Comparison } from '@atoll/platform-etcd';
import { toNodeId, toPartitionId } from '@atoll/core-runtime';
import { MOVE_PLAN, type MigrationJob, type MigrationOperator } from '@atoll/core-migration';
import { isAtollError } from '@atoll/core-errors';
import { draftMigration } from './begin-migration.ts';
import { JOBS_KEPT, MigrationStore, RESULTS_KEPT, type MigrationMetadata } from './migration-store.ts';

const SURVEY = { memory: new Map(), sizes: new Map(), sendBytesPerSecond: new Map(), load: new Map() };
const ELECTION_KEY = 'coordinator/1';

let etcd: InMemoryEtcd;
let client: InMemoryMetadataStore;
beforeEach(() => {
  etcd = new InMemoryEtcd();
  client = new InMemoryMetadataStore({ etcd });
  etcd.transact([], [{ kind: 'put', key: ELECTION_KEY, value: 'c1' }]);
});
afterEach(() => client.close());

let wallMs = 1000;
function open(store: MigrationMetadata = client): MigrationStore {
  const election: Comparison = { kind: 'modRevision', key: ELECTION_KEY, equals: etcd.get(ELECTION_KEY)!.modRevision };
  return new MigrationStore({ store, election, wallMs: () => wallMs });
}

/** A job over partitions from `first` on. */
function draft(id: string, count: number, first = 0): { job: MigrationJob; operators: readonly MigrationOperator[] } {
  const planned = Array.from({ length: count }, (_, index) => ({
    record: { keyspace: 'default', keyspaceId: 'id-1', partition: toPartitionId(first + index) },
    before: [toNodeId('a'), toNodeId('b')],
    after: [toNodeId('d'), toNodeId('b')],
  }));
  return draftMigration({ id, reason: 'REQUESTED', description: '', planned: planned as never, method: MOVE_PLAN, bytesPerSecond: 0, fullVerify: false }, SURVEY, wallMs);
}
const create = (store: MigrationStore, id: string, count: number, first = 0): Promise<void> => {
  const { job, operators } = draft(id, count, first);
  return store.create(job, operators);
};

const count = (prefix: string): number => etcd.list(prefix).length;
const reasonOf = (call: Promise<unknown>): Promise<string> => call.then(() => 'none', (error: unknown) => (isAtollError(error) ? error.reason : String(error)));
const stored = (id: string): MigrationJob => JSON.parse(etcd.get(`${MIGRATIONS_PREFIX}${id}`)!.value) as MigrationJob;
/** Ends operators of a job, as they stand in the store. */
const end = (store: MigrationStore, id: string, step: 'DONE' | 'ROLLED_BACK' = 'DONE') =>
  store.write(store.operators().filter(({ job }) => job === id).map((from) => ({ from, to: { ...from, step, bytes: 10, problem: step === 'DONE' ? '' : 'why' } })));

describe('a migration in etcd', () => {
  it('is read back by another coordinator as it was written, with its operators', async () => {
    await create(open(), 'm', 3);
    const next = open();
    await next.refresh();
    expect(next.jobs()).toEqual([draft('m', 3).job]);
    expect(next.operatorsOf('m')).toEqual(draft('m', 3).operators);
    expect(next.operatorOf('default', 2)?.job).toBe('m');
  });

  it('takes partitions that no other one has, all or nothing, and names the one in the way (R38)', async () => {
    const store = open();
    await create(store, 'm', 3);
    const error = await create(store, 'n', 3, 2).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ reason: 'MIGRATION_CONFLICT', message: expect.stringContaining('1 of 3 are being migrated: default/2 (migration m)'), metadata: { field: 'partitions', migration: 'm' } });
    expect(await reasonOf(create(store, 'm', 1, 9))).toBe('MIGRATION_CONFLICT');
    expect([count(MIGRATIONS_PREFIX), count(OPERATORS_PREFIX)]).toEqual([1, 3]);
    expect(await reasonOf(create(store, 'n', 3, 3))).toBe('none');
  });

  it('asked for by two at once has each partition once', async () => {
    const store = open();
    const outcomes = await Promise.all([reasonOf(create(store, 'm', 5)), reasonOf(create(store, 'n', 5, 4))]);
    expect(outcomes).toEqual(['none', 'MIGRATION_CONFLICT']);
  });

  it('is not written by a coordinator that was succeeded (R11)', async () => {
    const former = open();
    await create(former, 'm', 1);
    etcd.transact([], [{ kind: 'put', key: ELECTION_KEY, value: 'c2' }]);
    expect(await reasonOf(create(former, 'n', 1, 5))).toBe('METADATA_CONFLICT');
    expect(await reasonOf(former.update('m', (job) => ({ ...job, state: 'PAUSED' })))).toBe('METADATA_CONFLICT');
    expect(await end(former, 'm')).toEqual([]);
    expect(await former.settle()).toEqual([]);
    expect(stored('m').state).toBe('RUNNING');
    expect(count(MIGRATIONS_PREFIX)).toBe(1);
  });

  it('of 150 partitions is PREPARING until the last of them is written', async () => {
    const seen: string[] = [];
    const watch = await client.watch('jobs/', {
      onSnapshot: () => undefined,
      onChanges: (changes) => seen.push(changes.map(({ key, value }) => (key.startsWith(MIGRATIONS_PREFIX) ? (JSON.parse(value!.value) as MigrationJob).state : 'operator')).join()),
    });
    await create(open(), 'big', 150);
    expect(stored('big').state).toBe('RUNNING');
    expect(count(OPERATORS_PREFIX)).toBe(150);
    const states = seen.join().split(',');
    expect(states.filter((state) => state === 'operator')).toHaveLength(150);
    expect(states.filter((state) => state !== 'operator')).toEqual(['PREPARING', 'PREPARING', 'RUNNING']);
    await watch.close();
  });

  it('is counted and settled in the transactions that end its operators, and leaves their results', async () => {
    const store = open();
    await create(store, 'm', 120);
    await end(store, 'm');
    expect(stored('m')).toMatchObject({ done: 120, bytes: 1200, state: 'RUNNING' });
    expect([count(OPERATORS_PREFIX), count(RESULTS_PREFIX)]).toEqual([0, 120]);
    expect((await store.settle()).map(({ id, state }) => [id, state])).toEqual([['m', 'SUCCEEDED']]);
    expect(await store.settle()).toEqual([]);
    expect(await reasonOf(create(store, 'n', 120))).toBe('none');
  });
});

describe('answers that etcd loses (R7)', () => {
  const lose = (answers: number): void => {
    for (let lost = 0; lost < answers; lost += 1) client.loseNextAnswer();
  };

  it.each([1, 2])('%i at the beginning of a job: it is found written', async (answers) => {
    const store = open();
    lose(answers);
    await create(store, 'm', 3);
    expect(store.job('m')?.state).toBe('RUNNING');
    expect(count(OPERATORS_PREFIX)).toBe(3);
  });

  it('in each transaction of a job of 150 partitions: it is whole', async () => {
    const store = open();
    lose(2);
    await create(store, 'big', 150);
    expect(stored('big').state).toBe('RUNNING');
    expect(store.operatorsOf('big')).toHaveLength(150);
  });

  it('of a command: it is written once', async () => {
    const store = open();
    await create(store, 'm', 1);
    lose(1);
    expect((await store.update('m', (job) => (job.state === 'PAUSED' ? job : { ...job, state: 'PAUSED' }))).state).toBe('PAUSED');
    expect(stored('m').state).toBe('PAUSED');
  });

  it('of steps and ends: they are told as not written, and are found written', async () => {
    const store = open();
    await create(store, 'm', 60);
    lose(1);
    expect(await end(store, 'm')).toEqual([]);
    await store.refresh();
    expect(store.job('m')?.done).toBe(50);
    expect(await end(store, 'm')).toHaveLength(10);
    lose(1);
    expect(await store.settle()).toEqual([]);
    await store.refresh();
    expect(store.job('m')).toMatchObject({ state: 'SUCCEEDED', done: 60, rolledBack: 0 });
  });

  it('of writes that come to pass after they were read back as not written: too late', async () => {
    const late: (() => Promise<unknown>)[] = [];
    let lost = 3;
    const transact: typeof client.transact = async (comparisons, changes) => {
      const isOfJob = changes.some(({ key }) => key.startsWith(MIGRATIONS_PREFIX));
      if (!isOfJob || (lost -= 1) < 0) return client.transact(comparisons, changes);
      late.push(() => client.transact(comparisons, changes));
      return { kind: 'unknown', cause: 'the answer is lost' };
    };
    const store = open({ transact, get: (key) => client.get(key), list: (prefix) => client.list(prefix) });
    expect(await reasonOf(create(store, 'm', 3))).toBe('METADATA_CONFLICT');
    await store.refresh();
    for (const write of late) expect(await write()).toMatchObject({ kind: 'refused' });
    expect([count(MIGRATIONS_PREFIX), count(OPERATORS_PREFIX)]).toEqual([0, 0]);
    expect(await reasonOf(create(store, 'n', 3))).toBe('none');
  });

  it('and etcd that is away: nothing is known to be written', async () => {
    const store = open();
    await create(store, 'm', 1);
    client.goAway();
    expect(await end(store, 'm')).toEqual([]);
    expect(await reasonOf(store.update('m', (job) => ({ ...job, state: 'PAUSED' })))).toBe('METADATA_UNAVAILABLE');
    client.comeBack();
    await store.refresh();
    expect(store.operatorOf('default', 0)?.step).toBe('WAITING');
  });
});

describe('a job that could not be written as a whole', () => {
  it('gives back what it took, in the same term', async () => {
    const store = open();
    const { job, operators } = draft('big', 150);
    // Somebody else's key stands where the last operators go.
    etcd.transact([], [{ kind: 'put', key: `${OPERATORS_PREFIX}default/0149`, value: 'what an older version wrote' }]);
    expect(await reasonOf(store.create(job, operators))).toBe('METADATA_CONFLICT');
    expect(store.job('big')).toMatchObject({ state: 'CANCELLING', problem: 'it could not be written as a whole' });
    await end(store, 'big', 'ROLLED_BACK');
    expect((await store.settle()).map(({ state }) => state)).toEqual(['CANCELLED']);
  });
});

describe('the history', () => {
  it(`keeps ${JOBS_KEPT} jobs that ended, and the partitions of ${RESULTS_KEPT} of them`, async () => {
    const store = open();
    await create(store, 'running', 1, 63);
    for (let index = 0; index < JOBS_KEPT + 10; index += 1) {
      wallMs += 1;
      await create(store, `m-${index}`, 2);
      await end(store, `m-${index}`, index % 2 === 0 ? 'DONE' : 'ROLLED_BACK');
      await store.settle();
    }
    for (const known of [store, open()]) {
      await known.refresh();
      const jobs = known.jobs();
      expect(jobs).toHaveLength(JOBS_KEPT + 1);
      expect(jobs.map(({ id }) => id).slice(0, 2)).toEqual(['m-209', 'm-208']);
      expect(jobs.at(-1)!.id).toBe('running');
      expect(jobs.filter(({ id }) => id !== 'running' && known.operatorsOf(id).length > 0).map(({ id }) => id)).toEqual(Array.from({ length: RESULTS_KEPT }, (_, index) => `m-${209 - index}`));
    }
    expect(count(RESULTS_PREFIX)).toBe(2 * RESULTS_KEPT);
    expect(count(MIGRATIONS_PREFIX)).toBe(JOBS_KEPT + 1);
  });
});
