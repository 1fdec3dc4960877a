import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { connectEtcd } from './etcd-metadata-store.ts';
import type { EtcdMetadataStore } from './etcd-metadata-store.ts';
import type { StoredValue } from './metadata-store.ts';
import { eventually, startEtcd } from './testing/index.ts';
import type { TestEtcd } from './testing/index.ts';

/** A connection to etcd of which one direction can be held up. */
async function linkTo(etcd: TestEtcd) {
  const sockets = new Set<Socket>();
  let isHeld = false;
  const server = createServer((socket) => {
    const onward = connect(Number(new URL(etcd.client).port), '127.0.0.1');
    for (const end of [socket, onward]) sockets.add(end.on('error', () => undefined));
    socket.pipe(onward);
    onward.on('data', (bytes) => void (isHeld || socket.write(bytes)));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    address: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    /** Requests go on to etcd, and nothing comes back. */
    holdAnswers: () => void (isHeld = true),
    close: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

describe('EtcdMetadataStore while etcd fails', () => {
  let etcd: TestEtcd;
  let store: EtcdMetadataStore;

  beforeEach(async () => {
    etcd = await startEtcd();
    store = connectEtcd({ endpoints: [etcd.client], requestTimeoutMs: 1000 });
  });
  afterEach(async () => {
    await store.close();
    await etcd.stop();
  });

  const put = (key: string, value: string) => store.transact([], [{ kind: 'put', key, value }]);
  const putUntilDone = (key: string, value: string) => eventually(`put ${key}`, async () => (await put(key, value)).kind === 'succeeded');

  /** Keeps a copy of a prefix by what a watch tells. */
  async function mirror(prefix: string) {
    const copy = new Map<string, string>();
    const connections: boolean[] = [];
    let snapshots = 0;
    const take = (key: string, value: StoredValue | undefined) => (value === undefined ? copy.delete(key) : copy.set(key, value.value));
    const watch = await store.watch(prefix, {
      onSnapshot: (values) => {
        snapshots += 1;
        copy.clear();
        for (const value of values) take(value.key, value);
      },
      onChanges: (changes) => {
        for (const { key, value } of changes) take(key, value);
      },
      onConnection: (connected) => connections.push(connected),
    });
    return { copy, connections, watch, snapshots: () => snapshots };
  }

  it('answers within the deadline when etcd is killed: reads throw, transactions are unknown (R7)', async () => {
    await etcd.kill();
    await expect(store.get('k')).rejects.toMatchObject({ reason: 'METADATA_UNAVAILABLE' });
    await expect(store.list('k')).rejects.toMatchObject({ reason: 'METADATA_UNAVAILABLE' });
    await expect(store.grantLease(1000)).rejects.toMatchObject({ reason: 'METADATA_UNAVAILABLE' });
    expect((await put('k', '1')).kind).toBe('unknown');
  });

  it('sends a transaction once: one whose answer is lost is applied once (R7)', async () => {
    await put('k', '0');
    const link = await linkTo(etcd);
    const cutOff = connectEtcd({ endpoints: [link.address], requestTimeoutMs: 1000 });
    expect((await cutOff.get('k'))?.value).toBe('0');
    link.holdAnswers();
    const outcome = await cutOff.transact([], [{ kind: 'put', key: 'k', value: '1' }]);
    expect(outcome.kind).toBe('unknown');
    const stored = await store.get('k');
    const after = await store.list('k');
    expect(stored?.value).toBe('1');
    expect(after.revision).toBe(stored?.modRevision);
    await cutOff.close();
    link.close();
  });

  // etcd finds the request and its cancellation together when it goes on, and may do either.
  it('a transaction that etcd was paused over is applied late or never, and is settled by a compare-and-swap that succeeds (R7)', async () => {
    await put('k', '0');
    const before = (await store.get('k'))!.modRevision;
    const swap = (from: number, value: string) => store.transact([{ kind: 'modRevision', key: 'k', equals: from }], [{ kind: 'put', key: 'k', value }]);
    etcd.pause();
    expect((await swap(before, 'late')).kind).toBe('unknown');
    etcd.resume();
    const settled = await eventually('it is settled', async () => {
      const present = await store.get('k').catch(() => undefined);
      const outcome = present && (await swap(present.modRevision, 'settled'));
      return outcome?.kind === 'succeeded' && outcome.revision;
    });
    const after = await store.list('k');
    expect(after.values.map(({ value, modRevision }) => ({ value, modRevision }))).toEqual([{ value: 'settled', modRevision: settled }]);
    expect(after.revision).toBe(settled);
  });

  it('goes on watching after etcd was killed and started again on its data (R36)', async () => {
    await put('w/a', '1');
    const { copy, connections, snapshots } = await mirror('w/');
    await etcd.kill();
    await eventually('the loss is told', () => connections.at(-1) === false);
    expect([...copy]).toEqual([['w/a', '1']]);
    await etcd.restart();
    await putUntilDone('w/b', '2');
    await eventually('the change is told', () => copy.get('w/b') === '2');
    await putUntilDone('w/a', '3');
    await eventually('later changes are told as well', () => copy.get('w/a') === '3');
    expect(snapshots()).toBeGreaterThanOrEqual(2);
    expect(connections).toEqual([true, false, true]);
  });

  it('hears of what others wrote while this client was cut off by a pause of etcd', async () => {
    const { copy, connections } = await mirror('w/');
    etcd.pause();
    await eventually('silence is noticed', () => connections.at(-1) === false, 20_000);
    etcd.resume();
    await putUntilDone('w/b', '2');
    await eventually('the change is told', () => copy.get('w/b') === '2');
    expect(connections.at(-1)).toBe(true);
  });

  it('survives an outage of 31 seconds', async () => {
    const { copy, connections } = await mirror('w/');
    await etcd.kill();
    const killedAtMs = performance.now();
    await eventually('31 seconds have passed', () => performance.now() - killedAtMs > 31_000, 40_000);
    await etcd.restart();
    const restartedAtMs = performance.now();
    await eventually('the watch is back', () => connections.at(-1) === true);
    expect(performance.now() - restartedAtMs).toBeLessThan(5000);
    await putUntilDone('w/a', '1');
    await eventually('the change is told', () => copy.get('w/a') === '1');
  }, 60_000);

  it('tells of a lost lease not later than its ttl, counted from the last keep-alive sent (R11)', async () => {
    const lease = await store.grantLease(2000);
    let lostAtMs = 0;
    lease.onLost(() => (lostAtMs = performance.now()));
    await etcd.kill();
    const killedAtMs = performance.now();
    await eventually('a ttl has passed', () => performance.now() - killedAtMs >= 2000);
    expect(lease.isAlive()).toBe(false);
    await eventually('the loss is told', () => lostAtMs > 0);
    const startedAtMs = performance.now();
    await lease.revoke();
    // One call's time-out, which is 1 s, and what a busy machine adds.
    expect(performance.now() - startedAtMs).toBeLessThan(5000);
  });

  it('goes on to the next endpoint when one is dead', async () => {
    const dead = await startEtcd();
    const several = connectEtcd({ endpoints: [dead.client, etcd.client], requestTimeoutMs: 1000 });
    await dead.stop();
    await put('k', '1');
    expect((await several.get('k'))?.value).toBe('1');
    expect((await several.transact([], [{ kind: 'put', key: 'k', value: '2' }])).kind).toBe('succeeded');
    const lease = await several.grantLease(1000);
    expect(lease.isAlive()).toBe(true);
    await several.close();
  });
});
