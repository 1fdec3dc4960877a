import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { credentials } from '@grpc/grpc-js';
import { VerificationClient } from '@atoll/contracts/atoll/v1/verify';
import { keyHash } from '@atoll/core-runtime';
import { leafOf } from '@atoll/core-store';
import { formatAddress } from '@atoll/platform-config';
import { eventually } from '@atoll/platform-etcd/testing';
import { callServerStream } from '@atoll/platform-grpc';
import { NodeWorld } from '../testing/node-world.ts';
import { checkpointNames } from '../wal/testing/wal-fixture.ts';

const SEED = 20_261_122;

describe(`a repair and the disk (R34, R25; seed ${SEED})`, () => {
  const world = new NodeWorld(SEED);
  const directories: string[] = [];

  afterAll(async () => {
    await world.stop();
    await Promise.all(directories.map((directory) => rm(directory, { recursive: true })));
  });

  it('what was wrong on disk too does not come back with a restart', async () => {
    const env = async (): Promise<Record<string, string>> => {
      directories.push(await mkdtemp(join(tmpdir(), 'atoll-repair-')));
      return { STORAGE_NODE_DATA_DIR: directories.at(-1)! };
    };
    const a = await world.start('a', { env: await env() });
    const itsEnv = await env();
    const b = await world.start('b', { env: itsEnv });
    await world.createKeyspace({ durability: 'SYNC' }, [a, b]);
    await world.inSync(['a', 'b']);
    for (let index = 0; index < 20; index += 1) await a.set(`key-${index}`, 'value');
    await world.equalDigests([a, b]);

    const hosted = b.replica();
    const key = Buffer.from('key-7');
    hosted.replica.state.store.delete(key, keyHash(key));
    const { host } = b.node.parts()!;
    await saved(itsEnv['STORAGE_NODE_DATA_DIR']!, () => host.saveRepaired(hosted));

    const { record } = world.record();
    const client = new VerificationClient(formatAddress(b.node.address), credentials.createInsecure());
    const request = {
      coordinatorRevision: 10,
      keyspace: 'default',
      partition: 0,
      replicaId: record.inSync.find(({ node }) => node === b.id)!.replica,
      generation: { ...record.generation },
      epoch: record.epoch,
      leaves: [leafOf(keyHash(key).high)],
      bytesPerSecond: 0,
    };
    await saved(itsEnv['STORAGE_NODE_DATA_DIR']!, async () => {
      for await (const { entries } of callServerStream(client, 'repairReplica', request, {})) expect(entries).toBeGreaterThan(0);
    });
    client.close();

    await b.stop();
    const again = await world.start('b', { env: itsEnv });
    await world.inSync(['a', 'b']);
    expect(await world.equalDigests([a, again])).toBe(20);
    expect(await again.metric('atoll_installs_total')).toBe(0);
  });

  /** Until a checkpoint that began with `action` is on disk. */
  async function saved(directory: string, action: () => unknown): Promise<void> {
    const before = await checkpointNames(directory);
    await action();
    await eventually('the checkpoint is on disk', async () => {
      const names = await checkpointNames(directory);
      return !names.some((name) => name.endsWith('.new')) && names.join() !== before.join();
    });
  }
});
