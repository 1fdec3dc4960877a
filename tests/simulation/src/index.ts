export type { Mutant } from './mutant.ts';
export type { SimPlan } from './plan.ts';
export { World } from './world.ts';
export type { WorldFigures } from './world.ts';
