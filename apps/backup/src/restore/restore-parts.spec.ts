// How a restore waits for the migrations that fill its keyspaces, beside a coordinator that says what the spec wants.
import { AdminService } from '@atoll/contracts/atoll/v1/admin';
import { GetMigrationResponse, Migration, MigrationState, PartitionMigration } from '@atoll/contracts/atoll/v1/migration';
import { formatAddress } from '@atoll/platform-config';
import { ELECTION_PREFIX, ensureClusterId, openClusterView, type ClusterView } from '@atoll/platform-etcd';
import { InMemoryMetadataStore } from '@atoll/platform-etcd/testing';
import { createGrpcServer } from '@atoll/platform-grpc';
import { createLogger, startTelemetry } from '@atoll/platform-telemetry';
import { ClusterCalls } from '../jobs/cluster-calls.ts';
import type { JobRun } from '../jobs/job-kind.ts';
import { cancelPart, untilFilled, type PartRun } from './restore-parts.ts';
import { ROOM_PATIENCE_MS, RoomWait } from './room-wait.ts';

const FULL = { problem: 'MEMORY_EXHAUSTED: no room for 300 bytes in keyspace orders', problemReason: 'MEMORY_EXHAUSTED' };
const partition = (bytes: number, more: Partial<PartitionMigration> = {}): PartitionMigration => PartitionMigration.fromPartial({ keyspace: 'orders', bytes, entries: bytes / 100, ...more });
const MEMORY = new Map([['b', { usedBytes: 1000, limitBytes: 1000 }], ['a', { usedBytes: 900, limitBytes: 1000 }]]);

describe('a restore whose nodes become full', () => {
  let stops: (() => Promise<unknown>)[];
  let view: ClusterView;
  let state: MigrationState;
  /** What the partitions say, one look after the other; the last one again and again. */
  let looks: PartitionMigration[][];
  let isFilled: boolean;
  const waits: string[] = [];

  beforeEach(async () => {
    state = MigrationState.MIGRATION_STATE_RUNNING;
    isFilled = false;
    waits.length = 0;
    const telemetry = await startTelemetry({ service: 'coordinator', instanceId: 'c', version: '0', traceRatio: 0 });
    const grpc = createGrpcServer({ telemetry, logger: createLogger({ service: 'coordinator', instanceId: 'c', level: 'silent', format: 'json' }) });
    const { getMigration, cancelMigration } = AdminService;
    grpc.server.addService({ getMigration, cancelMigration }, {
      getMigration: grpc.handlers.unary(getMigration, async () => {
        if (state === MigrationState.MIGRATION_STATE_CANCELLING) state = MigrationState.MIGRATION_STATE_CANCELLED;
        const partitions = looks.length > 1 ? looks.shift()! : looks[0]!;
        isFilled ||= partitions.every(({ problem }) => problem === '');
        const bytes = partitions.reduce((sum, one) => sum + one.bytes, 0);
        return GetMigrationResponse.fromPartial({ migration: Migration.fromPartial({ id: 'm', state, bytes, entries: bytes / 100, copy: { target: 'orders', following: isFilled, ...(isFilled && { comparedEntries: 3 }), differing: 0 } }), partitions });
      }),
      cancelMigration: grpc.handlers.unary(cancelMigration, async () => {
        state = MigrationState.MIGRATION_STATE_CANCELLING;
        return { migration: undefined };
      }),
    });
    const address = formatAddress(await grpc.listen({ host: '127.0.0.1', port: 0 }));
    const store = new InMemoryMetadataStore();
    await ensureClusterId(store, () => 'c1');
    await store.transact([], [{ kind: 'put', key: `${ELECTION_PREFIX}1`, value: JSON.stringify({ id: 'c', address }) }]);
    view = await openClusterView(store, { onProblem: (problem) => void waits.push(problem) });
    stops = [() => store.close(), () => telemetry.shutdown(), () => grpc.close(AbortSignal.timeout(1000)), () => view.close()];
  });
  afterEach(async () => {
    for (const stop of stops.reverse()) await stop();
  });

  function partRun(roomPatienceMs: number): PartRun {
    const run = { signal: new AbortController().signal, waitsFor: (problem: string) => void (problem !== '' && waits.push(problem)) } as unknown as JobRun;
    const calls = new ClusterCalls(view, run.signal);
    stops.push(async () => calls.close());
    return { run, calls, migration: 'm', failure: () => undefined, onSeen: () => undefined, memory: async () => MEMORY, roomPatienceMs };
  }

  it('waits for room for a bounded time, fails with the numbers, and can be taken back', async () => {
    looks = [[partition(100), partition(200, FULL)], [partition(100), partition(300, FULL)]];
    const run = partRun(400);
    await expect(untilFilled(run)).rejects.toMatchObject({
      reason: 'CAPACITY_SHORT',
      message: expect.stringMatching(/^target: nothing more of orders .* with 4 entries there that take 400 bytes .*no room for 300 bytes.*the 50 bytes that 2 nodes have free below 95 % there are a 50, b 0$/),
      metadata: { field: 'target', held_bytes: '400', free_bytes: '50' },
    });
    expect(waits).toContain(FULL.problem);
    expect(await cancelPart(run.run, run.calls, 'm')).toBe(true);
    expect(state).toBe(MigrationState.MIGRATION_STATE_CANCELLED);
  });

  it('goes on where room is found before that', async () => {
    looks = [[partition(200, FULL)], [partition(200, FULL)], [partition(500)]];
    await untilFilled(partRun(ROOM_PATIENCE_MS));
    expect(waits).toEqual([FULL.problem]);
  });

  it.each<[string, readonly (readonly [number, PartitionMigration[]])[], number | undefined]>([
    ['is over when nothing came for the time', [[0, [partition(5, FULL)]], [1, [partition(5, FULL)]], [100, [partition(5, FULL)]], [101, [partition(5, FULL)]]], 101],
    ['is not while something comes, of whichever partition', [[0, [partition(5, FULL)]], [90, [partition(5, FULL), partition(1)]], [180, [partition(5, FULL), partition(2)]], [270, [partition(5, FULL), partition(2)]]], undefined],
    ['begins anew when nobody lacks room in between', [[0, [partition(5, FULL)]], [1, [partition(5, FULL)]], [90, [partition(5)]], [180, [partition(5, FULL)]], [279, [partition(5, FULL)]]], undefined],
    ['counts what is there once: what is removed and comes again is nothing new', [[0, [partition(9, FULL)]], [50, [partition(3, FULL)]], [149, [partition(9, FULL)]], [150, [partition(9, FULL)]]], 150],
    ['is not for other problems', [[0, [partition(5, { problem: 'PEER_UNAVAILABLE: away', problemReason: 'PEER_UNAVAILABLE' })]], [500, [partition(5, { problem: 'PEER_UNAVAILABLE: away', problemReason: 'PEER_UNAVAILABLE' })]]], undefined],
  ])('its patience %s', (_, seen, overMs) => {
    const wait = new RoomWait(100);
    expect(seen.find(([nowMs, partitions]) => wait.look(partitions, nowMs).isOver)?.[0]).toBe(overMs);
  });
});
