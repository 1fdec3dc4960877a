import type { MetadataStore, WatchListener } from '../metadata-store.ts';
import { eventually } from './eventually.ts';

/** Two clients of one etcd that nobody else writes to. */
export interface ContractSubject {
  readonly store: MetadataStore;
  readonly other: MetadataStore;
  close(): Promise<void>;
}

/** What a listener was told, in order, as text: `snapshot a=1 b=2`, `put a=1`, `delete a`. */
function recorder(): WatchListener & { readonly told: string[] } {
  const told: string[] = [];
  return {
    told,
    onSnapshot: (values) => told.push(['snapshot', ...values.map(({ key, value }) => `${key}=${value}`)].join(' ')),
    onChanges: (changes) => {
      for (const { key, value } of changes) told.push(value === undefined ? `delete ${key}` : `put ${key}=${value.value}`);
    },
  };
}

/** The sentences of the port, held by every implementation. Call at the top level of a spec. */
export function metadataStoreContract(name: string, create: () => Promise<ContractSubject>): void {
  describe(`${name} keeps the contract of MetadataStore`, () => {
    let subject: ContractSubject;
    let store: MetadataStore;
    let area = 0;
    let at: (key: string) => string;
    const put = (key: string, value: string) => store.transact([], [{ kind: 'put', key: at(key), value }]);

    beforeAll(async () => {
      subject = await create();
      store = subject.store;
    });
    afterAll(async () => subject.close());
    beforeEach(() => {
      area += 1;
      const prefix = `contract/${String(area).padStart(3, '0')}/`;
      at = (key) => prefix + key;
    });

    it('gives a value back with the revisions of its creation and of its last change', async () => {
      const first = await put('k', 'één');
      const second = await put('k', 'two');
      expect(first.kind).toBe('succeeded');
      expect(await store.get(at('k'))).toEqual({
        key: at('k'),
        value: 'two',
        createRevision: first.kind === 'succeeded' ? first.revision : -1,
        modRevision: second.kind === 'succeeded' ? second.revision : -1,
      });
      expect(await store.get(at('absent'))).toBeUndefined();
    });

    it('lists a prefix in the order of its keys, with a revision not below any of them', async () => {
      for (const key of ['b', 'a', 'c']) await put(key, key);
      const { values, revision } = await store.list(at(''));
      expect(values.map(({ value }) => value)).toEqual(['a', 'b', 'c']);
      expect(Math.max(...values.map(({ modRevision }) => modRevision))).toBeLessThanOrEqual(revision);
    });

    it('lists more keys than fit into one page', async () => {
      for (let batch = 0; batch < 20; batch += 1) {
        const changes = Array.from({ length: 120 }, (_, index) => ({ kind: 'put' as const, key: at(String(batch * 120 + index).padStart(4, '0')), value: 'v' }));
        await store.transact([], changes);
      }
      const { values } = await store.list(at(''));
      expect(values.map(({ key }) => key)).toEqual(Array.from({ length: 2400 }, (_, index) => at(String(index).padStart(4, '0'))));
    });

    it('creates a key once: the comparison with revision 0 refuses the second', async () => {
      const createKey = () => store.transact([{ kind: 'modRevision', key: at('k'), equals: 0 }], [{ kind: 'put', key: at('k'), value: 'x' }]);
      expect((await createKey()).kind).toBe('succeeded');
      expect(await createKey()).toEqual({ kind: 'refused' });
    });

    it('compares with the least revision that is wanted; an absent key has none (R13)', async () => {
      const attempt = async (key: string, revision: number) => (await store.transact([{ kind: 'modRevisionAtLeast', key: at(key), revision }], [{ kind: 'put', key: at('other'), value: 'x' }])).kind;
      const written = await put('k', '1');
      const revision = written.kind === 'succeeded' ? written.revision : -1;
      expect([await attempt('k', revision - 1), await attempt('k', revision), await attempt('k', revision + 1), await attempt('absent', 1)]).toEqual(['succeeded', 'succeeded', 'refused', 'refused']);
    });

    it('changes everything or nothing', async () => {
      await put('k', '1');
      const outcome = await store.transact(
        [{ kind: 'modRevision', key: at('k'), equals: 1 }],
        [
          { kind: 'put', key: at('k'), value: '2' },
          { kind: 'put', key: at('l'), value: '2' },
        ],
      );
      expect(outcome).toEqual({ kind: 'refused' });
      expect((await store.list(at(''))).values.map(({ value }) => value)).toEqual(['1']);
    });

    it('compares create revisions, which survive a change and not a deletion', async () => {
      await put('k', '1');
      await put('k', '2');
      const createRevision = (await store.get(at('k')))!.createRevision;
      const guarded = () =>
        store.transact([{ kind: 'createRevision', key: at('k'), equals: createRevision }], [{ kind: 'put', key: at('l'), value: 'x' }]);
      expect((await guarded()).kind).toBe('succeeded');
      await store.transact([], [{ kind: 'delete', key: at('k') }]);
      await put('k', '3');
      expect(await guarded()).toEqual({ kind: 'refused' });
    });

    it('refuses more than 128 changes as a bug of the caller', async () => {
      const changes = Array.from({ length: 129 }, (_, index) => ({ kind: 'delete' as const, key: at(String(index)) }));
      await expect(store.transact([], changes)).rejects.toThrow('at most 128');
    });

    it('tells a watch the present content first and then the changes of others, in order', async () => {
      await put('a', '1');
      const listener = recorder();
      const watch = await store.watch(at(''), listener);
      expect(listener.told).toEqual([`snapshot ${at('a')}=1`]);
      await subject.other.transact([], [{ kind: 'put', key: at('b'), value: '2' }]);
      await subject.other.transact([], [{ kind: 'delete', key: at('a') }]);
      await eventually('both changes were told', () => listener.told.length === 3);
      expect(listener.told.slice(1)).toEqual([`put ${at('b')}=2`, `delete ${at('a')}`]);
      await watch.close();
      await put('c', '3');
      expect(listener.told).toHaveLength(3);
    });

    it('keeps a lease alive beyond its ttl, and takes its keys away when it is revoked', async () => {
      const lease = await store.grantLease(1000);
      await store.transact([], [{ kind: 'put', key: at('k'), value: 'x', lease }]);
      const listener = recorder();
      const watch = await subject.other.watch(at(''), listener);
      const startedAtMs = performance.now();
      await eventually('two and a half ttls have passed', () => performance.now() - startedAtMs > 2500);
      expect(lease.isAlive()).toBe(true);
      expect(listener.told).toEqual([`snapshot ${at('k')}=x`]);
      await lease.revoke();
      expect(lease.isAlive()).toBe(false);
      await eventually('the key has gone', () => listener.told.at(-1) === `delete ${at('k')}`);
      await watch.close();
    });

    it('refuses a put under a lease that is gone, and does not apply it', async () => {
      const lease = await store.grantLease(1000);
      await lease.revoke();
      expect(await store.transact([], [{ kind: 'put', key: at('k'), value: 'x', lease }])).toEqual({ kind: 'refused' });
      expect(await store.get(at('k'))).toBeUndefined();
    });

    it('lets a lease that nobody renews end by itself, and one that another client renews stand (R38)', async () => {
      const left = await store.createLease(2000);
      const renewed = await store.createLease(2000);
      await store.transact([], [{ kind: 'put', key: at('left'), value: 'x', lease: left }]);
      await store.transact([], [{ kind: 'put', key: at('renewed'), value: 'x', lease: renewed }]);
      await eventually('the one that is not renewed has ended', async () => {
        expect(await subject.other.renewLease(renewed.id)).toBe(true);
        return (await store.get(at('left'))) === undefined;
      });
      expect((await store.get(at('renewed')))?.value).toBe('x');
      expect(await subject.other.renewLease(left.id)).toBe(false);
      await subject.other.revokeLease(renewed.id);
      await subject.other.revokeLease(renewed.id);
      expect(await store.get(at('renewed'))).toBeUndefined();
      expect(await store.renewLease(renewed.id)).toBe(false);
    });

    it('rounds the ttl of a lease up to whole seconds', async () => {
      const lease = await store.grantLease(1001);
      expect(lease.ttlMs).toBe(2000);
      await lease.revoke();
    });
  });
}
