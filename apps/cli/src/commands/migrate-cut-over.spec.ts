import { MigrationState, type CutOverMigrationRequest, type Migration } from '@atoll/contracts/atoll/v1/migration';
import { AtollError } from '@atoll/core-errors';
import { toServiceError } from '@atoll/platform-grpc';
import { jobOf } from '../testing/migrations.ts';
import { FakeCoordinator, runCollected } from '../testing/run-cli.ts';

const COPY = { source: 'orders', target: 'orders-wide', following: true, lagSeq: 0, lagMs: 0, restarts: 0, comparedEntries: 20_000, differing: 0, sourceCluster: '', sourceRouters: [], tokenFrom: 0n, tokenTo: 0n, pausesMs: [41, 44], sourceArchive: '', takesPlaceOf: '' };
const asked: CutOverMigrationRequest[] = [];
let server: FakeCoordinator;
afterEach(() => {
  asked.length = 0;
  server.stop();
});

async function cutOver(answer: Partial<Migration> | AtollError, ...flags: string[]): ReturnType<typeof runCollected> {
  server = await FakeCoordinator.start({
    cutOverMigration: (call, reply) => {
      asked.push(call.request);
      if (answer instanceof AtollError) reply(toServiceError(answer));
      else reply(null, { migration: jobOf(2, { id: call.request.id, copy: COPY, ...answer }) });
    },
    getMigration: (call, reply) => reply(null, { migration: jobOf(2, { id: call.request.id, copy: COPY, ...(answer as Partial<Migration>) }), partitions: [] }),
  });
  return runCollected(['migrate', 'cut-over', 'c', ...flags, '--coordinator', server.address]);
}

describe('atoll migrate cut-over', () => {
  it('says what the keyspace is from now on, and for how long writes waited', async () => {
    expect(await cutOver({ state: MigrationState.MIGRATION_STATE_SUCCEEDED, pauseMsMax: 44 })).toMatchObject({ code: 0, out: 'migration c: SUCCEEDED, orders is orders-wide from now on; writes waited for 44 ms\n', err: '' });
    expect(asked).toEqual([{ id: 'c', maxPauseMs: 2000 }]);
    const { out } = await runCollected(['migrate', 'show', 'c', '--coordinator', server.address]);
    expect(out).toContain('cut over        orders is orders-wide; writes waited for 41 ms to 44 ms\n');
  });

  it('says of a source in another cluster that it takes no writes any more', async () => {
    const { out } = await cutOver({ state: MigrationState.MIGRATION_STATE_SUCCEEDED, pauseMsMax: 44, copy: { ...COPY, sourceCluster: 'far', sourceRouters: ['far:1'] } });
    expect(out).toBe('migration c: SUCCEEDED, orders-wide takes writes from now on, and orders of cluster far none; writes waited for 44 ms\n');
    const shown = await runCollected(['migrate', 'show', 'c', '--coordinator', server.address]);
    expect(shown.out).toContain('cut over        orders-wide has the place of orders of cluster far; writes waited for 41 ms to 44 ms\n');
  });

  it('ends with 1, and the reason, when it was given up', async () => {
    const problem = 'the cut-over was given up: writes were held for 512 ms, of at most 500: 1 partition of the copy did not come to the end of the source, 3';
    expect(await cutOver({ state: MigrationState.MIGRATION_STATE_RUNNING, problem }, '--max-pause-ms', '500')).toMatchObject({ code: 1, out: `migration c: RUNNING, ${problem}\n`, err: 'atoll migrate show c shows how it stands\n' });
    expect(asked[0]!.maxPauseMs).toBe(500);
  });

  it('ends with 3 while it is under way', async () => {
    expect(await cutOver({ state: MigrationState.MIGRATION_STATE_CUTTING_OVER })).toMatchObject({ code: 3, out: 'migration c: CUTTING_OVER\n' });
  });

  it('says what lacks when it is refused, and for programs all there is', async () => {
    const refused = await cutOver(new AtollError('CUT_OVER_REFUSED', 'id: orders-wide cannot take the place of orders now: 3 of 8 partitions do not follow yet'));
    expect([refused.code, refused.err]).toEqual([1, expect.stringContaining('3 of 8 partitions do not follow yet')]);
    server.stop();
    const { out } = await cutOver({ state: MigrationState.MIGRATION_STATE_SUCCEEDED, pauseMsMax: 44 }, '--json');
    expect(JSON.parse(out)).toMatchObject({ migration: { state: 'SUCCEEDED', pauseMsMax: 44, copy: { pausesMs: [41, 44] } } });
  });

  it.each(['99', '60001', 'soon'])('%s is no longest pause', async (value) => {
    expect((await cutOver({}, '--max-pause-ms', value)).code).not.toBe(0);
    expect(asked).toEqual([]);
  });
});
