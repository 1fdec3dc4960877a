// A compose project of its own for the guide: a copy of infra, whose .env the guide may edit, on free ports.
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createClient, type AtollClient } from '@atoll/client';
import { freePorts } from '@atoll/platform-etcd/testing';
import { ROOT, run } from '../docker.ts';
import { ShellSession } from './shell-session.ts';

const PORTS = ['ROUTER_1_PORT', 'ROUTER_2_PORT', 'COORDINATOR_1_PORT', 'COORDINATOR_2_PORT', 'BACKUP_PORT', 'PROMETHEUS_PORT', 'GRAFANA_PORT', 'JAEGER_PORT'];
/** What Compose would take before the .env. */
const OVERRIDES = /^(?:COMPOSE_|ATOLL_|[A-Z0-9_]+_PORT$|BIND$)/;

export interface GuideProjectOptions {
  /** The command for Compose. */
  readonly compose: readonly string[];
  /** Tells it from other projects of this process: the words of the guide for its clusters. Default none. */
  readonly title?: string;
  /** Address of this machine at which its ports are. Default 127.0.0.1, where containers do not get to. */
  readonly bind?: string;
  /** Go into the .env, beside name and ports. */
  readonly settings?: Readonly<Record<string, string>>;
}

export class GuideProject {
  readonly name: string;
  readonly #compose: readonly string[];
  readonly #bind: string;
  readonly #directory: string;
  readonly #ports: readonly number[];

  private constructor({ compose, title, bind = '127.0.0.1' }: GuideProjectOptions, directory: string, ports: readonly number[]) {
    this.name = ['atoll-guide', process.pid, title].filter((part) => part !== undefined).join('-');
    this.#compose = compose;
    this.#bind = bind;
    this.#directory = directory;
    this.#ports = ports;
  }

  /** Nothing is started. */
  static async make(options: GuideProjectOptions): Promise<GuideProject> {
    const directory = await mkdtemp(join(tmpdir(), 'atoll-guide-'));
    const project = new GuideProject(options, directory, await freePorts(PORTS.length));
    await cp(join(ROOT, 'infra'), join(directory, 'infra'), { recursive: true });
    const env = join(project.cwd, '.env');
    let text = await readFile(env, 'utf8');
    const own = { COMPOSE_PROJECT_NAME: project.name, COMPOSE_PROFILES: '', BIND: project.#bind, OTLP_ENDPOINT: 'http://127.0.0.1:4317', ...Object.fromEntries(PORTS.map((name, index) => [name, String(project.#ports[index])])), ...options.settings };
    for (const [name, value] of Object.entries(own)) text = text.replace(new RegExp(`^${name}=.*$`, 'm'), `${name}=${value}`);
    await writeFile(env, text);
    return project;
  }

  /** Of its routers, for clients and other clusters. */
  get routers(): readonly string[] {
    return this.#ports.slice(0, 2).map((port) => `${this.#bind}:${port}`);
  }

  /** Where its commands are executed. */
  get cwd(): string {
    return join(this.#directory, 'infra/compose');
  }

  get #env(): Record<string, string | undefined> {
    return Object.fromEntries(Object.entries(process.env).filter(([name]) => !OVERRIDES.test(name)));
  }

  /** A shell in infra/compose in which `docker compose` is what there is of Compose, and `atoll` is what the guide says. */
  shell(): ShellSession {
    const prelude = `docker() { if [ "$1" = compose ]; then shift; command ${this.#compose.join(' ')} "$@"; else command docker "$@"; fi; }
      atoll() { docker compose run --rm -T atoll "$@"; }`;
    return new ShellSession({ cwd: this.cwd, env: this.#env, prelude });
  }

  /** Names of volumes, networks and containers have the project's name in front, in the guide `atoll`; machines are this one. */
  command(text: string): string {
    return text.replace(/\batoll_(?=[a-z])/g, `${this.name}_`).replaceAll('10.0.0.', '127.0.1.');
  }

  client(): AtollClient {
    return createClient({ routers: this.routers, deadlineMs: 30_000 });
  }

  async remove(): Promise<void> {
    await run([...this.#compose, '--file', join(this.cwd, 'docker-compose.yml'), '--project-directory', this.cwd, '--profile', 'scale-out', '--profile', 'standby', '--profile', 'observability', 'down', '--volumes', '--remove-orphans', '--timeout', '5'], { env: this.#env });
    await rm(this.#directory, { recursive: true, force: true });
  }
}
