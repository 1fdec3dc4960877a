import { runCli } from './cli.ts';

const { stdin, stdout, stderr, env } = process;
// A reader that has seen enough (`atoll scan | head`) ends the command quietly.
stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
process.exitCode = await runCli(process.argv.slice(2), { stdin, stdout, stderr, env, cwd: process.cwd() });
