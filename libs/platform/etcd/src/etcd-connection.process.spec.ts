import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

import { connectEtcd, type EtcdMetadataStore } from './etcd-metadata-store.ts';
import { eventually, startEtcd, type TestEtcd } from './testing/index.ts';

// All watches of a process live on one connection to etcd. Whatever is done beside them, it stays.

let etcd: TestEtcd;
let counter: Server;
let store: EtcdMetadataStore;
const sockets = new Set<Socket>();
let connections = 0;
let told: boolean[];

beforeEach(async () => {
  etcd = await startEtcd();
  connections = 0;
  counter = createServer((socket) => {
    connections += 1;
    const onward = connect(Number(new URL(etcd.client).port), '127.0.0.1');
    for (const end of [socket, onward]) sockets.add(end.on('error', () => undefined));
    socket.pipe(onward).pipe(socket);
  }).listen(0, '127.0.0.1');
  await once(counter, 'listening');
  store = connectEtcd({ endpoints: [`http://127.0.0.1:${(counter.address() as AddressInfo).port}`], requestTimeoutMs: 1000 });
  told = [];
  await store.watch('kept/', { onSnapshot: () => undefined, onChanges: () => undefined, onConnection: (connected) => told.push(connected) });
});

afterEach(async () => {
  await store.close();
  for (const socket of sockets) socket.destroy();
  sockets.clear();
  counter.close();
  await etcd.stop();
});

const isOne = (): void => expect({ connections, told }).toEqual({ connections: 1, told: [true] });

it('leases are kept alive, and watches closed, beside a watch that stays', async () => {
  const lease = await store.grantLease(1000);
  for (let time = 0; time < 3; time += 1) expect(await store.renewLease(lease.id)).toBe(true);
  const other = await store.watch('closed/', { onSnapshot: () => undefined, onChanges: () => undefined });
  await other.close();
  await store.get('a');
  isOne();
  await sleep(11_000); // A connection that was parted with breaks off at its next keepalive, after 10 s at most.
  expect(lease.isAlive()).toBe(true);
  isOne();
});

it('calls of all kinds time out beside a watch that stays', async () => {
  const lease = await store.grantLease(20_000);
  etcd.pause();
  await Promise.all([
    expect(store.get('a')).rejects.toMatchObject({ reason: 'METADATA_UNAVAILABLE' }),
    expect(store.renewLease(lease.id)).rejects.toMatchObject({ reason: 'METADATA_UNAVAILABLE' }),
    expect(store.transact([], [{ kind: 'put', key: 'b', value: '1' }])).resolves.toMatchObject({ kind: 'unknown' }),
  ]);
  etcd.resume();
  await eventually('etcd answers again', () => store.get('a').then(() => true, () => false));
  expect(await store.renewLease(lease.id)).toBe(true);
  isOne();
});
