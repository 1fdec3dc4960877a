// etcd is restored from a backup under load: everybody serves on by what was seen, nothing is changed, and the nodes'
// memory rebuilds the records. No acknowledged write is lost, and leaders fail over as before (R13).
import { cp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import { isAtollError } from '@atoll/client';
import { AdminClient, type RecoverMetadataResponse } from '@atoll/contracts/atoll/v1/admin';
import { callUnary, createChannelOptions } from '@atoll/platform-grpc';
import { eventually } from '@atoll/platform-etcd/testing';
import { credentials } from '@grpc/grpc-js';
import { ChaosClients } from './chaos-clients.ts';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';
import { ROOT, runCommand } from './run-command.ts';

jest.setTimeout(240_000);

const SEED = Number(process.env['CHAOS_SEED'] ?? 7501);
const SETTLED_MS = 60_000;

let cluster: DevCluster;

beforeAll(async () => {
  cluster = await DevCluster.start({ nodes: 3 });
}, START_MS);

afterAll(() => cluster?.stop(), STOP_MS);

const etcdDir = (): string => join(cluster.dataDir, 'etcd');
const backupDir = (): string => join(cluster.dataDir, 'etcd-backup');

async function recoverMetadata(...flags: string[]): Promise<{ code: number | null; stderr: string; recovery: RecoverMetadataResponse | undefined }> {
  const args = [join(ROOT, 'apps/cli/src/main.ts'), 'cluster', 'recover-metadata', '--json', '--data-dir', cluster.dataDir, ...flags];
  const { code, stdout, stderr } = await runCommand(process.execPath, args);
  return { code, stderr, recovery: stdout === '' ? undefined : (JSON.parse(stdout) as RecoverMetadataResponse) };
}

/** Reason of the refusal; undefined when it was done. */
const reasonOf = (call: Promise<unknown>): Promise<string | undefined> =>
  call.then(
    () => undefined,
    (error: unknown) => (isAtollError(error) ? error.reason : String(error)),
  );

/** The changes of configuration that the backup does not know of. */
async function changeConfiguration(): Promise<void> {
  const admin = new AdminClient(cluster.up.coordinators[0]!.address, credentials.createInsecure(), createChannelOptions());
  try {
    await cluster.createKeyspace({ name: 'later', partitionCount: 4 });
    await callUnary(admin, 'deleteKeyspace', { name: 'given-up' }, { deadlineMs: 30_000 });
    const from = (await cluster.partitions())[0]!.leader;
    await callUnary(admin, 'transferLeadership', { keyspace: '', partitions: [], from, to: '' }, { deadlineMs: 30_000 });
  } finally {
    admin.close();
  }
}

const isRegressedEverywhere = async (): Promise<boolean> => {
  const pages = await Promise.all(cluster.services.filter(({ id }) => !id.startsWith('backup')).map(({ id }) => cluster.metrics(id)));
  return pages.every((page) => page.sum('atoll_metadata_regressed') === 1);
};

const createKeyspace = (name: string) => reasonOf(cluster.createKeyspace({ name, partitionCount: 4 }));

it('reads and writes go on, changes are refused, and what the nodes remember is the configuration again', async () => {
  await cluster.createKeyspace({ name: 'given-up', partitionCount: 4 });
  const chaos = new ChaosClients({ clients: [cluster.client(), cluster.client()], seed: SEED, workers: 8 });
  await chaos.progress(80);
  await cluster.terminate('etcd');
  await cp(etcdDir(), backupDir(), { recursive: true });
  await cluster.startProcess('etcd');
  await eventually('the coordinator decides again', async () => (await createKeyspace('probe')) === undefined, SETTLED_MS);
  await changeConfiguration();
  const later = cluster.client({ keyspace: 'later' });
  for (let index = 0; index < 50; index += 1) await later.set(`k${index}`, `v${index}`);
  await chaos.progress(80);
  const before = await cluster.partitions();
  expect((await recoverMetadata('--yes')).stderr).toContain('NOTHING_TO_RECOVER');

  await cluster.terminate('etcd');
  await rm(etcdDir(), { recursive: true });
  await cp(backupDir(), etcdDir(), { recursive: true });
  await cluster.startProcess('etcd');
  await eventually('every service knows', isRegressedEverywhere, SETTLED_MS);
  await chaos.progress(80);
  expect(await createKeyspace('refused')).toBe('METADATA_REGRESSED');
  expect((await later.get('k7'))?.value.toString()).toBe('v7');
  expect((await cluster.readiness('coordinator-1'))?.reasons.join()).toContain('atoll cluster recover-metadata');

  // A coordinator that begins on the old state hears of it from the nodes, and decides nothing either.
  await cluster.kill('coordinator-1');
  await cluster.startProcess('coordinator-1');
  await eventually('the new one knows', async () => (await createKeyspace('refused')) === 'METADATA_REGRESSED', SETTLED_MS);
  await chaos.progress(80);

  const shown = await eventually('the coordinator is elected', async () => (await recoverMetadata()).recovery, SETTLED_MS);
  expect(shown).toMatchObject({ executed: false, unreachable: [], risks: [] });
  expect(shown.keyspaces.map(({ name, outcome }) => `${name} ${outcome}`).toSorted()).toEqual(['default KEPT', 'given-up REMOVED', 'later RESTORED', 'probe RESTORED']);
  const { code, recovery } = await recoverMetadata('--yes');
  expect({ code, executed: recovery?.executed }).toEqual({ code: 0, executed: true });
  await eventually('changes are possible', async () => (await createKeyspace('afterwards')) === undefined, SETTLED_MS);
  const after = await cluster.partitions();
  for (const [index, { epoch }] of after.entries()) expect(epoch).toBeGreaterThan(before[index]!.epoch);
  await eventually('nobody holds etcd to be behind', async () => !(await cluster.nodes()).some(({ metadataRegressed }) => metadataRegressed), SETTLED_MS);
  await chaos.progress(80);

  const victim = after[0]!.leader;
  await cluster.kill(victim);
  await eventually(`${victim} leads nothing`, async () => (await cluster.partitions()).every(({ leader }) => leader !== victim && leader !== ''), SETTLED_MS);
  await chaos.progress(80);
  await cluster.startProcess(victim);
  await cluster.untilRedundant();
  await cluster.untilRedundant('later');
  for (let index = 0; index < 50; index += 1) expect((await later.get(`k${index}`))?.value.toString()).toBe(`v${index}`);
  expect({ history: await chaos.verify(), failures: chaos.failures }).toEqual({ history: [], failures: {} });
  expect((await cluster.compareReplicas()).problems).toEqual([]);
});
