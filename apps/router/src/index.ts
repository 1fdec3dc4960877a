export { ROUTER_PREFIX, SETTINGS, parseConfig } from './config.ts';
export type { Config } from './config.ts';
export { startRouter } from './router.ts';
export type { Router, RouterOptions } from './router.ts';
