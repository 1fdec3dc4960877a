export { EXIT, classifyStartFailure } from './exit-codes.ts';
export type { ExitCode } from './exit-codes.ts';
export { runService } from './run-service.ts';
export type { ServiceContext, ServiceOptions } from './run-service.ts';
export { StopHooks } from './stop-hooks.ts';
export type { StopHook } from './stop-hooks.ts';
export { WAITING_INTERVAL_MS, waitFor } from './wait-for.ts';
export type { WaitForOptions } from './wait-for.ts';
