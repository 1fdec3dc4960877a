// What worlds are like in which wrong implementations are likely to matter.
import { KIB } from '@atoll/core-runtime';
import type { SimPlan } from './plan.ts';

/** Records change often, answers of etcd are lost, and a set of two has no majority to hide behind. */
export const DOUBT: Partial<SimPlan> = {
  nodeCount: 3,
  replicationFactor: 2,
  minInSync: 1,
  partitionCount: 4,
  mayLoseData: false,
  onDataLoss: 'WAIT',
  thinkMsMax: 20,
  faultGapMs: 300,
  faults: ['etcd lossy', 'cut at swap', 'cut at swap', 'isolate leader', 'cut', 'crash'],
};

/** Leaders that are cut off in the moment in which their set changes, for long enough that others take over. */
export const SWAPS: Partial<SimPlan> = {
  ...DOUBT,
  downAfterMs: 400,
  faultGapMs: 900,
  faults: ['cut at swap', 'cut at swap', 'cut', 'cut', 'etcd lossy'],
  spells: [
    [700, 1500],
    [1500, 4000],
  ],
};

/** Replicas change their nodes, while coordinators come and go and etcd's answers are lost. */
export const MOVES: Partial<SimPlan> = {
  nodeCount: 4,
  replicationFactor: 2,
  minInSync: 1,
  partitionCount: 2,
  mayLoseData: false,
  onDataLoss: 'WAIT',
  migrationGapMs: 300,
  faultGapMs: 900,
  faults: ['etcd lossy', 'coordinator crash', 'cut', 'pause'],
};

/** Leaders that are cut off from all but the clients, while others take over. */
export const CUT_OFF: Partial<SimPlan> = { ...DOUBT, faultGapMs: 900, downAfterMs: 400, faults: ['isolate leader', 'isolate leader', 'cut'] };

/** Leaders are cut off, and those that promised them a lease start again before it is over. */
export const PROMISES: Partial<SimPlan> = {
  ...DOUBT,
  isSync: true,
  downAfterMs: 400,
  faultGapMs: 2000,
  faults: ['restart inside a lease'],
  spells: [
    [800, 1500],
    [1500, 3000],
  ],
};

/** Leaders that are back before anybody notices, with a log whose end their followers have and they have not. */
export const QUICK_RESTARTS: Partial<SimPlan> = {
  ...DOUBT,
  isSync: true,
  partitionCount: 1,
  clientCount: 4,
  downAfterMs: 900,
  faults: ['crash leader', 'crash leader', 'coordinator crash', 'slow disk'],
  spells: [
    [5, 60],
    [300, 1500],
  ],
};

/** Chains of leaders that each had a log of their own. */
export const TAILS: Partial<SimPlan> = {
  ...DOUBT,
  partitionCount: 1,
  clientCount: 8,
  thinkMsMax: 5,
  downAfterMs: 400,
  deadlineMs: 300,
  replicationFactor: 3,
  faults: ['pause leader', 'pause leader', 'isolate leader', 'cut', 'slow'],
  spells: [
    [300, 900],
    [900, 2000],
  ],
};

/** Followers that fall behind a short log, and are filled anew while keys are deleted. */
export const INSTALLS: Partial<SimPlan> = {
  nodeCount: 3,
  partitionCount: 1,
  clientCount: 8,
  replicationFactor: 3,
  minInSync: 1,
  mayLoseData: false,
  onDataLoss: 'WAIT',
  isSync: false,
  isFenced: false,
  logBytesMax: 4 * KIB,
  memoryBytes: 1024 * KIB,
  keyCount: 400,
  valueBytesMax: 400,
  thinkMsMax: 5,
  delayMsMax: 4,
  faultGapMs: 900,
  faults: ['cut', 'isolate', 'slow'],
  spells: [
    [100, 400],
    [700, 1500],
  ],
};

/** Copies take the place of their source, over and over, among leaders that are cut off and coordinators that die in the middle. */
export const COPIES: Partial<SimPlan> = {
  nodeCount: 3,
  partitionCount: 2,
  replicationFactor: 2,
  minInSync: 1,
  isSync: true,
  clientCount: 4,
  keyCount: 40,
  thinkMsMax: 20,
  deadlineMs: 3000,
  logBytesMax: 256 * KIB,
  migrationGapMs: 0,
  copyGapMs: 150,
  faultGapMs: 900,
  faults: ['pause leader', 'isolate leader', 'cut', 'coordinator crash', 'leader pause at cut-over', 'cut at cut-over', 'coordinator crash at cut-over'],
};

/** Clients hear late of cut-overs, and go on with few keys where these were. */
export const LATE_NEWS: Partial<SimPlan> = {
  ...COPIES,
  keyCount: 6,
  faultGapMs: 300,
  faults: ['clients hear late at cut-over', 'clients hear late at cut-over', 'cut'],
  spells: [
    [700, 1500],
    [1500, 4000],
  ],
};

/** The same, by several sub-ranges side by side, and while replicas change their nodes. */
export const SHARDS: Partial<SimPlan> = {
  ...INSTALLS,
  nodeCount: 4,
  replicationFactor: 2,
  installStreams: 4,
  migrationGapMs: 300,
};
