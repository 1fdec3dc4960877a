import { KIB, MIB } from '@atoll/core-runtime';
import type { Dice } from '@atoll/core-replication/testing';

export const FAULT_KINDS = [
  'crash',
  'crash leader',
  'restart inside a lease',
  'pause',
  'pause leader',
  'suspend',
  'suspend leader',
  'cut',
  'cut one way',
  'isolate',
  'isolate leader',
  'isolate from clients only',
  'break',
  'slow',
  'slow disk',
  'etcd lossy',
  'cut at swap',
  'etcd away',
  'etcd set back',
  'wall',
  'coordinator crash',
  'coordinator pause',
  'coordinator cut',
  'coordinator clings',
  'transfer',
  'drain',
  'join',
] as const;
/** Strike just when a cut-over comes to a step, drawn anew each time: of worlds with copies alone. */
export const CUT_OVER_FAULTS = [
  'coordinator crash at cut-over',
  'leader crash at cut-over',
  'leader pause at cut-over',
  'cut at cut-over',
  'etcd lossy at cut-over',
  'etcd away at cut-over',
  'clients hear late at cut-over',
] as const;
export type FaultKind = (typeof FAULT_KINDS)[number] | (typeof CUT_OVER_FAULTS)[number];

/** What one world is like; drawn from its seed. Times of the protocol are production's defaults, but for those here. */
export interface SimPlan {
  readonly nodeCount: number;
  readonly coordinatorCount: number;
  readonly clientCount: number;
  readonly partitionCount: number;
  readonly replicationFactor: number;
  readonly minInSync: number;
  readonly isSync: boolean;
  readonly onDataLoss: 'WAIT' | 'RESET';
  readonly eviction: 'LRU' | 'NONE';
  readonly memoryBytes: number;
  readonly logBytesMax: number;
  readonly keyCount: number;
  readonly valueBytesMax: number;
  /** Longest pause between two operations of a client. */
  readonly thinkMsMax: number;
  /** Time after which a client gives an operation up. */
  readonly deadlineMs: number;
  readonly delayMsMax: number;
  /**
   * Kinds of faults that this world has. Most have a few only, so that chains of one kind become likely (swarm testing,
   * Groce et al., ISSTA 2012).
   */
  readonly faults: readonly FaultKind[];
  /** How long a trouble may last, from and to; one of them is drawn for each. */
  readonly spells: readonly (readonly [number, number])[];
  /** Faults happen for so long. */
  readonly faultsMs: number;
  /** Mean pause between two faults. */
  readonly faultGapMs: number;
  readonly wallSkewMs: number;
  /** How far a machine's clock may run fast or slow: 0.01 is one percent. */
  readonly clockRateSpread: number;
  /** Silence after which a node is held dead: below the lease, offices change while the promises of successors still stand. */
  readonly downAfterMs: number;
  /** Mean pause between two things that are asked of migrations, beside the faults; 0: nothing is asked. */
  readonly migrationGapMs: number;
  /** Mean pause between two things that are asked of copies of the keyspace (R37); 0: there are none. */
  readonly copyGapMs: number;
  /** Whether processes may lose data that nobody else has. */
  readonly mayLoseData: boolean;
  /** Whether clients write under locks, with fencing tokens. */
  readonly isFenced: boolean;
  /** Sub-ranges into which each install is split, filled side by side by the leader and those that follow; 1: none. */
  readonly installStreams: number;
  /** The one machine that faults strike, where there is one: chains of events need it. */
  readonly focus: boolean;
}

export function drawPlan(dice: Dice): SimPlan {
  const migrationGapMs = dice.chance(0.5) ? dice.pick([300, 900, 2500]) : 0;
  const nodeCount = migrationGapMs > 0 ? dice.pick([3, 4, 4, 5]) : dice.pick([3, 3, 3, 4, 5]);
  const replicationFactor = dice.pick([2, 3, 3]);
  const mayLoseData = dice.chance(0.15);
  const plan = {
    nodeCount,
    coordinatorCount: 2,
    clientCount: dice.pick([2, 3, 4]),
    partitionCount: dice.pick([1, 1, 2, 4]),
    replicationFactor,
    minInSync: replicationFactor === 2 ? 1 : dice.pick([1, 2, 2]),
    isSync: dice.chance(0.4),
    onDataLoss: mayLoseData && dice.chance(0.6) ? 'RESET' : 'WAIT',
    eviction: dice.chance(0.8) ? 'LRU' : 'NONE',
    memoryBytes: dice.pick([8 * KIB, 256 * KIB, 256 * KIB]),
    logBytesMax: dice.pick([4 * KIB, 64 * KIB, 256 * KIB]),
    keyCount: dice.pick([4, 12, 40, 100]),
    valueBytesMax: dice.pick([8, 40, 200]),
    thinkMsMax: dice.pick([20, 60, 200]),
    deadlineMs: dice.pick([300, 1000, 3000]),
    delayMsMax: dice.pick([1, 4, 15]),
    faults: drawFaults(dice),
    spells: SPELLS,
    faultsMs: dice.between(8000, 20_000),
    faultGapMs: dice.pick([300, 900, 2000]),
    wallSkewMs: dice.pick([0, 20, 3000]),
    clockRateSpread: dice.pick([0, 0.005, 0.02]),
    downAfterMs: dice.pick([400, 900, 900]),
    migrationGapMs,
    copyGapMs: 0,
    mayLoseData,
    isFenced: dice.chance(0.3),
    focus: dice.chance(0.3),
  } as const;
  // Not drawn: the worlds of half of all seeds stay what they were.
  return { ...plan, installStreams: plan.faultsMs % 2 === 0 ? 1 : 4 };
}

/**
 * A world whose keyspace is copied, again and again, while all of that goes on; the copies take its place, or are cancelled (R37).
 * Nothing is evicted, so that a copy has all that its source has; etcd is not set back, since copies are not rebuilt (R13).
 */
export function drawCopyPlan(dice: Dice): SimPlan {
  const plan = drawPlan(dice);
  const faults = plan.faults.filter((kind) => kind !== 'etcd set back');
  return {
    ...plan,
    nodeCount: dice.pick([3, 3, 4]),
    faults: [...faults, ...Array.from({ length: 3 }, () => dice.pick(CUT_OVER_FAULTS))],
    isSync: dice.chance(0.8),
    onDataLoss: 'WAIT',
    mayLoseData: false,
    isFenced: false,
    eviction: 'NONE',
    memoryBytes: MIB,
    migrationGapMs: dice.chance(0.3) ? 900 : 0,
    copyGapMs: dice.pick([150, 400, 900]),
  };
}

/** Often short, inside a lease; sometimes long enough for everybody to notice. */
const SPELLS: SimPlan['spells'] = [
  [20, 400],
  [300, 1500],
  [1500, 6000],
];

function drawFaults(dice: Dice): readonly FaultKind[] {
  if (dice.chance(0.25)) return FAULT_KINDS;
  return Array.from({ length: dice.between(3, 7) }, () => dice.pick(FAULT_KINDS));
}

/** The settings of the processes: production's defaults. */
export const SETTINGS = {
  leaseMs: 1000,
  driftMs: 50,
  heartbeatMs: 100,
  followerAckTimeoutMs: 600,
  rejoinAfterMs: 1000,
  changeRetryMs: 100,
  replicaTickMs: 50,
  registrationTtlMs: 3000,
  electionTtlMs: 3000,
  coordinatorTickMs: 100,
  suspectAfterMs: 300,
  graceMs: 1000,
  etcdLostMs: 3000,
  takeOfficeMs: 1000,
  fenceAfterMs: 6000,
  reReplicateAfterMs: 8000,
  inventoryMs: 500,
  /** Few, so that operators wait for their turn. */
  fillsPerNode: 2,
  migrationsMax: 2,
  conflictAgainMs: 500,
  /** Sooner than in production, so that worlds end sooner. */
  migrateAgainMs: 5000,
  copiesTickMs: 200,
} as const;
