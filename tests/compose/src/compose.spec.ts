// infra/compose with real containers. Skipped where no Docker engine answers or an image is missing.
import { jest } from '@jest/globals';
import type { AtollClient } from '@atoll/client';
import { describeWith, eventually } from '@atoll/platform-etcd/testing';
import { Load } from '@atoll/tests-cluster/load';
import { ComposeCluster } from './compose-cluster.ts';
import { findDocker, must } from './docker.ts';

jest.setTimeout(120_000);

const ETCD = ['etcd-1', 'etcd-2', 'etcd-3'];
const NODES = ['storage-node-1', 'storage-node-2', 'storage-node-3'];
const STANDBY_NODES = ['standby-node-1', 'standby-node-2'];
const SERVICES = [...NODES, 'coordinator-1', 'coordinator-2', 'router-1', 'router-2', 'backup-1'];
const IMAGE_BYTES_MAX = 60_000_000;
const IDLE_BYTES_MAX = 130 * 2 ** 20;
const COLD_START_MS_MAX = 40_000;
const START_MS = 120_000;
/** Each load has keys of its own. */
let seed = 20_261_122;

const docker = await findDocker([...ETCD, ...SERVICES, 'storage-node-4', ...STANDBY_NODES, 'atoll']);
const describeWithDocker = describeWith('missing' in docker ? docker.missing : undefined);

describeWithDocker('a cluster of containers', () => {
  let cluster: ComposeCluster;
  let coldStartMs: number;
  let client: AtollClient;

  beforeAll(async () => {
    cluster = await ComposeCluster.create((docker as { readonly compose: readonly string[] }).compose);
    const startMs = performance.now();
    await cluster.up();
    await cluster.untilHealthy([...ETCD, ...SERVICES]);
    coldStartMs = performance.now() - startMs;
    await cluster.untilOn(NODES);
    client = cluster.client({ deadlineMs: 30_000 });
  }, START_MS);
  afterAll(async () => {
    await cluster?.down();
  }, START_MS);

  /**
   * Runs `harm` under load until the coordinator has seen it as `eventKind` of the node, and others lead. Answers what clients
   * saw that they should not have, and acknowledged writes that are gone: nothing, when all is well.
   */
  async function lostBy(node: string, eventKind: string, harm: () => Promise<void>, heal: () => Promise<void>): Promise<string[]> {
    const told = async (): Promise<number> => (await cluster.events(eventKind)).filter((event) => event.node === node).length;
    const [toldBefore, movedBefore] = [await told(), (await cluster.events('LEADER_CHANGED')).length];
    return underLoad(async (load) => {
      await load.progress(200);
      await harm();
      // The failover: others lead, and go on.
      await eventually(`${eventKind} of ${node}`, async () => (await told().catch(() => 0)) > toldBefore, 30_000);
      await eventually('leaders changed', async () => (await cluster.events('LEADER_CHANGED').catch(() => [])).length > movedBefore, 30_000);
      await load.progress(200);
      await heal();
      await cluster.untilHealthy([node]);
      await cluster.untilOn(NODES);
      const counts = await load.stop();
      console.log(`${node}, ${eventKind}: ${counts.writes} writes, ${counts.reads} reads, longest ${counts.longestMs} ms, failures ${JSON.stringify(counts.failures)}`);
      // In doubt may be what was under way when the leader went; nothing else fails.
      const failures = Object.keys(counts.failures).filter((reason) => reason !== 'write WRITE_IN_DOUBT');
      return [...counts.wrong, ...failures, ...(await load.verify())];
    });
  }

  async function underLoad<T>(action: (load: Load) => Promise<T>): Promise<T> {
    const load = new Load({ client, seed: (seed += 1), deadlineMs: 30_000, pauseMs: 20 }).start();
    try {
      return await action(load);
    } finally {
      await load.stop();
    }
  }

  it('is healthy within 40 s of its start, in containers that may do little', async () => {
    const infos = await Promise.all([...ETCD, ...SERVICES].map((service) => cluster.inspect(service)));
    for (const { HostConfig, State } of infos) {
      expect(HostConfig.ReadonlyRootfs).toBe(true);
      expect(HostConfig.Memory).toBeGreaterThan(0);
      expect(State.OOMKilled).toBe(false);
    }
    for (const { Config } of infos.slice(ETCD.length)) expect(Config.User).toBe('1000:1000');
    console.log(`all containers were healthy after ${(coldStartMs / 1000).toFixed(1)} s`);
    expect(coldStartMs).toBeLessThan(COLD_START_MS_MAX);
  });

  it('adds at most 60 MB to its base image, with nothing to build or install in it', async () => {
    for (const name of ['storage-node-1', 'coordinator-1', 'router-1', 'backup-1']) {
      const { Config } = await cluster.inspect(name);
      // Newest layer first; those of the base end where this Dockerfile's first instruction stands.
      const layers = (await must(['docker', 'history', '--no-trunc', '--human=false', '--format', '{{.Size}}\t{{.CreatedBy}}', Config.Image])).split('\n');
      const first = layers.findIndex((layer) => layer.includes('rm -rf /usr/local/lib/node_modules'));
      expect(first).toBeGreaterThan(0);
      const bytes = layers.slice(0, first + 1).reduce((sum, layer) => sum + Number(layer.split('\t')[0]), 0);
      console.log(`${Config.Image}: ${(bytes / 1e6).toFixed(1)} MB of its own`);
      expect(bytes).toBeLessThanOrEqual(IMAGE_BYTES_MAX);
      const tools = await must(['docker', 'exec', await cluster.id(name), 'sh', '-c', 'for tool in npm npx yarn corepack gcc make python3; do command -v $tool; done; true']);
      expect(tools).toBe('');
    }
  });

  it('takes at most 130 MiB for each service while it is idle', async () => {
    const ids = await Promise.all(SERVICES.map((service) => cluster.id(service)));
    const stats = (await must(['docker', 'stats', '--no-stream', '--format', '{{.MemUsage}}', ...ids])).split('\n').map((line) => line.split(' / ')[0]!);
    console.log(SERVICES.map((service, index) => `${service} ${stats[index]}`).join(', '));
    // What docker stats shows has the files of the image in it, for whichever container happened to read them first.
    const script = 'cat /sys/fs/cgroup/memory.stat /sys/fs/cgroup/memory/memory.stat 2>/dev/null; true';
    for (const id of ids) {
      const stat = await must(['docker', 'exec', id, 'sh', '-c', script]);
      const own = /^(?:anon|total_rss) (\d+)$/m.exec(stat)?.[1];
      expect(Number(own)).toBeLessThanOrEqual(IDLE_BYTES_MAX);
    }
  });

  it('serves through one router what was written through the other', async () => {
    await cluster.client({ deadlineMs: 10_000 }, 0).set('user:7', 'ada');
    expect((await cluster.client({ deadlineMs: 10_000 }, 1).get('user:7'))?.value.toString()).toBe('ada');
  });

  it('loses nothing when the process of a node is killed; its container is started again', async () => {
    const before = await cluster.inspect('storage-node-1');
    expect(await lostBy('storage-node-1', 'NODE_RESTARTED', () => cluster.crash('storage-node-1'), async () => undefined)).toEqual([]);
    expect((await cluster.inspect('storage-node-1')).RestartCount).toBe(before.RestartCount + 1);
  });

  it('loses nothing when a node is paused', async () => {
    expect(await lostBy('storage-node-2', 'NODE_DOWN', () => cluster.pause('storage-node-2'), () => cluster.unpause('storage-node-2'))).toEqual([]);
  });

  it('loses nothing when a node is cut off from the network, and comes back at whatever address', async () => {
    expect(await lostBy('storage-node-3', 'NODE_DOWN', () => cluster.disconnect('storage-node-3'), () => cluster.connect('storage-node-3'))).toEqual([]);
  });

  it('is filled by the profile scale-out', async () => {
    await cluster.compose('--profile', 'scale-out', 'up', '-d', '--no-build', 'storage-node-4');
    await cluster.untilHealthy(['storage-node-4']);
    const held = async (): Promise<number> => (await cluster.partitions()).filter(({ inSync }) => inSync.includes('storage-node-4')).length;
    await eventually('the fourth node holds its share', async () => (await held().catch(() => 0)) >= 16, 60_000);
    expect((await client.get('user:7'))?.value.toString()).toBe('ada');
  });

  it('ends each service with exit code 0 on SIGTERM, and clients see no error', async () => {
    await underLoad(async (load) => {
      await load.progress(100);
      const codes: Record<string, number> = {};
      for (const service of ['storage-node-2', 'coordinator-1', 'backup-1', 'router-2']) codes[service] = (await cluster.terminate(service)).State.ExitCode;
      // Longer than a deadline: an operation that hangs is to be seen among the failures.
      await load.progress(100, 60_000);
      const counts = await load.stop();
      expect(codes).toEqual({ 'storage-node-2': 0, 'coordinator-1': 0, 'backup-1': 0, 'router-2': 0 });
      expect(counts.failures).toEqual({});
      expect(await load.verify()).toEqual([]);
    });
  });

  // Last: what served is gone behind it.
  it('goes on in the profile standby when every other node is killed', async () => {
    await cluster.compose('--profile', 'standby', 'up', '-d', '--no-build', ...STANDBY_NODES);
    await cluster.untilHealthy(STANDBY_NODES);
    await cluster.atoll('keyspace', 'create', 'carts', '--partitions', '4', '--replication-factor', '2');
    const carts = cluster.client({ keyspace: 'carts', deadlineMs: 30_000 }, 0);
    await carts.set('cart:7', 'ada');
    await cluster.atoll('backup', 'standby', 'create', '--pool', 'standby', '--keyspace', 'carts');
    await eventually('it follows', async () => (await cluster.atoll('backup', 'standby', 'show', 'carts')).includes('FOLLOWING'), 60_000);
    await cluster.compose('--profile', 'scale-out', 'kill', ...NODES, 'storage-node-4');
    expect(await cluster.atoll('backup', 'standby', 'promote', 'carts', '--primary-is-stopped', 'main')).toContain('PROMOTED, on pool standby');
    expect((await carts.get('cart:7'))?.value.toString()).toBe('ada');
    expect((await carts.set('cart:7', 'grace')).applied).toBe(true);
  });
});
