// node tests/compose/src/guide/main.ts CHAPTER...   executes chapters of docs/operating as they are written, in a compose
// project of its own, with clients that write and read all the while, and says what was not as the text has it:
//
//   node tests/compose/src/guide/main.ts deploy scale replace-node
//   node tests/compose/src/guide/main.ts --from 0.0.9 --to 0.1.0 upgrade      where the text has 0.1.0 and 0.2.0
//
// It needs a Docker engine and the images; it takes minutes, and is in no test suite.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { AtollClient } from '@atoll/client';
import { Load } from '@atoll/tests-cluster/load';
import { ROOT, findDocker } from '../docker.ts';
import { GuideProject } from './guide-project.ts';
import type { ShellSession } from './shell-session.ts';
import { firstMissing, readTranscript, type Step } from './transcript.ts';
import { forTwoClusters, gateway, isOfTwoClusters, startWest } from './two-clusters.ts';

const SERVICES = ['etcd-1', 'storage-node-1', 'coordinator-1', 'router-1', 'backup-1'];
const STEP_MS = 600_000;
/** Whatever is slower is told: clients have felt the step. */
const SLOW_MS = 1000;
/** In the text; `--from` and `--to` take their places. */
const VERSIONS = ['0.1.0', '0.2.0'] as const;
/** Chapters that bring a cluster up. */
const STARTS_ITSELF = new Set(['deploy', 'several-machines']);

const { values, positionals } = parseArgs({ allowPositionals: true, options: { from: { type: 'string', default: VERSIONS[0] }, to: { type: 'string', default: VERSIONS[1] }, pause: { type: 'string', default: '20' } } });

const say = (text: string): void => void process.stdout.write(`${text}\n`);
const troubles: string[] = [];
let seed = Date.now() % 1_000_000;

/** Clients of both routers. What they may not see goes into `troubles`. */
class Clients {
  readonly #client: AtollClient;
  #load: Load | undefined;

  constructor(client: AtollClient) {
    this.#client = client;
  }

  async start(): Promise<void> {
    if (this.#load !== undefined) return;
    this.#load = new Load({ client: this.#client, seed: (seed += 1), deadlineMs: 30_000, pauseMs: Number(values.pause) }).start();
    await this.#load.progress(100, 60_000);
  }

  async stop(where: string): Promise<void> {
    const load = this.#load;
    if (load === undefined) return;
    this.#load = undefined;
    const { writes, reads, failures, wrong, longestMs } = await load.stop();
    const lost = await load.verify();
    say(`clients: ${writes} writes, ${reads} reads, longest ${longestMs} ms, failures ${JSON.stringify(failures)}, wrong ${wrong.length}, lost ${lost.length}`);
    const failed = Object.entries(failures).filter(([reason]) => reason !== 'write WRITE_IN_DOUBT').map(([reason, count]) => `${count} x ${reason}`);
    for (const trouble of [...failed, ...wrong, ...lost]) troubles.push(`${where}: clients: ${trouble}`);
    if (longestMs > 10 * SLOW_MS) troubles.push(`${where}: clients: an operation took ${longestMs} ms`);
  }

  close(): void {
    this.#client.close();
  }
}

interface Stage {
  readonly shell: ShellSession;
  readonly project: GuideProject;
  /** The other cluster, while it is there. */
  readonly west?: GuideProject | undefined;
  /** The file. */
  readonly where: string;
}

async function play(step: Step, { shell, project, west, where }: Stage): Promise<void> {
  const command = forTwoClusters(project.command(step.command), { east: project.routers, west: west?.routers ?? [] });
  say(`$ ${command}`);
  const startMs = performance.now();
  const { code, output } = await shell.run(command, STEP_MS);
  say(`${output.trimEnd()}\n    [${((performance.now() - startMs) / 1000).toFixed(1)} s, exit code ${code}]`);
  const at = `${where}:${step.line}: ${step.command}`;
  if ((code !== 0) !== step.fails) troubles.push(`${at}: ended with code ${code}`);
  const missing = firstMissing(step.expected.map((line) => project.command(line)), output);
  if (missing !== undefined) troubles.push(`${at}: did not print: ${missing}`);
}

const textOf = (name: string): Promise<string> => readFile(join(ROOT, fileOf(name)), 'utf8');
const fileOf = (name: string): string => `docs/operating/${name}.md`;

async function chapter(name: string, project: GuideProject, clients: Clients): Promise<void> {
  const file = fileOf(name);
  let text = await textOf(name);
  if (name === 'upgrade') text = text.replaceAll(VERSIONS[1], 'NEW VERSION').replaceAll(VERSIONS[0], values.from).replaceAll('NEW VERSION', values.to);
  const shell = project.shell();
  let west: GuideProject | undefined;
  try {
    say(`\n=== ${file}`);
    if (!STARTS_ITSELF.has(name)) {
      // The later command knows what both versions say.
      const command = `docker compose up -d --no-build && ATOLL_VERSION=${name === 'upgrade' ? values.to : VERSIONS[0]} atoll doctor --wait 3m`;
      await play({ command, expected: [], fails: false, line: 0 }, { shell, project, where: file });
      await clients.start();
    }
    const parts = readTranscript(text);
    const isOfWest = parts.map((part) => part.kind === 'step' && isOfTwoClusters(part.step.command));
    for (const [index, part] of parts.entries()) {
      if (isOfWest[index] === true && west === undefined) west = await startWest(compose, bind, shell);
      if (part.kind === 'heading') say(`\n--- ${part.title}`);
      else if (part.kind === 'left out') say(`(not run: ${part.reason}: ${part.commands.join('; ')})`);
      else if (part.kind === 'step') await play(part.step, { shell, project, west, where: file });
      else await (part.run ? clients.start() : clients.stop(`${file}:${part.line}`));
      if (index !== isOfWest.lastIndexOf(true)) continue;
      await west?.remove();
      west = undefined;
    }
  } finally {
    shell.close();
    await west?.remove();
    await clients.stop(file);
  }
}

if (positionals.length === 0) throw new Error('usage: main.ts [--from VERSION --to VERSION] CHAPTER...   of docs/operating');
const docker = await findDocker(SERVICES);
if ('missing' in docker) throw new Error(docker.missing);
const { compose } = docker;
const bind = isOfTwoClusters((await Promise.all(positionals.map(textOf))).join('\n')) ? await gateway() : '127.0.0.1';
const project = await GuideProject.make({ compose, bind, settings: positionals.includes('upgrade') ? { ATOLL_VERSION: values.from } : {} });
const clients = new Clients(project.client());
try {
  for (const name of positionals) await chapter(name, project, clients);
} finally {
  clients.close();
  await project.remove();
}
say(troubles.length === 0 ? '\neverything was as it is written' : `\n${troubles.length} things were not as they are written:\n${troubles.join('\n')}`);
process.exitCode = troubles.length === 0 ? 0 : 1;
