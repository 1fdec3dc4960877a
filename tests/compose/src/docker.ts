// Docker as its command line has it. Only `findDocker` is allowed to find nothing; it starts no daemon.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
export const COMPOSE_DIR = fileURLToPath(new URL('../../../infra/compose', import.meta.url));

const ANSWER_MS = 10_000;

export interface CommandResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command in `infra/compose`; a command that is not there ends with code 127. */
export function run(command: readonly string[], { env = process.env, timeoutMs = 120_000 }: { env?: Readonly<Record<string, string | undefined>>; timeoutMs?: number } = {}): Promise<CommandResult> {
  const [file = '', ...args] = command;
  return new Promise((resolve) => {
    const child = spawn(file, args, { cwd: COMPOSE_DIR, env: { ...env }, stdio: ['ignore', 'pipe', 'pipe'], timeout: timeoutMs, killSignal: 'SIGKILL' });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.once('error', (error) => resolve({ code: 127, stdout, stderr: error.message }));
    child.once('close', (code) => resolve({ code, stdout, stderr }));
  });
}

/** As `run`, for commands that have to succeed; resolves with what it printed. */
export async function must(command: readonly string[], options?: Parameters<typeof run>[1]): Promise<string> {
  const { code, stdout, stderr } = await run(command, options);
  if (code !== 0) throw new Error(`${command.join(' ')} ended with code ${code}: ${stderr.trim() || stdout.trim()}`);
  return stdout.trim();
}

export type DockerFound = { readonly compose: readonly string[] } | { readonly missing: string };

/** The command for Compose where an engine answers and all images of these services are there; else what is missing. */
export async function findDocker(services: readonly string[]): Promise<DockerFound> {
  const engine = await run(['docker', 'version', '--format', '{{.Server.Version}}'], { timeoutMs: ANSWER_MS });
  if (engine.code !== 0) return { missing: `no Docker engine answers (${engine.stderr.trim().split('\n').at(-1)})` };
  const commands = [['docker', 'compose'], ['docker-compose']];
  for (const compose of commands) {
    const { code } = await run([...compose, 'version'], { timeoutMs: ANSWER_MS });
    if (code !== 0) continue;
    const images = await imagesOf(compose, services);
    const found = await Promise.all(images.map((image) => run(['docker', 'image', 'inspect', image], { timeoutMs: ANSWER_MS })));
    const absent = images.filter((_, index) => found[index]!.code !== 0);
    return absent.length === 0 ? { compose } : { missing: `images are missing: ${absent.join(', ')} (docker compose build, in infra/compose; docker pull)` };
  }
  return { missing: 'Docker Compose is missing' };
}

async function imagesOf(compose: readonly string[], services: readonly string[]): Promise<string[]> {
  const config = await must([...compose, 'config'], { env: { ...process.env, COMPOSE_PROFILES: 'scale-out,standby,tools' } });
  const images = services.map((service) => new RegExp(`^  ${service}:\\n(?: {4}.*\\n)*? {4}image: (\\S+)`, 'm').exec(`${config}\n`)?.[1]);
  return [...new Set(images.map((image, index) => image ?? `that of ${services[index]}`))];
}
