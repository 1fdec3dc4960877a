import { MigrationState, PlannedMove, PlanRebalanceResponse, RebalanceResponse, RefusedMove, type RebalanceRequest } from '@atoll/contracts/atoll/v1/migration';
import type { ServerWritableStream } from '@grpc/grpc-js';
import type { WatchMigrationRequest, WatchMigrationResponse } from '@atoll/contracts/atoll/v1/migration';
import { done, jobOf, messageOf } from '../testing/migrations.ts';
import { FakeCoordinator, runCollected, type CliResult } from '../testing/run-cli.ts';

describe('atoll rebalance', () => {
  let server: FakeCoordinator;
  let plan: PlanRebalanceResponse;
  let answer: RebalanceResponse;
  const asked: RebalanceRequest[] = [];

  beforeAll(async () => {
    server = await FakeCoordinator.start({
      planRebalance: (_call, reply) => reply(null, plan),
      rebalance: (call, reply) => {
        asked.push(call.request);
        reply(null, answer);
      },
      watchMigration: (call: ServerWritableStream<WatchMigrationRequest, WatchMigrationResponse>) => {
        call.write(messageOf(jobOf(1, { state: MigrationState.MIGRATION_STATE_FAILED, endedAtMs: 1_001_000 }), [done(0)]));
        call.end();
      },
    });
  });
  beforeEach(() => {
    plan = PlanRebalanceResponse.create();
    answer = RebalanceResponse.create();
    asked.length = 0;
  });
  afterAll(() => server.stop());

  const run = (...args: string[]): Promise<CliResult> => runCollected(['rebalance', ...args, '--coordinator', server.address]);

  const noRoom = { keyspace: 'default', from: 'node-1', to: 'node-2', reason: 'BALANCE', refusal: 'NO_ROOM', detail: 'node-2 has room for 100 bytes and would get 900', migration: '' };
  const locked = { keyspace: 'sessions', from: 'node-1', to: 'node-4', reason: 'JOIN', refusal: 'RANGE_LOCKED', detail: 'migration m-1 has the partition', migration: 'm-1' };

  it('a dry run shows moves with their reasons, the time they take, and what is refused: partitions with one cause in a line', async () => {
    const move = PlannedMove.fromPartial({ keyspace: 'default', partition: 3, from: 'node-1', to: 'node-4', reason: 'JOIN', bytes: 4096, entries: 40 });
    const refused = [...[7, 5, 12, 6].map((partition) => ({ ...noRoom, partition })), { ...locked, partition: 5 }];
    plan = PlanRebalanceResponse.fromPartial({ moves: [move, { ...move, partition: 4, from: '', reason: 'MISSING' }], bytes: 8192, estimatedMs: 61_000, refused, refusedLeftOut: 3, refusals: ['carts: 2 of 64 partitions are not placed yet'] });
    const { code, out, err } = await run('--dry-run');
    expect({ code, err }).toEqual({ code: 0, err: 'refused: carts: 2 of 64 partitions are not placed yet\n3 more are refused\n' });
    expect(out.split('\n')).toEqual([
      'KEYSPACE  PARTITION  FROM    TO      REASON     BYTES  ENTRIES',
      'default           3  node-1  node-4  JOIN     4.0 KiB       40',
      'default           4  -       node-4  MISSING  4.0 KiB       40',
      'REFUSED       KEYSPACE  COUNT  PARTITIONS  WHY',
      'NO_ROOM       default       4  5 to 7, 12  node-2 has room for 100 bytes and would get 900',
      'RANGE_LOCKED  sessions      1  5           migration m-1 has the partition',
      '2 moves, 8.0 KiB, about 1m01s; 8 refused; nothing was done',
      '',
    ]);
    expect(JSON.parse((await run('--dry-run', '--json')).out)).toMatchObject({ moves: [{ reason: 'JOIN' }, { reason: 'MISSING' }], estimatedMs: 61_000, refused, refusedLeftOut: 3 });
    expect(asked).toEqual([]);
  });

  it('a dry run of which everything is refused says nothing of a place, and of many runs the first', async () => {
    plan = PlanRebalanceResponse.fromPartial({ refused: Array.from({ length: 10 }, (_, index) => ({ ...noRoom, partition: 2 * index })) });
    expect((await run('--dry-run')).out.split('\n')).toEqual([
      'REFUSED  KEYSPACE  COUNT  PARTITIONS                      WHY',
      'NO_ROOM  default      10  0, 2, 4, 6, 8, 10, 12, 14, ...  node-2 has room for 100 bytes and would get 900',
      '',
    ]);
  });

  it.each([[[]], [['--dry-run']]])('%j says when everything is in its place', async (flags) => {
    expect(await run(...flags)).toMatchObject({ code: 0, out: 'every replica is in its place: there is nothing to move\n', err: '' });
  });

  it('begins a job, under an id of its own so that it can be asked for again', async () => {
    answer = RebalanceResponse.fromPartial({ migration: jobOf(5), refused: [RefusedMove.fromPartial({ ...noRoom, partition: 5 })] });
    const { code, out, err } = await run('--keyspace', 'sessions');
    expect({ code, out }).toEqual({ code: 0, out: 'migration m-1: RUNNING, 5 partitions\n' });
    expect(err).toBe('refused: default 5: node-2 has room for 100 bytes and would get 900 (NO_ROOM)\natoll migrate watch m-1 shows how it gets on\n');
    expect(asked).toEqual([{ keyspace: 'sessions', id: expect.stringMatching(/^rebalance-[0-9a-f]{8}$/), method: 3, shards: 0 }]);
    expect(JSON.parse((await run('--json')).out)).toMatchObject({ migration: { id: 'm-1', state: 'RUNNING' }, refused: [{ partition: 5, refusal: 'NO_ROOM' }], refusedLeftOut: 0 });
  });

  it.each([
    { title: 'of a keyspace', fields: { refusals: ['no node has room'] }, err: 'refused: no node has room\n' },
    { title: 'of partitions', fields: { refused: [{ ...locked, partition: 1 }] }, err: 'refused: sessions 1: migration m-1 has the partition (RANGE_LOCKED)\n' },
  ])('fails when nothing of what should be done can be: $title', async ({ fields, err }) => {
    answer = RebalanceResponse.fromPartial(fields);
    expect(await run()).toMatchObject({ code: 1, out: '', err });
    expect(JSON.parse((await run('--json')).out)).toEqual({ migration: null, refusals: [], refused: [], refusedLeftOut: 0, ...fields });
  });

  it('goes on as watch, with its exit code', async () => {
    answer = RebalanceResponse.fromPartial({ migration: jobOf(1) });
    expect(await run('--watch')).toMatchObject({ code: 1, out: expect.stringContaining('m-1 FAILED: 0 of 1 partitions done in 1s') });
    expect(await run('--watch', '--dry-run')).toMatchObject({ code: 2 });
  });
});
