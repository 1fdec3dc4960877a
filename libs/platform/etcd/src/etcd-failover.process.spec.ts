import { connectEtcd } from './etcd-metadata-store.ts';
import type { EtcdMetadataStore } from './etcd-metadata-store.ts';
import { eventually, startEtcdCluster } from './testing/index.ts';
import type { TestEtcd } from './testing/index.ts';

describe('EtcdMetadataStore on a cluster of three', () => {
  let members: readonly TestEtcd[];
  let store: EtcdMetadataStore;
  /** A client of the two members that stay. */
  let other: EtcdMetadataStore;

  beforeEach(async () => {
    members = await startEtcdCluster(3);
    const endpoints = members.map((member) => member.client);
    store = connectEtcd({ endpoints, requestTimeoutMs: 1500 });
    other = connectEtcd({ endpoints: endpoints.slice(1), requestTimeoutMs: 1500 });
  });
  afterEach(async () => {
    await Promise.all([store.close(), other.close()]);
    await Promise.all(members.map((member) => member.stop()));
  });

  it.each([
    ['is killed', (member: TestEtcd) => member.kill()],
    ['is paused', async (member: TestEtcd) => member.pause()],
  ])('reads, writes, watches and leases go on at the others when the member in use %s', async (_how, fail) => {
    const seen: string[] = [];
    await store.watch('w/', {
      onSnapshot: (values) => values.forEach(({ key }) => seen.push(key)),
      onChanges: (changes) => changes.forEach(({ key }) => seen.push(key)),
    });
    const lease = await store.grantLease(3000);
    let lost = false;
    lease.onLost(() => (lost = true));
    await fail(members[0]!);
    const put = (to: EtcdMetadataStore, key: string) =>
      eventually(`put ${key}`, async () => (await to.transact([], [{ kind: 'put', key, value: 'x' }])).kind === 'succeeded', 15_000);
    await put(other, 'w/theirs');
    await eventually('the change of another is seen', () => seen.includes('w/theirs'), 15_000);
    await put(store, 'w/ours');
    await eventually('the own change is seen', () => seen.includes('w/ours'), 15_000);
    expect((await store.get('w/ours'))?.value).toBe('x');
    const startedAtMs = performance.now();
    await eventually('the lease outlived its first term', () => performance.now() - startedAtMs > 3500, 10_000);
    expect({ lost, alive: lease.isAlive() }).toEqual({ lost: false, alive: true });
  }, 60_000);
});
