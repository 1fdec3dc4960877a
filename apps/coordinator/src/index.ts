export { COORDINATOR_PREFIX, SETTINGS, parseConfig } from './config.ts';
export type { Config } from './config.ts';
export { startCoordinator } from './coordinator.ts';
export type { Coordinator, CoordinatorOptions } from './coordinator.ts';
