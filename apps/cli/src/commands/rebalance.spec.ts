import { MigrationState, PlannedMove, PlanRebalanceResponse, type RebalanceRequest, type RebalanceResponse } from '@atoll/contracts/atoll/v1/migration';
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
    answer = { migration: undefined, refusals: [] };
    asked.length = 0;
  });
  afterAll(() => server.stop());

  const run = (...args: string[]): Promise<CliResult> => runCollected(['rebalance', ...args, '--coordinator', server.address]);

  it('a dry run shows moves with their reasons, the time they take, and what is refused', async () => {
    const move = PlannedMove.fromPartial({ keyspace: 'default', partition: 3, from: 'node-1', to: 'node-4', reason: 'JOIN', bytes: 4096, entries: 40 });
    plan = PlanRebalanceResponse.fromPartial({ moves: [move, { ...move, partition: 4, from: '', reason: 'MISSING' }], bytes: 8192, estimatedMs: 61_000, refusals: ['node-2 has no room for default/5'] });
    const { code, out, err } = await run('--dry-run');
    expect({ code, err }).toEqual({ code: 0, err: 'refused: node-2 has no room for default/5\n' });
    expect(out.split('\n')).toEqual([
      'KEYSPACE  PARTITION  FROM    TO      REASON     BYTES  ENTRIES',
      'default           3  node-1  node-4  JOIN     4.0 KiB       40',
      'default           4  -       node-4  MISSING  4.0 KiB       40',
      '2 moves, 8.0 KiB, about 1m01s; nothing was done',
      '',
    ]);
    expect(JSON.parse((await run('--dry-run', '--json')).out)).toMatchObject({ moves: [{ reason: 'JOIN' }, { reason: 'MISSING' }], estimatedMs: 61_000 });
    expect(asked).toEqual([]);
  });

  it.each([[[]], [['--dry-run']]])('%j says when everything is in its place', async (flags) => {
    expect(await run(...flags)).toMatchObject({ code: 0, out: 'every replica is in its place: there is nothing to move\n', err: '' });
  });

  it('begins a job, under an id of its own so that it can be asked for again', async () => {
    answer = { migration: jobOf(5), refusals: ['node-2 has no room for default/5'] };
    const { code, out, err } = await run('--keyspace', 'sessions');
    expect({ code, out }).toEqual({ code: 0, out: 'migration m-1: RUNNING, 5 partitions\n' });
    expect(err).toBe('refused: node-2 has no room for default/5\natoll migrate watch m-1 shows how it gets on\n');
    expect(asked).toEqual([{ keyspace: 'sessions', id: expect.stringMatching(/^rebalance-[0-9a-f]{8}$/), method: 3, shards: 0 }]);
    expect(JSON.parse((await run('--json')).out)).toMatchObject({ migration: { id: 'm-1', state: 'RUNNING' }, refusals: ['node-2 has no room for default/5'] });
  });

  it('fails when nothing of what should be done can be', async () => {
    answer = { migration: undefined, refusals: ['no node has room'] };
    expect(await run()).toMatchObject({ code: 1, out: '', err: 'refused: no node has room\n' });
    expect(JSON.parse((await run('--json')).out)).toEqual({ migration: null, refusals: ['no node has room'] });
  });

  it('goes on as watch, with its exit code', async () => {
    answer = { migration: jobOf(1), refusals: [] };
    expect(await run('--watch')).toMatchObject({ code: 1, out: expect.stringContaining('m-1 FAILED: 0 of 1 partitions done in 1s') });
    expect(await run('--watch', '--dry-run')).toMatchObject({ code: 2 });
  });
});
