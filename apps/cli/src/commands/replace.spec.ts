import { MigrationState, MigrationStep, type ReplaceNodeRequest } from '@atoll/contracts/atoll/v1/migration';
import type { ServerWritableStream } from '@grpc/grpc-js';
import type { WatchMigrationRequest, WatchMigrationResponse } from '@atoll/contracts/atoll/v1/migration';
import { done, jobOf, messageOf, partitionIn } from '../testing/migrations.ts';
import { FakeCoordinator, runCollected, type CliResult } from '../testing/run-cli.ts';

describe('atoll nodes replace', () => {
  let server: FakeCoordinator;
  const asked: ReplaceNodeRequest[] = [];

  beforeAll(async () => {
    server = await FakeCoordinator.start({
      replaceNode: (call, reply) => {
        asked.push(call.request);
        const migration = jobOf(2, { reason: 'REPLACE' });
        reply(null, { migration, partitions: [0, 1].map((partition) => partitionIn(MigrationStep.MIGRATION_STEP_WAITING, partition)), refusals: ['default/7 has no in-sync replica but the one on node-1'] });
      },
      watchMigration: (call: ServerWritableStream<WatchMigrationRequest, WatchMigrationResponse>) => {
        call.write(messageOf(jobOf(1, { state: MigrationState.MIGRATION_STATE_SUCCEEDED, endedAtMs: 1_001_000 }), [done(0)]));
        call.end();
      },
    });
  });
  beforeEach(() => void (asked.length = 0));
  afterAll(() => server.stop());

  const run = (...args: string[]): Promise<CliResult> => runCollected(['nodes', 'replace', ...args, '--coordinator', server.address]);

  it('begins a job under an id of its own, and says what becomes of the old node and what is left out', async () => {
    const { code, out, err } = await run('node-1', 'node-4', '--bytes-per-second', '50MB');
    expect({ code, out }).toEqual({ code: 0, out: 'migration m-1: RUNNING, 2 partitions; node-1 is drained until it holds nothing\n' });
    expect(err).toBe('default/7 has no in-sync replica but the one on node-1\natoll migrate watch m-1 shows how it gets on\n');
    expect(asked).toEqual([{ id: expect.stringMatching(/^replace-[0-9a-f]{8}$/), from: 'node-1', to: 'node-4', bytesPerSecond: 50_000_000, fullVerify: false, dryRun: false }]);
  });

  it('goes on as watch, with its exit code', async () => {
    expect(await run('node-1', 'node-4', '--watch', '--id', 'swap')).toMatchObject({ code: 0, out: expect.stringContaining('SUCCEEDED') });
    expect(asked.map(({ id }) => id)).toEqual(['swap']);
  });

  it('shows what would be done, and does nothing', async () => {
    const { code, out } = await run('node-1', 'node-4', '--dry-run');
    expect({ code, last: out.trimEnd().split('\n').at(-1) }).toEqual({ code: 0, last: '2 partitions, 8.0 KiB would move; nothing was done' });
    expect(asked.map(({ dryRun }) => dryRun)).toEqual([true]);
  });

  it('answers programs in JSON', async () => {
    expect(JSON.parse((await run('node-1', 'node-4', '--json')).out)).toMatchObject({ migration: { id: 'm-1', reason: 'REPLACE' }, partitions: [{ partition: 0 }, { partition: 1 }], refusals: [expect.any(String)] });
  });

  it('refuses one node in place of itself', async () => {
    expect(await run('node-1', 'node-1')).toMatchObject({ code: 2, err: expect.stringContaining('<old> and <new> name the same node') });
    expect(asked).toEqual([]);
  });
});
