import { holdLock } from '../locks/held-lock.ts';
import type { MetadataStore } from '../metadata-store.ts';
import type { ContractSubject } from './metadata-store-contract.ts';

/** What locks of processes promise on every implementation of the port. Call at the top level of a spec. */
export function heldLockContract(name: string, create: () => Promise<ContractSubject>): void {
  describe(`locks of processes on ${name} (R38)`, () => {
    let subject: ContractSubject;
    let count = 0;
    const hold = (store: MetadataStore, owner: string, waitMs = 0, signal?: AbortSignal) => holdLock({ store, name: `backup/r${count}`, owner, ttlMs: 2000, waitMs, signal });

    beforeAll(async () => {
      subject = await create();
    });
    afterAll(async () => subject.close());
    beforeEach(() => {
      count += 1;
    });

    it('one holds it, the others are told who, and a later holder has a higher token', async () => {
      const first = await hold(subject.store, 'backup-1');
      expect([first.isHeld(), first.lost.aborted]).toEqual([true, false]);
      await expect(hold(subject.other, 'backup-2')).rejects.toMatchObject({ reason: 'LOCK_HELD', metadata: { holder: 'backup-1' } });
      await first.release();
      expect([first.isHeld(), first.lost.aborted]).toEqual([false, false]);
      const second = await hold(subject.other, 'backup-2');
      expect(second.fencingToken).toBeGreaterThan(first.fencingToken);
      await second.release();
    });

    it('who waits has it when it is free, in the order of arrival, and may stop waiting', async () => {
      const first = await hold(subject.store, 'a');
      const stop = new AbortController();
      const given = hold(subject.other, 'b', 20_000, stop.signal);
      const second = hold(subject.store, 'c', 20_000);
      stop.abort();
      await expect(given).rejects.toMatchObject({ reason: 'CANCELLED' });
      await first.release();
      const held = await second;
      expect(held.isHeld()).toBe(true);
      await held.release();
    });

    it('what the holder writes with its comparison is refused once another holds it (I9)', async () => {
      const first = await hold(subject.store, 'a');
      const write = (value: string) => subject.store.transact([first.comparison], [{ kind: 'put', key: `contract/held-${count}`, value }]);
      expect((await write('1')).kind).toBe('succeeded');
      await first.release();
      const second = await hold(subject.other, 'b');
      expect((await write('2')).kind).toBe('refused');
      await second.release();
    });
  });
}
