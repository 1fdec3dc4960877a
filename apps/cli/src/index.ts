export { runCli } from './cli.ts';
export { EXIT_CODE } from './exit-code.ts';
export type { ExitCode } from './exit-code.ts';
export type { Io } from './io.ts';
