import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { credentials } from '@grpc/grpc-js';
import { BackupClient } from '@atoll/contracts/atoll/v1/backup';
import { StartupError, formatAddress } from '@atoll/platform-config';
import { ensureClusterId } from '@atoll/platform-etcd';
import { InMemoryMetadataStore, eventually } from '@atoll/platform-etcd/testing';
import { callUnary } from '@atoll/platform-grpc';
import { createLogger, startTelemetry } from '@atoll/platform-telemetry';
import { startBackup, type Backup } from './backup.ts';
import { parseConfig } from './config.ts';

let directory: string;
let stops: (() => Promise<unknown>)[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'atoll-backup-'));
  stops = [() => rm(directory, { recursive: true, force: true })];
});

afterEach(async () => {
  for (const stop of stops.reverse()) await stop();
});

async function run(store: InMemoryMetadataStore, env: Record<string, string> = {}): Promise<Backup> {
  const repository = pathToFileURL(join(directory, 'archives')).href;
  const config = parseConfig({ ATOLL_LISTEN: '127.0.0.1:0', BACKUP_REPOSITORY: repository, BACKUP_ETCD_CHECK_MS: '50', ...env });
  const telemetry = await startTelemetry({ service: 'backup', instanceId: config.common.id, version: '0', traceRatio: 0 });
  const logger = createLogger({ service: 'backup', instanceId: config.common.id, level: 'silent', format: 'json' });
  const backup = await startBackup({ config, logger, telemetry, store });
  stops.push(() => telemetry.shutdown(), () => backup.stop(AbortSignal.timeout(2000)));
  return backup;
}

describe('the backup service', () => {
  it('tells whether the repository can be written', async () => {
    const { address } = await run(new InMemoryMetadataStore());
    const client = new BackupClient(formatAddress(address), credentials.createInsecure());
    stops.push(async () => client.close());
    const repository = await callUnary(client, 'getRepository', {}, { deadlineMs: 5000 });
    expect(repository).toMatchObject({ location: pathToFileURL(join(directory, 'archives')).href, writable: true, problem: '' });
    expect(repository.bytesFree).toBeGreaterThan(0);
  });

  it('is ready while etcd answers for a cluster', async () => {
    const store = new InMemoryMetadataStore();
    store.goAway();
    const backup = await run(store);
    expect(backup.readiness()).toEqual({ ready: false, reasons: ['waiting for etcd'] });
    store.comeBack();
    await eventually('it waits for a cluster', () => backup.readiness().reasons[0]?.includes('first coordinator'));
    await ensureClusterId(store, () => 'test');
    await eventually('it is ready', () => backup.readiness().ready);
    store.goAway();
    await eventually('it is not ready', () => !backup.readiness().ready);
  });

  it('refuses the etcd of another cluster', async () => {
    const store = new InMemoryMetadataStore();
    await ensureClusterId(store, () => 'theirs');
    const backup = await run(store, { ATOLL_CLUSTER_ID: 'ours' });
    await expect(backup.failed).rejects.toThrow(StartupError);
  });
});
