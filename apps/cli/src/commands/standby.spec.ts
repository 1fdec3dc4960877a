import { StandbyState, type Promotion, type StandbyStatus } from '@atoll/contracts/atoll/v1/standby';
import { AtollError } from '@atoll/core-errors';
import { toServiceError } from '@atoll/platform-grpc';
import { FakeCoordinator, runCollected } from '../testing/run-cli.ts';

const STATUS: StandbyStatus = { keyspace: 'orders', id: 's', state: StandbyState.STANDBY_STATE_FOLLOWING, pool: 'main', primary: 'orders', primaryPool: '', primaryCluster: 'far', primaryRouters: ['far:1', 'far:2'], partitions: 8, following: 8, lagSeq: 3, lagMs: 120.4, restarts: 0, comparedEntries: 500, differing: 0, entries: 500, bytes: 2048, problem: '', createdAtMs: 1, promotion: undefined };
const PROMOTION: Promotion = { atMs: 1_790_000_000_000, forced: true, pauseMs: 0, missingKnown: 12, ageMs: 17_400, unknown: 1, incomplete: 0, primaryFenced: false, partitions: [{ partition: 0, primaryPartition: 0, heldSeq: 1, heldAtMs: 2, knownSeq: 13, knownAtMs: 3 }] };
/** Of a keyspace of the same cluster, on another pool. */
const WITHIN: StandbyStatus = { ...STATUS, keyspace: 'orders-standby', pool: 'standby', primaryPool: 'main', primaryCluster: 'own', primaryRouters: [] };
const PROMOTED: StandbyStatus = { ...STATUS, state: StandbyState.STANDBY_STATE_PROMOTED, lagSeq: undefined, lagMs: undefined, promotion: PROMOTION };

let server: FakeCoordinator;
const asked: unknown[] = [];
afterEach(() => {
  server.stop();
  asked.length = 0;
});

async function standby(answer: StandbyStatus | AtollError, ...args: string[]): ReturnType<typeof runCollected> {
  const reply = <Response>(response: Response) => (call: { readonly request: unknown }, callback: (error: ReturnType<typeof toServiceError> | null, value?: Response) => void): void => {
    asked.push(call.request);
    if (answer instanceof AtollError) callback(toServiceError(answer));
    else callback(null, response);
  };
  const one = answer instanceof AtollError ? STATUS : answer;
  const many = { standbys: [one] };
  server = await FakeCoordinator.start({}, { createStandby: reply(many), listStandbys: reply(many), promoteStandby: reply({ standby: one }), fencePrimary: reply({ standby: one }), removeStandby: reply({}) });
  return runCollected(['backup', 'standby', ...args, '--coordinator', server.address]);
}

describe('atoll backup standby', () => {
  it('create: which keyspaces of which cluster', async () => {
    const { code, out } = await standby(STATUS, 'create', '--from-cluster', 'far:1,far:2', '--keyspaces', 'orders,users', '--resync', '--bytes-per-second', '5MB');
    expect([code, out]).toEqual([0, 'orders follows orders of cluster far\n']);
    expect(asked).toEqual([{ sourceRouters: ['far:1', 'far:2'], keyspaces: ['orders', 'users'], all: false, replicationFactor: 0, bytesPerSecond: 5_000_000, resync: true, pool: '' }]);
  });

  it.each([
    ['neither cluster nor pool', ['create', '--all']],
    ['a cluster and a pool', ['create', '--from-cluster', 'far:1', '--pool', 'standby', '--all']],
    ['stopped, and yet to be fenced', ['promote', 'orders', '--without-primary', '--primary-is-stopped', 'main']],
    ['no keyspace', ['create', '--from-cluster', 'far:1']],
    ['names beside all', ['create', '--from-cluster', 'far:1', '--all', '--keyspace', 'a']],
    ['too short a pause', ['promote', 'orders', '--max-pause-ms', '99']],
  ])('%s is wrong usage', async (_name, args) => {
    expect((await standby(STATUS, ...args)).code).toBe(2);
    expect(asked).toEqual([]);
  });

  it('list: one line each, with what is not known left open', async () => {
    const { out } = await standby(STATUS, 'list');
    expect(out.split('\n')[1]!.split(/ {2,}/)).toEqual(['orders', 'FOLLOWING', 'far', '8/8', '120 ms', '3', '500', '2.0 KiB']);
    server.stop();
    const promoted = await standby(PROMOTED, 'list');
    expect(promoted.out.split('\n')[1]).toMatch(/PROMOTED .* - .* the former primary has not been told yet$/);
  });

  it('of a pool of the same cluster: says which keyspace it follows there, and goes on without it when told to', async () => {
    const created = await standby(WITHIN, 'create', '--pool', 'standby', '--keyspace', 'orders');
    expect(created.out).toBe('orders-standby follows orders of pool main\n');
    expect(asked).toMatchObject([{ pool: 'standby', sourceRouters: [], keyspaces: ['orders'] }]);
    server.stop();
    const shown = await standby(WITHIN, 'show', 'orders');
    expect(shown.out).toMatch(/^standby +orders-standby, FOLLOWING, on pool standby\nprimary +orders, pool main\n/);
    server.stop();
    const waiting = { ...WITHIN, state: StandbyState.STANDBY_STATE_PROMOTING, problem: 'it is not certain yet' };
    const { code, out } = await standby(waiting, 'promote', 'orders', '--without-primary');
    expect([code, asked.at(-1)]).toEqual([3, { keyspace: 'orders', maxPauseMs: 2000, primaryIsStopped: '', acceptIncomplete: false, withoutPrimary: true }]);
    expect(out).toContain('problem         it is not certain yet');
  });

  it('watch: a line at a time', async () => {
    expect((await standby(STATUS, 'watch', 'orders', '--count', '1')).out).toBe('orders  FOLLOWING  120 ms behind, 3 entries\n');
    expect(asked).toEqual([{ keyspace: 'orders' }]);
  });

  it('promote: without the primary it tells what may be missing', async () => {
    const { code, out } = await standby(PROMOTED, 'promote', 'orders', '--primary-is-stopped', 'far');
    expect(code).toBe(0);
    expect(asked).toEqual([{ keyspace: 'orders', maxPauseMs: 2000, primaryIsStopped: 'far', acceptIncomplete: false, withoutPrimary: false }]);
    expect(out).toContain('promoted        2026-09-21T14:13:20.000Z, without the primary\n');
    expect(out).toContain('state           up to 17 s old: writes acknowledged at the primary since then are missing\n');
    expect(out).toContain('known to miss   12 log entries; of 1 partitions nothing is known\n');
    expect(out).toContain('atoll backup standby fence orders');
    server.stop();
    const { out: json } = await standby(PROMOTED, 'show', 'orders', '--json');
    expect(JSON.parse(json)).toMatchObject({ state: 'PROMOTED', promotion: { missingKnown: 12, partitions: [{ heldSeq: 1, knownSeq: 13 }] } });
  });

  it('promote: ends with 1 when it was given up, with 3 while it is under way, and says what to do when the primary is away', async () => {
    expect((await standby({ ...STATUS, problem: 'the cut-over was given up: writes were held for 2001 ms' }, 'promote', 'orders')).code).toBe(1);
    server.stop();
    expect((await standby({ ...STATUS, state: StandbyState.STANDBY_STATE_PROMOTING }, 'promote', 'orders')).code).toBe(3);
    server.stop();
    const away = await standby(new AtollError('SOURCE_UNREACHABLE', 'keyspace: no router of cluster far answers: if nobody writes to it any more, say so with primary_is_stopped = far'), 'promote', 'orders');
    expect([away.code !== 0, away.err]).toEqual([true, expect.stringContaining('primary_is_stopped = far')]);
  });

  it('fence: ends with 1 while the former primary may take writes', async () => {
    expect((await standby(PROMOTED, 'fence', 'orders')).code).toBe(1);
    server.stop();
    expect(await standby({ ...PROMOTED, promotion: { ...PROMOTION, primaryFenced: true } }, 'fence', 'orders')).toMatchObject({ code: 0, out: 'orders of cluster far takes no writes any more\n' });
  });

  it('remove', async () => {
    expect(await standby(STATUS, 'remove', 'orders')).toMatchObject({ code: 0, out: 'the standby of orders is being removed\n' });
  });
});
