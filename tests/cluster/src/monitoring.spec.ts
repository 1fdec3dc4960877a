// The dashboards and alerts of infra beside a running cluster: every panel has its series, and alerts fire at the faults
// that they are for. The second part needs a Prometheus.
import { cp, mkdir, mkdtemp, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { jest } from '@jest/globals';
import { Durability } from '@atoll/contracts/atoll/v1/admin';
import { eventually, itWith } from '@atoll/platform-etcd/testing';
import { changeKeyInLog } from './damaged-log.ts';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';
import { Load } from './load.ts';
import { Prometheus, hasPrometheus, targetsOf, type Target } from './prometheus.ts';
import { ROOT, runCommand } from './run-command.ts';
import { ownAddresses, startService } from './service-process.ts';

jest.setTimeout(180_000);

const SEED = 20_261_122;
const FIRES_MS = 45_000;
const POLL_MS = 300;
/** What an operation at a busy machine may set off without any fault, once the waiting times are cut. */
const OF_THE_MACHINE = new Set(['AtollEventLoopLag', 'AtollLatencyHigh', 'AtollEtcdSlow', 'AtollReplicationLag', 'AtollOverloaded', 'AtollInstanceDown']);
const RATE_INTERVAL = '1m';
/** One behind the other, of values that take their time: operations are under way at every moment, and few end in between. */
const STUTTERED_CLIENTS = 16;
const STUTTERED_VALUE = Buffer.alloc(512 * 1024);
/** Only clusters that follow another one have them: standby.spec.ts has two. */
const OF_STANDBYS = /\batoll_standby_(?:lag_seconds|lag_entries|following)\b/;
/** Small enough to be filled, large enough for a log. */
const DISK_BYTES = 64 * 2 ** 20;
const canMount = process.platform === 'linux' && process.getuid?.() === 0;
const itWithTool = itWith(hasPrometheus, 'Prometheus is not installed (PROMETHEUS_BIN names one)');

let cluster: DevCluster;
let prometheus: Prometheus | undefined;
let load: Load;
/** A router of another version, whose clock is wrong: it runs while its alerts are played. */
let stranger: Record<string, string>;

const etcdDir = (): string => join(cluster.dataDir, 'etcd');
const etcdBackup = (): string => join(cluster.dataDir, 'etcd-backup');
const repository = (): string => join(cluster.dataDir, 'backup');

async function atoll(...args: readonly string[]): Promise<void> {
  const { code, stderr } = await runCommand(process.execPath, [join(ROOT, 'apps/cli/src/main.ts'), ...args, '--data-dir', cluster.dataDir]);
  if (code !== 0) throw new Error(`atoll ${args.join(' ')} ended with ${code}: ${stderr}`);
}

const targets = (): Target[] => {
  const { coordinators, storageNodes, routers, backups, etcd } = cluster.up;
  const services = targetsOf({ coordinator: coordinators, 'storage-node': storageNodes, router: routers, backup: backups });
  return [{ job: 'router', instance: 'stranger', address: stranger['ATOLL_HTTP_LISTEN']! }, ...services, { job: 'etcd', instance: 'etcd', address: new URL(etcd).host }];
};

/** As `eventually`, for conditions of which one asks Prometheus. */
const soon = (what: string, condition: () => Promise<boolean>): Promise<boolean> =>
  eventually(what, async () => (await condition()) || pause(POLL_MS, false), FIRES_MS);

interface PanelQuery {
  readonly panel: string;
  readonly expr: string;
}

/** Every query of every dashboard as Grafana would send it. */
async function panelQueries(): Promise<PanelQuery[]> {
  const directory = join(ROOT, 'infra/grafana/dashboards');
  const dashboards = await Promise.all((await readdir(directory)).map(async (file) => JSON.parse(await readFile(join(directory, file), 'utf8')) as { title: string; panels: { title: string; targets?: { expr: string }[] }[] }));
  const filled = (expr: string): string => expr.replaceAll('$__rate_interval', RATE_INTERVAL).replaceAll('$node', 'node-1').replaceAll('$keyspace', '.*');
  const queries = dashboards.flatMap(({ title, panels }) => panels.flatMap((panel) => (panel.targets ?? []).map(({ expr }) => ({ panel: `${title} / ${panel.title}`, expr: filled(expr) }))));
  return queries.filter(({ expr }) => !OF_STANDBYS.test(expr));
}

/** What the rules record, by name. */
async function recordings(): Promise<Map<string, string>> {
  const rules = await readFile(join(ROOT, 'infra/prometheus/rules/atoll.rules.yml'), 'utf8');
  return new Map(Array.from(rules.matchAll(/record: (".*")\n +expr: (".*")/g), ([, name, expr]) => [JSON.parse(name!) as string, JSON.parse(expr!) as string]));
}

beforeAll(async () => {
  cluster = await DevCluster.start({ nodes: 3, env: { BACKUP_LOG_ARCHIVING: 'on', ROUTER_OPERATIONS_MAX: '300', ROUTER_STREAM_WINDOW_OPERATIONS: '200' } });
  stranger = { ...(await ownAddresses()), ATOLL_ID: 'stranger', ATOLL_ETCD: cluster.up.etcd };
  await cluster.createKeyspace({ name: 'strict', partitionCount: 16, replicationFactor: 2, minInSync: 2 });
  await cluster.createKeyspace({ name: 'single', partitionCount: 16, replicationFactor: 1 });
  // 1 GiB times so little: some 100 KiB for each node, and nothing is evicted.
  await cluster.createKeyspace({ name: 'kept', partitionCount: 1, replicationFactor: 2, durability: Durability.DURABILITY_SYNC });
  for (const name of ['doomed', 'standing']) await cluster.createKeyspace({ name, partitionCount: 4, replicationFactor: 1 });
  await cluster.createKeyspace({ name: 'small', partitionCount: 1, memoryShare: 0.0001, eviction: 2 });
  // Before Prometheus: logs that go on from no backup set an alert off.
  await atoll('backup', 'schedule', 'set', 'nightly', '--cron', '0 3 * * *');
  await atoll('backup', 'create', '--watch');
  await eventually('archived logs go on from it', async () => {
    const { text } = await cluster.metrics('backup-1');
    return /^atoll_backup_recovery_point_lag_seconds\{/m.test(text) && !/^atoll_backup_log_detached_partitions\{.*\} [1-9]/m.test(text);
  });
  if (hasPrometheus) prometheus = await Prometheus.start(targets());
  load = new Load({ client: cluster.client(), seed: SEED, pauseMs: 20 }).start();
  await load.progress();
}, START_MS);

afterAll(async () => {
  await load?.stop();
  await prometheus?.stop();
  await cluster?.stop();
}, STOP_MS);

describe('a cluster at work', () => {
  it('moves partitions, copies a keyspace and compares replicas', async () => {
    await cluster.startMigration({ id: 'moves', from: 'node-1', to: 'node-2' });
    await eventually('the migration has ended', async () => (await cluster.migration('moves')).migration.endedAtMs > 0, FIRES_MS);
    await atoll('migrate', 'copy', 'strict', 'copied', '--id', 'copied');
    await atoll('verify', '--keyspace', 'default');
    await load.progress(50);
    expect((await cluster.migration('moves')).migration.problem).toBe('');
  });

  it('has every series that a panel or a rule asks for', async () => {
    const pages = await Promise.all(cluster.services.map(({ id }) => cluster.metrics(id)));
    const text = pages.map((page) => page.text).join('\n');
    const there = new Set(Array.from(text.matchAll(/^([a-z][a-zA-Z0-9_]*)(?=[{ ])/gm), ([, name]) => name!));
    const recorded = await recordings();
    expect(recorded.size).toBeGreaterThan(5);
    const queries = [...(await panelQueries()), ...Array.from(recorded, ([name, expr]) => ({ panel: name, expr }))];
    expect(queries.length).toBeGreaterThan(80);
    const missing = queries.flatMap(({ panel, expr }) =>
      Array.from(expr.replace(/"[^"]*"/g, '""').matchAll(/(?<![\w:])(?:atoll|process|nodejs)_[a-z0-9_]+(?![\w:])/g), ([name]) => name).filter((name) => !there.has(name)).map((name) => `${panel}: ${name}`),
    );
    expect(missing).toEqual([]);
  });

  itWithTool('has an answer for every panel, by Prometheus', async () => {
    const queries = await panelQueries();
    let empty: string[] = [];
    const isAnswered = async ({ expr }: PanelQuery): Promise<boolean> => (await prometheus!.query(expr)).length > 0;
    await soon('every panel has an answer', async () => {
      const answers = await Promise.all(queries.map(async (query) => ((await isAnswered(query)) ? [] : [`${query.panel}: ${query.expr}`])));
      empty = answers.flat();
      return empty.length === 0;
    }).catch(() => undefined);
    expect(empty).toEqual([]);
  });

  itWithTool('sets no alert off', async () => {
    expect((await prometheus!.firing()).filter((alert) => !OF_THE_MACHINE.has(alert))).toEqual([]);
  });
});

describe('alerts', () => {
  const fire = async (...alerts: readonly string[]): Promise<void> => {
    const missing = async (): Promise<string[]> => {
      const fired = await prometheus!.fired();
      return alerts.filter((alert) => !fired.has(alert));
    };
    await soon('they fire', async () => (await missing()).length === 0).catch(() => undefined);
    expect(await missing()).toEqual([]);
  };
  /** The process runs for `goMs` at a time, and stands still for `stopMs` in between. */
  const whileStuttering = async (pid: number, { stopMs, goMs }: { readonly stopMs: number; readonly goMs: number }, run: () => Promise<void>): Promise<void> => {
    const done = new AbortController();
    const stuttering = (async () => {
      while (!done.signal.aborted) {
        process.kill(pid, 'SIGSTOP');
        await pause(stopMs);
        process.kill(pid, 'SIGCONT');
        await pause(goMs);
      }
    })();
    await run().finally(() => done.abort());
    await stuttering;
  };
  const fallSilent = async (...alerts: readonly string[]): Promise<void> => {
    const loud = async (): Promise<string[]> => (await prometheus!.firing()).filter((alert) => alerts.includes(alert));
    await soon('they are silent', async () => (await loud()).length === 0).catch(() => undefined);
    expect(await loud()).toEqual([]);
  };

  const values = (count: number): { key: string; value: Buffer }[] => Array.from({ length: count }, (_, index) => ({ key: `k${index}`, value: Buffer.alloc(20_000) }));
  const firesNow = async (alert: string): Promise<void> => {
    await eventually(`${alert} fires`, async () => (await prometheus!.firing()).includes(alert) || pause(POLL_MS, false), FIRES_MS);
  };

  itWithTool('a backup service that is stopped', async () => {
    await cluster.terminate('backup-1');
    await firesNow('AtollBackupIdle');
    await cluster.startProcess('backup-1');
    await fallSilent('AtollBackupIdle');
  });

  itWithTool('a keyspace that is in no backup, and one that is gone although a schedule names it', async () => {
    await cluster.createKeyspace({ name: 'left', partitionCount: 4 });
    await atoll('backup', 'schedule', 'set', 'left', '--cron', '* * * * *', '--keyspace', 'left', '--max-age', '1m');
    await cluster.deleteKeyspace('left');
    await cluster.createKeyspace({ name: 'unsaved', partitionCount: 4 });
    await cluster.client({ keyspace: 'unsaved' }).setMany(values(10), { deadlineMs: 10_000 });
    await firesNow('AtollLogDetached');
    await atoll('backup', 'create', '--watch');
    await fallSilent('AtollLogDetached');
  });

  itWithTool('a repository that is away', async () => {
    await rename(repository(), `${repository()}-away`);
    await writeFile(repository(), '');
    try {
      await firesNow('AtollRecoveryPointLag');
      await firesNow('AtollBackupRepositoryRefused');
    } finally {
      await rm(repository());
      await rename(`${repository()}-away`, repository());
    }
    await fallSilent('AtollRecoveryPointLag', 'AtollBackupRepositoryRefused');
  });

  itWithTool('replicas that differ: the log of a node was damaged where no checksum shows it', async () => {
    const client = cluster.client({ keyspace: 'kept' });
    await client.set('right', 'value');
    await cluster.untilRedundant('kept');
    const { leader, inSync } = (await cluster.partitions('kept'))[0]!;
    const follower = inSync.find((node) => node !== leader)!;
    await cluster.terminate(follower);
    expect(changeKeyInLog(join(cluster.dataDir, 'nodes', follower), 'right', 'wrong')).toBeGreaterThan(0);
    await cluster.startProcess(follower);
    await cluster.untilRedundant('kept');
    await expect(atoll('verify', '--keyspace', 'kept', '--report-only')).rejects.toThrow('ended with 1');
    await firesNow('AtollReplicasDiffer');
    // What the runbook says.
    await atoll('sync', '--keyspace', 'kept');
    await atoll('verify', '--keyspace', 'kept', '--report-only');
    await cluster.untilRedundant();
  });

  itWithTool('another version, and a clock that is wrong', async () => {
    await mkdir(join(ROOT, 'dist'), { recursive: true });
    const directory = await mkdtemp(join(ROOT, 'dist', 'stranger-'));
    const { code, stderr } = await runCommand(process.execPath, ['tools/bundle.ts', 'apps/router', directory, '0.0.1-spec']);
    if (code !== 0) throw new Error(stderr);
    const ahead = 'const now = Date.now; Date.now = () => now() + 10_000;';
    const router = startService('router', stranger, { nodeArgs: ['--import', `data:text/javascript,${encodeURIComponent(ahead)}`], program: join(directory, 'main.mjs') });
    try {
      await firesNow('AtollVersionsMixed');
      await firesNow('AtollClockSkew');
      expect((await prometheus!.query('ALERTS{alertname="AtollClockSkew",alertstate="firing"}')).map(({ labels }) => labels['instance'])).toEqual(['stranger']);
    } finally {
      await router.stop();
      await rm(directory, { recursive: true, force: true });
    }
  });

  itWithTool('a migration whose keyspace is deleted beneath it', async () => {
    const [source, target] = [(await cluster.partitions('doomed'))[0]!.leader, 'node-3'];
    const to = source === target ? 'node-1' : target;
    await cluster.client({ keyspace: 'doomed' }).setMany(values(200), { deadlineMs: 10_000 });
    await cluster.startMigration({ id: 'beneath', keyspace: 'doomed', from: source, to, bytesPerSecond: 1024 });
    await cluster.deleteKeyspace('doomed');
    await firesNow('AtollMigrationFailed');
  });

  itWith(hasPrometheus && canMount, 'a disk of its own needs Prometheus, and root on Linux')('a disk that is nearly full', async () => {
    const disk = join(cluster.dataDir, 'nodes', 'node-3');
    const must = async (file: string, ...args: readonly string[]): Promise<void> => {
      const { code, stderr } = await runCommand(file, args);
      if (code !== 0) throw new Error(`${file}: ${stderr}`);
    };
    await cluster.terminate('node-3');
    await must('mount', '-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'tmpfs', disk);
    try {
      await cluster.startProcess('node-3');
      await writeFile(join(disk, 'somebody-elses'), Buffer.alloc(DISK_BYTES * 0.93));
      await firesNow('AtollDiskSpaceLow');
      await rm(join(disk, 'somebody-elses'));
      await fallSilent('AtollDiskSpaceLow');
    } finally {
      await cluster.terminate('node-3');
      await must('umount', disk);
    }
    await cluster.startProcess('node-3');
    await cluster.untilRedundant();
  });

  itWithTool('a migration, or a copy, that is paused', async () => {
    const isPaused = async (): Promise<boolean> => (await prometheus!.firing()).includes('AtollMigrationPaused');
    await atoll('migrate', 'pause', 'copied');
    await soon('it fires for the copy', isPaused);
    await atoll('migrate', 'resume', 'copied');
    await fallSilent('AtollMigrationPaused');
    await cluster.startMigration({ id: 'slow', from: 'node-2', to: 'node-3', bytesPerSecond: 1024 });
    await cluster.pauseMigration('slow');
    await soon('it fires for the migration', isPaused);
    await cluster.cancelMigration('slow');
    await fallSilent('AtollMigrationPaused');
  });

  itWithTool('a keyspace that is full, and a router with more operations than it takes', async () => {
    const clients = Array.from({ length: 4 }, () => cluster.client({ keyspace: 'small' }));
    const burst = async (): Promise<void> => {
      await Promise.allSettled(clients.flatMap((client) => Array.from({ length: 200 }, (_, index) => client.set(`k${index}`, Buffer.alloc(20_000), { deadlineMs: 2000 }))));
    };
    // The first failure of a kind makes its series, which grows with the second.
    await burst();
    await soon('Prometheus has seen them', async () => (await prometheus!.query('atoll_router_operations_total{reason="MEMORY_EXHAUSTED"}')).length > 0);
    await burst();
    await fire('AtollMemoryExhausted', 'AtollFailuresHigh', 'AtollOverloaded');
  });

  itWithTool('a node that is killed, and comes back without its data', async () => {
    await cluster.kill('node-3');
    await fire('AtollInstanceDown', 'AtollNodeDown', 'AtollPartitionsWithoutLeader', 'AtollPartitionsUnderReplicated', 'AtollWritesRefused');
    await cluster.startProcess('node-3');
    await fire('AtollDataLoss');
    await cluster.untilRedundant();
    await fallSilent('AtollNodeDown', 'AtollPartitionsWithoutLeader', 'AtollWritesRefused');
  });

  itWithTool('a node that stands still: its followers lag, a copy of what it leads alone is behind, a migration to it moves nothing', async () => {
    const { leader } = (await cluster.partitions('standing')).find((partition) => partition.leader !== 'node-2')!;
    await cluster.client({ keyspace: 'standing' }).setMany(values(400), { deadlineMs: 10_000 });
    await cluster.startMigration({ id: 'stuck', keyspace: 'standing', from: leader, to: 'node-2', bytesPerSecond: 1024 });
    await atoll('migrate', 'copy', 'single', 'behind', '--id', 'behind');
    await eventually('the copy follows', async () => (await prometheus!.query('atoll_copy_lag_seconds{keyspace="behind"}')).length > 0 || pause(POLL_MS, false), FIRES_MS);
    await cluster.pause('node-2');
    await fire('AtollReplicationLag');
    await firesNow('AtollMigrationStuck');
    await firesNow('AtollCopyLag');
    await cluster.resume('node-2');
    await cluster.cancelMigration('stuck');
    await cluster.cancelMigration('behind');
    await cluster.untilRedundant();
    await fallSilent('AtollReplicationLag', 'AtollPartitionsUnderReplicated');
  });

  itWithTool('a schedule whose backups have failed for a minute', async () => {
    await firesNow('AtollBackupOverdue');
    await fire('AtollBackupJobFailed');
    await atoll('backup', 'schedule', 'remove', 'left');
    await fallSilent('AtollBackupOverdue');
  });

  itWithTool('a router that gets no CPU for most of the time, and clients that wait for it', async () => {
    const { pid } = (await cluster.status()).routers[0]!;
    // What is under way when it stands still takes longer: with one client at a time that is next to nothing.
    const done = new AbortController();
    const client = cluster.client({ deadlineMs: 10_000 });
    const clients = Array.from({ length: STUTTERED_CLIENTS }, async (_, index) => {
      while (!done.signal.aborted) await client.set(`stuttered-${index}`, STUTTERED_VALUE).catch(() => undefined);
    });
    await whileStuttering(pid!, { stopMs: 400, goMs: 100 }, async () => {
      await fire('AtollEventLoopLag');
      await firesNow('AtollLatencyHigh');
    }).finally(() => done.abort());
    await Promise.all(clients);
  });

  itWithTool('nodes that die again and again', async () => {
    for (let round = 0; round < 2; round += 1) {
      await cluster.kill('node-3');
      await eventually('node-3 is judged', async () => (await cluster.events('NODE_DOWN')).length >= 2 + round, FIRES_MS);
      await cluster.startProcess('node-3');
      await cluster.untilRedundant();
    }
    await fire('AtollNodesFlapping');
  });

  itWithTool('an etcd that is slow, and one that is away', async () => {
    const { pid } = (await cluster.status()).etcdProcess;
    await whileStuttering(pid!, { stopMs: 1200, goMs: 800 }, () => fire('AtollEtcdSlow'));
    await cluster.terminate('etcd');
    await fire('AtollEtcdDisconnected', 'AtollEtcdMemberDown', 'AtollNoCoordinator');
    await rm(etcdBackup(), { recursive: true, force: true });
    await cp(etcdDir(), etcdBackup(), { recursive: true });
    await cluster.startProcess('etcd');
    await fallSilent('AtollEtcdDisconnected', 'AtollEtcdMemberDown', 'AtollNoCoordinator');
  });

  itWithTool('an etcd that went back', async () => {
    await cluster.createKeyspace({ name: 'later', partitionCount: 4 });
    await cluster.terminate('etcd');
    await rm(etcdDir(), { recursive: true, force: true });
    await cp(etcdBackup(), etcdDir(), { recursive: true });
    await cluster.startProcess('etcd');
    await fire('AtollMetadataRegressed');
  });
});
