import { randomBytes } from 'node:crypto';
import { MIB } from '@atoll/core-runtime';
import type { ObjectStore, StoredObject } from '../object-store.ts';

/** Two clients of one place that nobody else writes to. */
export interface ContractSubject {
  readonly store: ObjectStore;
  readonly other: ObjectStore;
  close(): Promise<void>;
}

export async function listAll(store: ObjectStore, prefix = ''): Promise<StoredObject[]> {
  const objects: StoredObject[] = [];
  for await (const object of store.list(prefix)) objects.push(object);
  return objects;
}

/** The sentences of the port, held by every implementation. Call at the top level of a spec. */
export function objectStoreContract(name: string, create: () => Promise<ContractSubject>, describeIt: typeof describe.skip = describe): void {
  describeIt(`${name} keeps the contract of ObjectStore`, () => {
    let subject: ContractSubject;
    let store: ObjectStore;
    let other: ObjectStore;
    let area = 0;
    const at = (key: string): string => `contract-${area}/${key}`;
    const keys = async (prefix: string): Promise<string[]> => (await listAll(store, prefix)).map(({ key }) => key);

    beforeAll(async () => {
      subject = await create();
      ({ store, other } = subject);
    });
    afterAll(async () => subject?.close());
    beforeEach(() => {
      area += 1;
    });

    it('gives back what was put, to everybody, and the later of two', async () => {
      await store.put(at('k'), Buffer.from('first'));
      await other.put(at('k'), Buffer.from('second'));
      expect((await store.get(at('k')))?.toString()).toBe('second');
      expect(await store.get(at('absent'))).toBeUndefined();
      await store.put(at('empty'), Buffer.alloc(0));
      expect((await other.get(at('empty')))?.length).toBe(0);
    });

    it('gives back a large object byte by byte, and refuses one above the bound of its reader', async () => {
      const body = randomBytes(20 * MIB + 7);
      await store.put(at('large'), body);
      expect((await other.get(at('large')))?.equals(body)).toBe(true);
      expect(await other.stat(at('large'))).toMatchObject({ key: at('large'), bytes: body.length });
      await expect(other.get(at('large'), body.length - 1)).rejects.toThrow(RangeError);
      expect(await store.create(at('large'), body)).toBe(true);
      expect(await store.create(at('large'), randomBytes(9 * MIB))).toBe(false);
    });

    it('creates once: of writers at a time one succeeds, and may ask again', async () => {
      const bodies = Array.from({ length: 6 }, (_, index) => Buffer.from(`writer ${index}`));
      const created = await Promise.all(bodies.map((body, index) => (index % 2 === 0 ? store : other).create(at('one'), body)));
      expect(created.filter(Boolean)).toHaveLength(1);
      const winner = bodies[created.indexOf(true)]!;
      expect(await store.get(at('one'))).toEqual(winner);
      expect(await other.create(at('one'), winner)).toBe(true);
      expect(await other.create(at('one'), Buffer.from('later'))).toBe(false);
    });

    it('lists by prefix in the order of keys, with length and age', async () => {
      const startedMs = Date.now();
      for (const key of ['b/2', 'a/1', 'a-1', 'b/10', 'b', 'c'].filter((one) => one !== 'b')) await store.put(at(key), Buffer.from(key));
      expect(await keys(at(''))).toEqual(['a-1', 'a/1', 'b/10', 'b/2', 'c'].map(at));
      expect(await keys(at('b/'))).toEqual(['b/10', 'b/2'].map(at));
      expect(await keys(at('b/1'))).toEqual([at('b/10')]);
      expect(await keys(at('none'))).toEqual([]);
      const [first] = await listAll(other, at('a-'));
      expect(first).toMatchObject({ key: at('a-1'), bytes: 3 });
      // Clocks of storage tell ages, roughly.
      if (store.location !== 'memory://') expect(Math.abs(first!.modifiedMs - startedMs)).toBeLessThan(60_000);
    });

    it('deletes, also what is not there', async () => {
      await store.put(at('k'), Buffer.from('v'));
      await other.delete(at('k'));
      await other.delete(at('k'));
      expect([await store.get(at('k')), await store.stat(at('k')), await keys(at(''))]).toEqual([undefined, undefined, []]);
      await store.put(at('k'), Buffer.from('again'));
      expect((await other.get(at('k')))?.toString()).toBe('again');
    });

    it('copies: both names stand by themselves, and what is missing is told', async () => {
      await store.put(at('from'), Buffer.from('v'));
      await store.put(at('to'), Buffer.from('old'));
      expect(await store.copy(at('from'), at('to'))).toBe(true);
      expect(await store.copy(at('from'), at('to'))).toBe(true);
      await store.delete(at('from'));
      expect((await other.get(at('to')))?.toString()).toBe('v');
      expect(await store.copy(at('from'), at('other'))).toBe(false);
      expect(await other.stat(at('other'))).toBeUndefined();
    });

    it.each(['', '/k', 'k/', 'a//b', '../k', 'a/../b', '.k', 'a/.k', 'é', 'a b', 'x'.repeat(513)])('refuses the key %j', async (key) => {
      for (const call of [store.put(key, Buffer.alloc(1)), store.create(key, Buffer.alloc(1)), store.get(key), store.stat(key), store.delete(key), store.copy(key, 'k'), store.copy('k', key)]) {
        await expect(call).rejects.toMatchObject({ reason: 'INVALID_ARGUMENT', metadata: { field: 'key' } });
      }
    });
  });
}
