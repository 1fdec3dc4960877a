// For our own simulations: what stands around production replicas in a world of virtual time.
export { CommittedModel } from './committed-model.ts';
export { Dice } from './dice.ts';
export { EventQueue } from './event-queue.ts';
export { ObservedState } from './observed-state.ts';
export type { StateObserver } from './observed-state.ts';
export { SimulatedDisk } from './simulated-disk.ts';
export type { DiskImage } from './simulated-disk.ts';
