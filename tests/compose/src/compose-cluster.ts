// A cluster of real containers: infra/compose/docker-compose.yml as it is, in a project of its own on free ports.
import { credentials } from '@grpc/grpc-js';
import { createClient, type AtollClient, type ClientOptions } from '@atoll/client';
import { AdminClient, type Event, type Node, type Partition } from '@atoll/contracts/atoll/v1/admin';
import { eventually, freePorts } from '@atoll/platform-etcd/testing';
import { callUnary, createChannelOptions } from '@atoll/platform-grpc';
import { must, run } from './docker.ts';

const CALL_MS = 10_000;
const HEALTHY_MS = 90_000;

/** What `docker inspect` tells, as far as the specs look. */
export interface ContainerInfo {
  readonly Id: string;
  readonly RestartCount: number;
  readonly Config: { readonly User: string; readonly Image: string };
  readonly HostConfig: { readonly ReadonlyRootfs: boolean; readonly Memory: number };
  readonly State: { readonly Status: string; readonly ExitCode: number; readonly OOMKilled: boolean; readonly StartedAt: string; readonly Health?: { readonly Status: string } };
}

export class ComposeCluster {
  readonly project = `atoll-test-${process.pid}`;
  readonly #compose: readonly string[];
  readonly #env: Readonly<Record<string, string | undefined>>;
  readonly #routers: readonly string[];
  readonly #coordinators: readonly string[];
  readonly #clients: { close(): void }[] = [];

  private constructor(compose: readonly string[], ports: readonly number[]) {
    this.#compose = [...compose, '--project-name', this.project];
    const names = ['ROUTER_1_PORT', 'ROUTER_2_PORT', 'COORDINATOR_1_PORT', 'COORDINATOR_2_PORT', 'BACKUP_PORT'];
    this.#env = { ...process.env, COMPOSE_PROFILES: '', BIND: '127.0.0.1', OTLP_ENDPOINT: 'http://127.0.0.1:4317', ...Object.fromEntries(names.map((name, index) => [name, String(ports[index])])) };
    this.#routers = ports.slice(0, 2).map((port) => `127.0.0.1:${port}`);
    this.#coordinators = ports.slice(2, 4).map((port) => `127.0.0.1:${port}`);
  }

  static async create(compose: readonly string[]): Promise<ComposeCluster> {
    return new ComposeCluster(compose, await freePorts(5));
  }

  /** `docker compose up -d`; nothing is built or pulled. */
  async up(...args: readonly string[]): Promise<void> {
    await this.#run(['up', '-d', '--no-build', ...args]);
  }

  async down(): Promise<void> {
    for (const client of this.#clients) client.close();
    await this.#run(['--profile', 'scale-out', '--profile', 'standby', 'down', '--volumes', '--timeout', '5']);
  }

  /** A profile may come first: `['--profile', 'scale-out', 'up', ...]`. */
  compose(...args: readonly string[]): Promise<string> {
    return this.#run(args);
  }

  /** What the command prints, from its container. */
  atoll(...words: readonly string[]): Promise<string> {
    return this.#run(['run', '--rm', '-T', 'atoll', ...words]);
  }

  #run(args: readonly string[]): Promise<string> {
    return must([...this.#compose, ...args], { env: this.#env });
  }

  // --- containers -------------------------------------------------------------------------------------------------

  async id(service: string): Promise<string> {
    const filters = [`label=com.docker.compose.project=${this.project}`, `label=com.docker.compose.service=${service}`];
    return must(['docker', 'ps', '--all', '--quiet', '--no-trunc', ...filters.flatMap((filter) => ['--filter', filter])]);
  }

  async inspect(service: string): Promise<ContainerInfo> {
    const [info] = JSON.parse(await must(['docker', 'inspect', await this.id(service)])) as ContainerInfo[];
    return info!;
  }

  async untilHealthy(services: readonly string[]): Promise<void> {
    for (const service of services) await eventually(`${service} is healthy`, async () => (await this.inspect(service)).State.Health?.Status === 'healthy', HEALTHY_MS);
  }

  /** Its process dies by SIGKILL, from within, so that Docker sees a crash and not a stop by hand. */
  async crash(service: string): Promise<void> {
    const script = `const { readFileSync, readdirSync } = require('node:fs');
      const isService = (pid) => { try { return readFileSync('/proc/' + pid + '/cmdline', 'utf8').split('\\0')[1] === '/opt/atoll/main.mjs'; } catch { return false; } };
      for (const pid of readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name)).filter(isService)) process.kill(Number(pid), 'SIGKILL');`;
    const { code, stderr } = await run(['docker', 'exec', await this.id(service), 'node', '-e', script]);
    // The container ends, and what runs in it beside the service is killed, too.
    if (code !== 0 && code !== 137) throw new Error(`no process of ${service} could be killed: ${stderr}`);
  }

  async pause(service: string): Promise<void> {
    const id = await this.id(service);
    // The freezer of cgroup v1 gives up on a busy machine.
    await eventually(`${service} is paused`, async () => {
      const { code, stderr } = await run(['docker', 'pause', id]);
      if (code !== 0 && !stderr.includes('unable to freeze')) throw new Error(stderr);
      return code === 0;
    });
  }

  async unpause(service: string): Promise<void> {
    await must(['docker', 'unpause', await this.id(service)]);
  }

  async disconnect(service: string): Promise<void> {
    await must(['docker', 'network', 'disconnect', `${this.project}_default`, await this.id(service)]);
  }

  /** Under its name again, and maybe at another address. */
  async connect(service: string): Promise<void> {
    await must(['docker', 'network', 'connect', '--alias', service, `${this.project}_default`, await this.id(service)]);
  }

  /** SIGTERM, and how the container ended. */
  async terminate(service: string): Promise<ContainerInfo> {
    await must(['docker', 'stop', '--time', '30', await this.id(service)]);
    return this.inspect(service);
  }

  // --- the cluster ------------------------------------------------------------------------------------------------

  /** Of both routers, or of the one named. */
  client(options: Omit<ClientOptions, 'routers'> = {}, router?: 0 | 1): AtollClient {
    const client = createClient({ routers: router === undefined ? this.#routers : [this.#routers[router]!], ...options });
    this.#clients.push(client);
    return client;
  }

  /** Asks the elected coordinator: whichever answers. Names of containers mean nothing out here. */
  async #ask<T>(call: (admin: AdminClient) => Promise<T>): Promise<T> {
    const failures: unknown[] = [];
    for (const address of this.#coordinators) {
      const admin = new AdminClient(address, credentials.createInsecure(), createChannelOptions());
      try {
        return await call(admin);
      } catch (error) {
        failures.push(error);
      } finally {
        admin.close();
      }
    }
    throw new AggregateError(failures, failures.map(String).join('; '));
  }

  async partitions(): Promise<Partition[]> {
    return (await this.#ask((admin) => callUnary(admin, 'listPartitions', { keyspace: 'default' }, { deadlineMs: CALL_MS }))).partitions;
  }

  async nodes(): Promise<Node[]> {
    return (await this.#ask((admin) => callUnary(admin, 'listNodes', {}, { deadlineMs: CALL_MS }))).nodes;
  }

  async events(kind: string): Promise<Event[]> {
    return (await this.#ask((admin) => callUnary(admin, 'listEvents', { kind, limit: 1000 }, { deadlineMs: CALL_MS }))).events;
  }

  /** Every partition is led by one of `nodes` and has two replicas in sync, of which none is elsewhere. */
  async untilOn(nodes: readonly string[]): Promise<void> {
    const isThere = ({ leader, inSync, learners }: Partition): boolean => nodes.includes(leader) && inSync.length === 2 && learners.length === 0;
    await eventually(`two replicas of all partitions are in sync, led by ${nodes.join(', ')}`, () => this.partitions().then((all) => all.every(isThere), () => false), HEALTHY_MS);
  }
}
