// What worlds are like in which wrong implementations are likely to matter.
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

/** Leaders that are cut off from all but the clients, while others take over. */
export const CUT_OFF: Partial<SimPlan> = { ...DOUBT, faultGapMs: 900, downAfterMs: 400, faults: ['isolate leader', 'isolate leader', 'cut'] };

/** Leaders are cut off, and those that promised them a lease start again before it is over. */
export const PROMISES: Partial<SimPlan> = {
  ...DOUBT,
  isSync: true,
  downAfterMs: 400,
  faultGapMs: 300,
  faults: ['isolate leader', 'crash', 'crash'],
  spells: [
    [20, 200],
    [800, 1500],
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
  isSync: true,
  partitionCount: 2,
  clientCount: 4,
  downAfterMs: 400,
  deadlineMs: 300,
  replicationFactor: 3,
  faults: ['pause leader', 'isolate leader', 'crash leader', 'crash', 'slow', 'slow disk'],
};
