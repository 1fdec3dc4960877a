import { runCli } from './cli.ts';

const { stdin, stdout, stderr, env } = process;
// A reader that has seen enough (`atoll scan | head`) ends the command quietly. A terminal that was closed
// (EIO) has sent SIGHUP as well, which ends a local cluster in good order.
stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EIO') process.exit(error.code === 'EPIPE' ? 0 : 1);
});
stderr.on('error', () => undefined);
process.exitCode = await runCli(process.argv.slice(2), { stdin, stdout, stderr, env, cwd: process.cwd() });
