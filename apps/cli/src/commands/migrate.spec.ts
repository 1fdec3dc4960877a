import type { ServerWritableStream } from '@grpc/grpc-js';
import type { AdminServer } from '@atoll/contracts/atoll/v1/admin';
import { MigrationMethod, MigrationState, MigrationStep, type StartMigrationRequest, type WatchMigrationRequest, type WatchMigrationResponse } from '@atoll/contracts/atoll/v1/migration';
import { AtollError } from '@atoll/core-errors';
import { toServiceError } from '@atoll/platform-grpc';
import { copying, done, jobOf, messageOf, partitionIn } from '../testing/migrations.ts';
import { FakeCoordinator, runCollected } from '../testing/run-cli.ts';

type Watch = ServerWritableStream<WatchMigrationRequest, WatchMigrationResponse>;

const SUCCEEDED = { state: MigrationState.MIGRATION_STATE_SUCCEEDED, endedAtMs: 1_075_000 } as const;
/** From below 9 lines to the first of them, and all of them gone. */
const UP_AND_CLEAR = '\u001B[9A\r\u001B[J';
const servers: FakeCoordinator[] = [];

async function serve(methods: Partial<AdminServer>): Promise<FakeCoordinator> {
  const server = await FakeCoordinator.start(methods);
  servers.push(server);
  return server;
}

/** A coordinator whose watch sends these messages and then ends. */
const watching = (...messages: WatchMigrationResponse[]): Promise<FakeCoordinator> =>
  serve({
    watchMigration: (call: Watch) => {
      for (const message of messages) call.write(message);
      call.end();
    },
  });

afterEach(() => {
  for (const server of servers.splice(0)) server.stop();
});

describe('atoll migrate copy', () => {
  const asked: StartMigrationRequest[] = [];
  const state = { source: 'orders', target: 'orders-wide', following: true, lagSeq: 3, lagMs: 1500, restarts: 1, comparedEntries: 20_000, differing: 0, sourceCluster: 'c0ffee', sourceRouters: ['10.1.0.4:7400', '10.1.0.5:7400'], tokenFrom: 0n, tokenTo: 1n << 63n, pausesMs: [], sourceArchive: '', takesPlaceOf: '' };
  const followed = partitionIn(MigrationStep.MIGRATION_STEP_FOLLOW, 0, { from: ['node-1'], to: ['node-2'], lagSeq: 3, lagMs: 1500, progress: 1 });
  const serving = (): Promise<FakeCoordinator> =>
    serve({
      startMigration: (call, reply) => {
        asked.push(call.request);
        reply(null, { migration: jobOf(2, { id: call.request.id, copy: { ...state, following: false } }), partitions: [] });
      },
      getMigration: (_call, reply) => reply(null, { migration: jobOf(2, { copy: state }), partitions: [followed] }),
    });

  beforeEach(() => {
    asked.length = 0;
  });

  it('asks for a keyspace as its source is, but for what is said', async () => {
    const { address } = await serving();
    const { code, out, err } = await runCollected(['migrate', 'copy', 'orders', 'orders-wide', '--partitions', '256', '--replication-factor', '3', '--id', 'c', '--coordinator', address]);
    expect({ code, out, err }).toEqual({ code: 0, out: 'migration c: RUNNING, orders is copied to orders-wide, of 2 partitions\n', err: 'atoll migrate show c shows how far it is behind its source\n' });
    expect(asked).toEqual([expect.objectContaining({ id: 'c', method: MigrationMethod.MIGRATION_METHOD_COPY, keyspace: 'orders', target: { name: 'orders-wide', partitionCount: 256, replicationFactor: 3, minInSync: 0 } })]);
  });

  it('names the routers of the cluster that has the source; what are no addresses is a mistake in usage', async () => {
    const { address } = await serving();
    await runCollected(['migrate', 'copy', 'orders', 'orders', '--from-cluster', '10.1.0.4:7400, 10.1.0.5:7400', '--coordinator', address]);
    expect(asked).toEqual([expect.objectContaining({ keyspace: 'orders', sourceRouters: ['10.1.0.4:7400', '10.1.0.5:7400'] })]);
    const { code, err } = await runCollected(['migrate', 'copy', 'orders', 'orders', '--from-cluster', '10.1.0.4', '--coordinator', address]);
    expect([code, err]).toEqual([2, expect.stringContaining('--from-cluster')]);
  });

  it('says of routers that do not answer what the coordinator says of them, and not that no coordinator answers', async () => {
    const refusal = new AtollError('SOURCE_UNREACHABLE', 'source_routers: none of them answers: 10.1.0.4:7400', { metadata: { field: 'source_routers' } });
    const { address } = await serve({ startMigration: (_call, reply) => reply(toServiceError(refusal)) });
    const { code, err } = await runCollected(['migrate', 'copy', 'orders', 'orders', '--from-cluster', '10.1.0.4:7400', '--coordinator', address]);
    expect([code, err]).toEqual([3, expect.stringContaining('SOURCE_UNREACHABLE: source_routers: none of them answers: 10.1.0.4:7400')]);
  });

  it.each([
    ['4000000000000000..8000000000000000', { tokenFrom: 1n << 62n, tokenTo: 1n << 63n }],
    ['80..', { tokenFrom: 128n, tokenTo: 0n }],
  ])('asks for keys whose tokens lie in a range: %s', async (range, expected) => {
    const { address } = await serving();
    const { code } = await runCollected(['migrate', 'copy', 'orders', 'orders-part', '--range', range, '--bytes-per-second', '50MB', '--coordinator', address]);
    expect([code, asked]).toEqual([0, [expect.objectContaining({ ...expected, bytesPerSecond: 50_000_000 })]]);
  });

  it('a dry run says that nothing was done', async () => {
    const { address } = await serving();
    const { out } = await runCollected(['migrate', 'copy', 'orders', 'orders-wide', '--dry-run', '--coordinator', address]);
    expect([out, asked[0]!.dryRun]).toEqual(['orders would be copied to orders-wide, of 2 partitions; nothing was done\n', true]);
  });

  it('show tells how far the copy is behind its source, as text and for programs', async () => {
    const { address } = await serving();
    const { out } = await runCollected(['migrate', 'show', 'm', '--coordinator', address]);
    expect(out).toContain('lag             3 log entries, 1500 ms; 1 partitions began anew\n');
    expect(out).toContain('source cluster  c0ffee, by 10.1.0.4:7400, 10.1.0.5:7400\n');
    expect(out).toContain('tokens          0000000000000000..8000000000000000\n');
    expect(out).toContain('compared        20000 entries, all equal\n');
    expect(out).toMatch(/node-1 +node-2 +FOLLOW .* 1500 ms/);
    const shown = JSON.parse((await runCollected(['migrate', 'show', 'm', '--json', '--coordinator', address])).out) as { migration: object; partitions: object[] };
    expect([shown.migration, shown.partitions[0]]).toMatchObject([{ copy: { ...state, tokenFrom: '0000000000000000', tokenTo: '8000000000000000' } }, { step: 'FOLLOW', lagSeq: 3, lagMs: 1500 }]);
  });
});

describe('atoll migrate start', () => {
  const asked: StartMigrationRequest[] = [];
  const partitions = [partitionIn(MigrationStep.MIGRATION_STEP_WAITING, 3), partitionIn(MigrationStep.MIGRATION_STEP_WAITING, 7, { bytesTotal: 2048, problem: 'after m-0' })];
  const starting = (): Promise<FakeCoordinator> =>
    serve({
      startMigration: (call, reply) => {
        asked.push(call.request);
        reply(null, { migration: jobOf(2, { id: call.request.id, state: MigrationState.MIGRATION_STATE_PREPARING }), partitions });
      },
      watchMigration: (call: Watch) => {
        call.write(messageOf(jobOf(2, { ...SUCCEEDED, id: call.request.id, partitionsDone: 2 }), [done(3), done(7)]));
        call.end();
      },
    });

  beforeEach(() => {
    asked.length = 0;
  });

  it('prints the id of the job and what it moves', async () => {
    const { address } = await starting();
    const { code, out, err } = await runCollected(['migrate', 'start', '--from', 'node-1', '--to', 'node-4', '--id', 'night', '--coordinator', address]);
    expect({ code, err }).toEqual({ code: 0, err: 'atoll migrate watch night shows how it gets on\n' });
    expect(out.split('\n')).toEqual([
      'migration night: PREPARING',
      'KEYSPACE  PARTITION  FROM    TO      REASON       BYTES  ENTRIES  PROBLEM',
      'default           3  node-1  node-4  REQUESTED  4.0 KiB       40',
      'default           7  node-1  node-4  REQUESTED  2.0 KiB       40  after m-0',
      '',
    ]);
  });

  it('passes on what is asked for', async () => {
    const { address } = await starting();
    const flags = ['--keyspace', 's', '--partition', '3', '--partition', '7', '--bytes-per-second', '50MB', '--full-verify', '--id', 'a'];
    expect((await runCollected(['migrate', 'start', '--from', 'node-1', '--to', 'node-4', ...flags, '--coordinator', address])).code).toBe(0);
    expect((await runCollected(['migrate', 'start', '--from', 'node-1', '--to', 'node-4', '--all-keyspaces', '--coordinator', address])).code).toBe(0);
    expect((await runCollected(['migrate', 'start', '--from', 'node-1', '--to', 'node-4', '--range', '40..80', '--verify=full', '--coordinator', address])).code).toBe(0);
    expect(asked[2]).toMatchObject({ tokenFrom: 64n, tokenTo: 128n, partitions: [], fullVerify: true });
    expect(asked[0]).toEqual({ id: 'a', method: 3, shards: 0, keyspace: 's', partitions: [3, 7], allKeyspaces: false, from: 'node-1', to: 'node-4', bytesPerSecond: 50_000_000, fullVerify: true, dryRun: false, sourceRouters: [], tokenFrom: 0n, tokenTo: 0n });
    expect(asked[1]).toMatchObject({ id: expect.stringMatching(/^move-[0-9a-f]{8}$/), keyspace: '', partitions: [], allKeyspaces: true, bytesPerSecond: 0, fullVerify: false });
  });

  it('asks the next coordinator for the same job, not for a second one, when an answer is lost', async () => {
    const first = await serve({
      startMigration: (call, reply) => {
        asked.push(call.request);
        reply(toServiceError(new AtollError('PEER_UNAVAILABLE', 'connection broke')));
      },
    });
    const second = await starting();
    expect((await runCollected(['migrate', 'start', '--from', 'node-1', '--to', 'node-4'], { env: { ATOLL_COORDINATOR: `${first.address},${second.address}` } })).code).toBe(0);
    expect(asked).toHaveLength(2);
    expect(asked[1]).toEqual(asked[0]);
  });

  it('sums up in a dry run, and does nothing', async () => {
    const { address } = await starting();
    const { code, out, err } = await runCollected(['migrate', 'start', '--from', 'node-1', '--to', 'node-4', '--dry-run', '--coordinator', address]);
    expect({ code, err, dryRun: asked[0]?.dryRun }).toEqual({ code: 0, err: '', dryRun: true });
    expect(out.split('\n').at(-2)).toBe('2 partitions, 6.0 KiB, 80 entries would move; nothing was done');
    expect(out).not.toContain('migration ');
  });

  it('goes on as watch; JSON is one document a line then', async () => {
    const { address } = await starting();
    const args = ['migrate', 'start', '--from', 'node-1', '--to', 'node-4', '--id', 'a', '--watch', '--coordinator', address];
    expect((await runCollected(args)).out.split('\n').at(-2)).toBe('a SUCCEEDED: 2 of 2 partitions done in 1m15s; 0 B, 0 entries; no writes waited');
    const lines = (await runCollected([...args, '--json'])).out.trim().split('\n').map((line) => JSON.parse(line) as object);
    expect(lines).toMatchObject([{ migration: { state: 'PREPARING', method: 'MOVE' }, partitions: [{ step: 'WAITING' }, {}] }, { migration: { state: 'SUCCEEDED' }, remainingMs: null }]);
  });

  it.each([
    [['--to', 'node-4'], "required option '--from <node>'"],
    [['--from', 'node-1'], "required option '--to <node>'"],
    [['--from', 'n', '--to', 'n'], '--from and --to name the same node'],
    [['--from', 'a', '--to', 'b', '--bytes-per-second', 'fast'], "option '--bytes-per-second <bytes>' argument 'fast' is invalid. It must be bytes per second"],
    [['--from', 'a', '--to', 'b', '--partition', '4096'], "option '--partition <id>' argument '4096' is invalid"],
    [['--from', 'a', '--to', 'b', '--id', 'a b'], "option '--id <id>' argument 'a b' is invalid"],
    [['--from', 'a', '--to', 'b', '--all-keyspaces', '--keyspace', 'k'], 'cannot be used with'],
    [['--from', 'a', '--to', 'b', '--range', '80..', '--partition', '1'], 'cannot be used with'],
    [['--from', 'a', '--to', 'b', '--dry-run', '--watch'], 'cannot be used with'],
  ])('refuses %j with exit code 2', async (args, message) => {
    expect(await runCollected(['migrate', 'start', ...args])).toMatchObject({ code: 2, out: '', err: expect.stringContaining(message) });
  });

  it.each([
    ['MIGRATION_CONFLICT', 1, 'can be waited for or cancelled'],
    ['CAPACITY_SHORT', 3, 'choose another node'],
    ['NODE_NOT_FOUND', 1, 'atoll: NODE_NOT_FOUND: no'],
  ] as const)('%s: exit code %i, and what to do', async (reason, code, hint) => {
    const { address } = await serve({ startMigration: (_call, reply) => reply(toServiceError(new AtollError(reason, 'no'))) });
    expect(await runCollected(['migrate', 'start', '--from', 'a', '--to', 'b', '--coordinator', address])).toMatchObject({ code, out: '', err: expect.stringContaining(hint) });
  });
});

describe('how a migration copies', () => {
  const WHY = 'SHARDED: the largest of 3 partitions takes 200 MiB, 9 entries, no node is busy: 7 sub-ranges';
  const { MIGRATION_METHOD_AUTO: auto, MIGRATION_METHOD_MOVE: move, MIGRATION_METHOD_SHARDED: sharded } = MigrationMethod;

  it.each([
    { flags: [], method: auto, shards: 0 },
    { flags: ['--method', 'auto'], method: auto, shards: 0 },
    { flags: ['--method', 'move'], method: move, shards: 0 },
    { flags: ['--method', 'sharded'], method: sharded, shards: 0 },
    { flags: ['--method', 'sharded', '--shards', '16'], method: sharded, shards: 16 },
  ])('$flags asks for it', async ({ flags, method, shards }) => {
    const asked: StartMigrationRequest[] = [];
    const { address } = await serve({ startMigration: (call, callback) => (asked.push(call.request), callback(null, { migration: jobOf(1), partitions: [] })) });
    expect((await runCollected(['migrate', 'start', '--from', 'node-1', '--to', 'node-4', ...flags, '--coordinator', address])).code).toBe(0);
    expect(asked).toMatchObject([{ method, shards }]);
  });

  it.each([
    { flags: ['--method', 'copy'], problem: '--method' },
    { flags: ['--method', 'sharded', '--shards', '1'], problem: '--shards' },
    { flags: ['--method', 'sharded', '--shards', '17'], problem: '--shards' },
    { flags: ['--method', 'move', '--shards', '4'], problem: '--shards goes with --method sharded' },
    { flags: ['--shards', '4'], problem: '--shards goes with --method sharded' },
  ])('$flags is refused', async ({ flags, problem }) => {
    const { code, err } = await runCollected(['migrate', 'start', '--from', 'node-1', '--to', 'node-4', ...flags]);
    expect(code).toBe(2);
    expect(err).toContain(problem);
  });

  it('is told when it is begun, in the list, and with the reason of AUTO when it is shown', async () => {
    const migration = jobOf(3, { method: sharded, shards: 7, partitionsAtOnce: 4, methodReason: WHY });
    const { address } = await serve({
      startMigration: (_, callback) => callback(null, { migration, partitions: [] }),
      listMigrations: (_, callback) => callback(null, { migrations: [migration] }),
      getMigration: (_, callback) => callback(null, { migration, partitions: [copying(1, 1024)] }),
    });
    const run = async (...args: string[]): Promise<string> => (await runCollected(['migrate', ...args, '--coordinator', address])).out;
    expect(await run('start', '--from', 'node-1', '--to', 'node-4', '--dry-run')).toContain(`${WHY}\n`);
    expect(await run('list')).toMatch(/METHOD +REASON.*\n.* SHARDED x7 \(auto\) +REQUESTED/);
    expect(await run('show', 'm-1')).toMatch(/method +SHARDED x7 \(auto\)\nchosen because +the largest of 3 partitions takes 200 MiB, 9 entries, no node is busy: 7 sub-ranges\n/);
    expect(JSON.parse(await run('show', 'm-1', '--json'))).toMatchObject({ migration: { method: 'SHARDED', shards: 7, partitionsAtOnce: 4, methodReason: WHY } });
  });
});

describe('atoll migrate list, show, pause, resume, cancel', () => {
  it('lists jobs', async () => {
    const asked: unknown[] = [];
    const { address } = await serve({
      listMigrations: (call, reply) => {
        asked.push(call.request);
        reply(null, { migrations: [jobOf(8, { ...SUCCEEDED, partitionsDone: 8, bytes: 2048, pauseMsMax: 3.25 })] });
      },
    });
    const { code, out } = await runCollected(['migrate', 'list', '--active', '--limit', '5', '--coordinator', address]);
    expect({ code, asked }).toEqual({ code: 0, asked: [{ limit: 5, active: true }] });
    expect(out.split('\n')[1]).toBe('m-1        SUCCEEDED  MOVE    REQUESTED   8/8            0  2.0 KiB  3.3 ms  1970-01-01T00:16:40.000Z  1m15s  node-1 to node-4');
    const json = JSON.parse((await runCollected(['migrate', 'list', '--json', '--coordinator', address])).out) as object;
    expect(json).toMatchObject({ migrations: [{ id: 'm-1', state: 'SUCCEEDED', partitionsDone: 8 }] });
    expect(asked[1]).toEqual({ limit: 50, active: false });
  });

  it('shows a job and its partitions', async () => {
    const rolledBack = partitionIn(MigrationStep.MIGRATION_STEP_ROLLED_BACK, 2, { problem: 'node-4 is DOWN' });
    const { address } = await serve({
      getMigration: (call, reply) => reply(null, { migration: jobOf(3, { id: call.request.id, partitionsDone: 1, partitionsRolledBack: 1, bytesPerSecond: 1024, fullVerify: true, problem: 'one went back' }), partitions: [done(0), copying(1, 1024), rolledBack] }),
    });
    const { code, out } = await runCollected(['migrate', 'show', 'm-9', '--coordinator', address]);
    expect(code).toBe(0);
    expect(out).toMatch(/^migration +m-9\nstate +RUNNING\nwhat +REQUESTED: node-1 to node-4\nmethod +MOVE\npartitions +1 of 3 done, 1 rolled back\n/);
    for (const text of [/bound +1\.0 KiB\/s\n/, /comparison +each entry\n/, /problem +one went back\n/]) expect(out).toMatch(text);
    expect(out.split('\n').slice(-5, -1)).toEqual([
      'KEYSPACE  PARTITION  FROM    TO      STEP         SINCE  PROGRESS    BYTES  ENTRIES  PROOF                                   PAUSE  PROBLEM',
      'default           0  node-1  node-4  DONE             -      100%  4.0 KiB       40  62 equal, 2 repaired, 40 entries read  3.3 ms',
      'default           1  node-1  node-4  CATCH_UP         -       25%  1.0 KiB        0  -                                           -',
      'default           2  node-1  node-4  ROLLED_BACK      -        0%      0 B        0  -                                           -  node-4 is DOWN',
    ]);
    const json = JSON.parse((await runCollected(['migrate', 'show', 'm-9', '--json', '--coordinator', address])).out) as object;
    expect(json).toMatchObject({ migration: { id: 'm-9' }, partitions: [{ step: 'DONE', proof: { equal: 62 } }, { step: 'CATCH_UP', proof: null, pauseMs: null }, { problem: 'node-4 is DOWN' }] });
  });

  it('pauses, resumes with another bound, and cancels', async () => {
    const asked: unknown[] = [];
    const { address } = await serve({
      pauseMigration: (call, reply) => {
        asked.push(call.request);
        reply(null, { migration: jobOf(8, { state: MigrationState.MIGRATION_STATE_PAUSED }) });
      },
      resumeMigration: (call, reply) => {
        asked.push(call.request);
        reply(null, { migration: jobOf(8, { bytesPerSecond: call.request.bytesPerSecond ?? 0 }) });
      },
      cancelMigration: (call, reply) => {
        asked.push(call.request);
        reply(null, { migration: jobOf(8, { state: MigrationState.MIGRATION_STATE_CANCELLING }) });
      },
    });
    const run = (...args: string[]) => runCollected(['migrate', ...args, '--coordinator', address]);
    expect(await run('pause', 'm-1')).toMatchObject({ code: 0, out: 'migration m-1: PAUSED, 0 of 8 partitions done\n' });
    expect(await run('resume', 'm-1', '--bytes-per-second', '1MiB')).toMatchObject({ code: 0, out: 'migration m-1: RUNNING, 0 of 8 partitions done, at most 1.0 MiB/s\n' });
    expect(await run('resume', 'm-1')).toMatchObject({ code: 0 });
    expect(await run('cancel', 'm-1')).toMatchObject({ code: 0, out: 'migration m-1: CANCELLING, 0 of 8 partitions done\n' });
    expect(JSON.parse((await run('cancel', 'm-1', '--json')).out)).toMatchObject({ migration: { state: 'CANCELLING' } });
    expect(asked).toEqual([{ id: 'm-1' }, { id: 'm-1', bytesPerSecond: 1_048_576 }, { id: 'm-1' }, { id: 'm-1' }, { id: 'm-1' }]);
  });

  it('says where the known ids are', async () => {
    const { address } = await serve({ getMigration: (_call, reply) => reply(toServiceError(new AtollError('MIGRATION_NOT_FOUND', 'there is no migration x'))) });
    expect(await runCollected(['migrate', 'show', 'x', '--coordinator', address])).toMatchObject({ code: 1, err: 'atoll: MIGRATION_NOT_FOUND: there is no migration x; atoll migrate list shows the known ones\n' });
  });
});

describe('atoll migrate watch', () => {
  it('prints a line whenever another partition is over, and the end', async () => {
    const { address } = await watching(
      messageOf(jobOf(2), [copying(0, 0), partitionIn(MigrationStep.MIGRATION_STEP_WAITING, 1)]),
      messageOf(jobOf(2, { bytes: 2048 }), [copying(0, 2048)], { bytesPerSecond: 1024, remainingMs: 6000 }),
      messageOf(jobOf(2, { bytes: 4096, partitionsDone: 1 }), [done(0), copying(1, 0)], { bytesPerSecond: 1024, remainingMs: 4000 }),
      messageOf(jobOf(2, { ...SUCCEEDED, bytes: 8192, entries: 80, partitionsDone: 2, pauseMsMax: 3.25 }), [done(1)]),
    );
    const { code, out, err } = await runCollected(['migrate', 'watch', 'm-1', '--coordinator', address]);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out.split('\n')).toEqual([
      'm-1 RUNNING, 0 of 2 partitions done, 0 B',
      expect.stringMatching(/^m-1 RUNNING, 1 of 2 partitions done, 4\.0 KiB, 1\.0 KiB\/s, [34]s left$/),
      'm-1 SUCCEEDED, 2 of 2 partitions done, 8.0 KiB',
      'm-1 SUCCEEDED: 2 of 2 partitions done in 1m15s; 8.0 KiB, 80 entries; writes waited at most 3.3 ms',
      '',
    ]);
  });

  it.each([MigrationState.MIGRATION_STATE_FAILED, MigrationState.MIGRATION_STATE_CANCELLED])('a job that ends in state %i: exit code 1, and why', async (state) => {
    const back = partitionIn(MigrationStep.MIGRATION_STEP_ROLLED_BACK, 1, { problem: 'node-4 is DOWN' });
    const { address } = await watching(messageOf(jobOf(2, { state, endedAtMs: 1_002_000, partitionsDone: 1, partitionsRolledBack: 1, problem: '1 partition went back' }), [done(0), back]));
    const { code, out, err } = await runCollected(['migrate', 'watch', 'm-1', '--coordinator', address]);
    expect({ code, err }).toEqual({ code: 1, err: 'atoll: 1 partition went back\ndefault/1: node-4 is DOWN\n' });
    expect(out).toContain('1 of 2 partitions done and 1 rolled back in 2s');
  });

  it('draws bars in place on a terminal of 10 rows, and leaves the result alone', async () => {
    const many = Array.from({ length: 20 }, (_, partition) => copying(partition, 512));
    const { address } = await watching(messageOf(jobOf(21), [...many, partitionIn(MigrationStep.MIGRATION_STEP_WAITING, 20)]), messageOf(jobOf(21, { partitionsDone: 1 }), [done(0)]), messageOf(jobOf(21, { ...SUCCEEDED, partitionsDone: 21 })));
    const { code, pieces } = await runCollected(['migrate', 'watch', 'm-1', '--coordinator', address], { terminal: { rows: 10, columns: 60 } });
    expect(code).toBe(0);
    expect(pieces[0]?.split('\n')).toHaveLength(10); // 9 lines: the cursor stands in the tenth row.
    expect(pieces[0]).toContain('[###.................]  12%  default/5  CATCH_UP   512 B of');
    expect(pieces[0]).toMatch(/\n14 more under way, 1 waiting\n$/);
    const [first, second, third, trace, end] = pieces;
    for (const line of [first, second, third].flatMap((piece) => piece?.replace(UP_AND_CLEAR, '').split('\n') ?? [])) expect(line.length).toBeLessThan(60);
    expect(second?.startsWith(UP_AND_CLEAR)).toBe(true);
    expect(third?.startsWith(UP_AND_CLEAR)).toBe(true);
    expect(trace).toBe(UP_AND_CLEAR);
    expect(end).toMatch(/^m-1 SUCCEEDED: 21 of 21 partitions done/);
  });

  it('asks another coordinator when the stream is lost in the middle', async () => {
    const first = await serve({ watchMigration: (call: Watch) => void call.write(messageOf(jobOf(2, { partitionsDone: 1 }), [done(0), copying(1, 0)])) });
    const second = await watching(messageOf(jobOf(2, { ...SUCCEEDED, partitionsDone: 2 }), [done(0), done(1)]));
    const { code, out, err } = await runCollected(['migrate', 'watch', 'm-1'], { env: { ATOLL_COORDINATOR: `${first.address},${second.address}` }, onOut: () => first.stop() });
    expect(code).toBe(0);
    expect(err).toMatch(/^atoll: looking for a coordinator \(.+\)\n$/);
    expect(out.split('\n')).toHaveLength(4);
    expect(out).toContain('m-1 RUNNING, 1 of 2 partitions done, 0 B\nm-1 SUCCEEDED, 2 of 2');
  });

  it('follows the office: from one that ends the stream as it loses it, to the one that it names then', async () => {
    const successor = await watching(messageOf(jobOf(1, { ...SUCCEEDED, partitionsDone: 1 }), [done(0)]));
    let streams = 0;
    const former = await serve({
      watchMigration: (call: Watch) => {
        streams += 1;
        if (streams === 1) {
          call.write(messageOf(jobOf(1), [copying(0, 0)]));
          call.end();
        } else {
          call.emit('error', toServiceError(new AtollError('NOT_COORDINATOR', 'not any more', { metadata: { address: successor.address } })));
        }
      },
    });
    const { code, out } = await runCollected(['migrate', 'watch', 'm-1', '--json', '--coordinator', former.address]);
    expect({ code, streams }).toEqual({ code: 0, streams: 2 });
    expect(out.trim().split('\n').map((line) => JSON.parse(line) as object)).toMatchObject([{ migration: { state: 'RUNNING' } }, { migration: { state: 'SUCCEEDED' } }]);
  });

  it('says on a terminal that it looks for a coordinator, and gives up in the end', async () => {
    const only = await serve({ watchMigration: (call: Watch) => void call.write(messageOf(jobOf(1), [copying(0, 0)])) });
    const { code, out, err } = await runCollected(['migrate', 'watch', 'm-1', '--timeout', '300ms', '--coordinator', only.address], { terminal: { rows: 24, columns: 100 }, onOut: () => only.stop() });
    expect({ code, err }).toEqual({ code: 3, err: `atoll: no coordinator answers at ${only.address}\n` });
    expect(out).toContain('atoll: looking for a coordinator');
  });

  it('ends with what the coordinator refuses', async () => {
    const { address } = await serve({ watchMigration: (call: Watch) => void call.emit('error', toServiceError(new AtollError('MIGRATION_NOT_FOUND', 'there is no migration x'))) });
    expect(await runCollected(['migrate', 'watch', 'x', '--coordinator', address])).toMatchObject({ code: 1, out: '', err: expect.stringContaining('MIGRATION_NOT_FOUND') });
  });

  it('stops with Ctrl-C, and says that the job goes on', async () => {
    const { address } = await serve({ watchMigration: (call: Watch) => void call.write(messageOf(jobOf(1), [copying(0, 0)])) });
    const listeners = process.listenerCount('SIGINT');
    const { code, err } = await runCollected(['migrate', 'watch', 'm-1', '--coordinator', address], { onOut: () => process.emit('SIGINT') });
    expect({ code, err }).toEqual({ code: 3, err: 'atoll: stopped watching; migration m-1 goes on (atoll migrate watch m-1, atoll migrate cancel m-1)\n' });
    expect(process.listenerCount('SIGINT')).toBe(listeners);
  });
});
