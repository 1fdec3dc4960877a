import * as fc from 'fast-check';
import type { PartitionRecord } from '@atoll/core-membership';
import { MigrationWorld, REPLICATION_FACTOR, nodeId, nodesOf } from './testing/migration-world.ts';

const SEED = 20_260_303;
const NODES = ['a', 'b', 'c', 'd'];
const PARTITIONS = 8;

interface Event {
  readonly kind: number;
  readonly pick: number;
}

const pickOf = <T>(list: readonly T[], pick: number): T | undefined => list[pick % Math.max(1, list.length)];

/** What happens in a life without failures: moves are asked for and stopped, coordinators die, time passes. */
function calmEvents(world: MigrationWorld, pick: number): (() => unknown)[] {
  const id = pickOf(world.activeJobs(), pick);
  const share = ((pick % 4) + 1) / 4;
  return [
    () => world.move(nodeId(NODES[pick % 4]!), nodeId(NODES[(pick + 1 + (pick % 3)) % 4]!)),
    () => id && world.ask(id, { kind: 'cancel' }),
    () => id && world.ask(id, { kind: 'pause' }),
    () => id && world.ask(id, { kind: 'resume' }),
    () => world.restartCoordinator(),
    () => world.cluster.write(),
    () => world.pass(pick % 2 === 0 ? 100 : 5000),
    ...Array.from({ length: 3 }, () => () => world.decide(share)),
    ...Array.from({ length: 3 }, () => () => world.step(share)),
    ...Array.from({ length: 3 }, () => () => world.work()),
    () => world.verify(),
    () => world.handOver(),
  ];
}

function failures(world: MigrationWorld, pick: number): (() => unknown)[] {
  const { cluster } = world;
  const node = NODES[pick % 4]!;
  const spec = cluster.specs.get(node);
  const setSpec = (state: 'UP' | 'DRAINING'): unknown => spec && cluster.specs.set(node, { ...spec, state });
  return [
    () => cluster.start(node),
    () => cluster.vanish(node),
    () => cluster.judge(node, 'DOWN'),
    () => cluster.nodes.get(node)?.phase === 'SERVING' && cluster.judge(node, 'UP'),
    () => setSpec('DRAINING'),
    () => setSpec('UP'),
    () => (cluster.nodes.has(node) ? cluster.writtenOff.delete(node) : cluster.writtenOff.add(node)),
    () => world.pass(130_000),
    () => (world.difference = pick % 3 === 0 ? 'one sub-range differs' : ''),
  ];
}

/** Every node is there and wanted, and nothing is paused. */
function heal(world: MigrationWorld): void {
  const { cluster } = world;
  world.difference = '';
  cluster.writtenOff.clear();
  for (const node of NODES) {
    if (cluster.nodes.get(node)?.phase === 'SERVING') cluster.judge(node, 'UP');
    else cluster.start(node);
    const spec = cluster.specs.get(node);
    if (spec !== undefined) cluster.specs.set(node, { ...spec, state: 'UP' });
  }
  for (const id of world.activeJobs()) world.ask(id, { kind: 'resume' });
}

function run(seed: number, events: readonly Event[], isFaulty: boolean): MigrationWorld {
  const world = new MigrationWorld(seed, NODES, PARTITIONS);
  for (const { kind, pick } of events) {
    const possible = [...calmEvents(world, pick), ...(isFaulty ? failures(world, pick) : [])];
    possible[kind % possible.length]!();
  }
  heal(world);
  world.settle();
  return world;
}

const events = fc.array(fc.record({ kind: fc.nat(10_000), pick: fc.nat(10_000) }), { minLength: 20, maxLength: 150 });

/** Jobs that have not ended, or whose partitions do not add up, and records that are not whole. */
function problemsAtRest(world: MigrationWorld): string[] {
  const jobs = [...world.jobs.values()].filter(({ done, rolledBack, total }) => done + rolledBack !== total).map(({ id }) => `${id} does not add up`);
  const isWhole = ({ state, inSync, learners, leaving }: PartitionRecord): boolean => state === 'ACTIVE' && inSync.length === REPLICATION_FACTOR && learners.length + leaving.length === 0;
  const records = [...world.cluster.records.values()].filter(({ record }) => !isWhole(record)).map(({ record }) => JSON.stringify(record));
  return [...world.activeJobs(), ...jobs, ...records];
}

describe(`migrations in a toy cluster (seed ${SEED}, which fast-check prints with the counterexample)`, () => {
  it('without failures: every operator ends, DONE where it should be and ROLLED_BACK where it was; cancelled, paused, taken over by others (I8)', () => {
    fc.assert(
      fc.property(fc.nat(1_000_000), events, (seed, list) => {
        const world = run(seed, list, false);
        expect(problemsAtRest(world)).toEqual([]);
        for (const { operator, record } of world.ended) expect(nodesOf(record)).toEqual([...(operator.step === 'DONE' ? operator.after : operator.before)].sort());
        expect([...world.jobs.values()].filter(({ state }) => state === 'FAILED').map(({ problem }) => problem)).toEqual([]);
      }),
      { seed: SEED, numRuns: 100, interruptAfterTimeLimit: 60_000 },
    );
  });

  it('with failures: every operator ends, no replica is given up before its successor is complete, and redundancy is whole in the end', () => {
    fc.assert(
      fc.property(fc.nat(1_000_000), events, (seed, list) => {
        expect(problemsAtRest(run(seed, list, true))).toEqual([]);
      }),
      { seed: SEED, numRuns: 150, interruptAfterTimeLimit: 60_000, endOnFailure: true },
    );
  });
});
