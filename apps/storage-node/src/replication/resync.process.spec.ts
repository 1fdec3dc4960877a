import { credentials } from '@grpc/grpc-js';
import { TransferClient } from '@atoll/contracts/atoll/v1/transfer';
import type { AtollError } from '@atoll/core-errors';
import { KIB, MIB } from '@atoll/core-runtime';
import { formatAddress } from '@atoll/platform-config';
import { eventually } from '@atoll/platform-etcd/testing';
import { callServerStream } from '@atoll/platform-grpc';
import { decodeRows } from '@atoll/core-store';
import { NodeWorld, failureOf, type WorldNode } from '../testing/node-world.ts';
import type { TcpGate } from '../testing/tcp-gate.ts';

const SEED = 20_261_123;
const SMALL_SHARE = { STORAGE_NODE_LOG_BYTES_MAX: '512KiB', STORAGE_NODE_FOLLOWER_ACK_TIMEOUT_MS: '300' };

describe(`replicas that return (R33; seed ${SEED})`, () => {
  let world: NodeWorld;

  beforeEach(() => {
    world = new NodeWorld(SEED);
  });

  afterEach(() => world.stop());

  /** A busy machine may make a lease lapse, and a log that is pinned slows writers down: plain failures, so the write is sent again (R20, R33). */
  async function set(node: WorldNode, key: string, value: Buffer): Promise<void> {
    await eventually(`${key} is written`, () =>
      node.set(key, value).then(
        () => true,
        (error: AtollError) => (['PARTITION_UNAVAILABLE', 'OVERLOADED'].includes(error.reason) ? false : Promise.reject(error)),
      ),
    );
  }

  async function fill(node: WorldNode, count: number, name: string): Promise<void> {
    const value = Buffer.alloc(16 * KIB, name);
    for (let at = 0; at < count; at += 20) {
      await Promise.all(Array.from({ length: Math.min(20, count - at) }, (_, index) => set(node, `${name}-${at + index}`, value)));
    }
  }

  async function pair(env: Record<string, string>): Promise<{ gate: TcpGate; a: WorldNode; b: WorldNode }> {
    const gate = await world.gate();
    const [a, b] = [await world.start('a', { gate, env: { ...SMALL_SHARE, ...env } }), await world.start('b')];
    await world.createKeyspace({}, [a, b]);
    await fill(a, 5, 'before');
    return { gate, a, b };
  }

  it.each(['close', 'stall'] as const)('one that missed far more than its share of the log goes on from it (%s)', async (how) => {
    const { gate, a, b } = await pair({ STORAGE_NODE_LOG_TOTAL_BYTES_MAX: '16MiB' });
    gate[how]();
    await fill(a, 250, 'meanwhile');
    await world.inSync(['a']);
    expect(await a.metric('atoll_log_bytes')).toBeGreaterThan(2 * MIB);
    gate.open();
    await world.inSync(['a', 'b']);
    expect(await world.equalDigests([a, b])).toBe(255);
    expect(await b.metric('atoll_installs_total')).toBe(0);
    // Nobody is waited for any more: the memory is given back.
    await eventually('the log is small again', async () => (await a.metric('atoll_log_bytes')) < MIB);
  });

  it('one that missed more than the node keeps in all is filled anew, and the log stays within its bound (I10)', async () => {
    const { gate, a, b } = await pair({ STORAGE_NODE_LOG_TOTAL_BYTES_MAX: '1MiB' });
    gate.close();
    await fill(a, 200, 'meanwhile');
    await world.inSync(['a']);
    expect(await a.metric('atoll_log_bytes')).toBeLessThan(2 * MIB);
    gate.open();
    await world.inSync(['a', 'b']);
    expect(await world.equalDigests([a, b])).toBe(205);
    expect(await b.metric('atoll_installs_total')).toBe(1);
  });

  describe('full syncs of one leader', () => {
    async function openTransfer(env: Record<string, string>) {
      const { a } = await pair(env);
      await fill(a, 60, 'more');
      await world.inSync(['a', 'b']);
      const client = new TransferClient(formatAddress(a.node.address), credentials.createInsecure());
      const { record } = world.record();
      const replicaId = record.inSync.find(({ node }) => node === 'b')!.replica;
      const request = { clusterId: await world.clusterId(), keyspace: 'default', partition: 0, replicaId, generation: { ...record.generation }, epoch: record.epoch, fromHigh: 0, fromLow: 0, wantsResults: false, logSeq: 0, sharded: false };
      return { client, fetch: (signal?: AbortSignal) => callServerStream(client, 'fetchSnapshot', request, { signal }) };
    }

    it('are bounded in number: one more is told to come again (I10)', async () => {
      const { client, fetch } = await openTransfer({ STORAGE_NODE_SYNCS_MAX: '1', STORAGE_NODE_SYNC_BYTES_PER_SECOND: String(64 * KIB) });
      const stop = new AbortController();
      const first = fetch(stop.signal);
      expect((await first.next()).done).toBe(false);
      expect((await failureOf(fetch().next())).reason).toBe('OVERLOADED');
      stop.abort();
      await failureOf((async () => {
        for await (const _ of first);
      })());
      await eventually('the place is free', () => fetch().next().then(() => true, () => false));
      client.close();
    });

    it('keep to the rate of the node', async () => {
      const { client, fetch } = await openTransfer({ STORAGE_NODE_SYNC_BYTES_PER_SECOND: String(2 * MIB) });
      const startMs = performance.now();
      let entries = 0;
      for await (const message of fetch()) entries += decodeRows(message.rows).length;
      expect(entries).toBe(65);
      // About 1 MiB, of which the last chunk is not waited for.
      expect(performance.now() - startMs).toBeGreaterThan(250);
      client.close();
    });
  });
});
