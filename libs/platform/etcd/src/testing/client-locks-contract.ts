import { isAtollError } from '@atoll/core-errors';
import type { LockMode, LockScope } from '@atoll/core-locks';
import { tokenFromBigInt } from '@atoll/core-placement';

import { ClientLocks, type GrantedLock, type LockAsk } from '../locks/client-locks.ts';
import { eventually } from './eventually.ts';
import type { ContractSubject } from './metadata-store-contract.ts';

const TTL_MS = 2000;

/** What locks of clients promise on every implementation of the port. Call at the top level of a spec. */
export function clientLocksContract(name: string, create: () => Promise<ContractSubject>): void {
  describe(`locks of clients on ${name} (R38)`, () => {
    let subject: ContractSubject;
    /** Two coordinators. */
    let first: ClientLocks;
    let second: ClientLocks;
    let count = 0;
    let scope: LockScope;
    const id = (): string => `request-${(count += 1)}`;
    const range = (keyspace: string, start: number, end: number): LockScope => ({
      kind: 'range',
      keyspace,
      range: { start: tokenFromBigInt(BigInt(start)), end: tokenFromBigInt(BigInt(end)) },
    });
    const ask = (fields: Partial<LockAsk> = {}): LockAsk => ({ scope, mode: 'EXCLUSIVE', ttlMs: TTL_MS, waitMs: 0, requestId: id(), isRepeatable: true, owner: '', ...fields });
    const standing = (many: number) =>
      eventually(`${many} requests stand`, async () => (await first.list()).filter((each) => each.group.includes(Buffer.from(scope.kind === 'name' ? scope.name : '').toString('base64url'))).length === many);
    const failureOf = async (work: Promise<unknown>): Promise<string> => {
      try {
        await work;
        return 'it succeeded';
      } catch (error) {
        return isAtollError(error) ? error.reason : String(error);
      }
    };
    /** Renews while `work` is under way, as a client does. */
    async function renewing<T>(request: LockAsk, work: Promise<T>): Promise<T> {
      const timer = setInterval(() => void second.renew(request.scope, request.requestId).catch(() => undefined), TTL_MS / 4);
      try {
        return await work;
      } finally {
        clearInterval(timer);
      }
    }

    beforeAll(async () => {
      subject = await create();
    });
    afterAll(async () => subject.close());
    beforeEach(() => {
      first = new ClientLocks(subject.store);
      second = new ClientLocks(subject.other);
      scope = { kind: 'name', name: `lock ${(count += 1)}/` };
    });
    afterEach(async () => {
      await Promise.all([first.close(), second.close()]);
    });

    it('is held by one of many at a time, through any coordinator, and tokens grow from holder to holder (I9)', async () => {
      const tokens: number[] = [];
      let holders = 0;
      await Promise.all(
        Array.from({ length: 20 }, async (_, index) => {
          const request = ask({ waitMs: 20_000, ttlMs: 20_000 });
          const locks = index % 2 === 0 ? first : second;
          const lock = await locks.acquire(request);
          holders += 1;
          expect(holders).toBe(1);
          tokens.push(lock.fencingToken);
          holders -= 1;
          await locks.release(request.scope, request.requestId);
        }),
      );
      expect(tokens).toHaveLength(20);
      expect(tokens).toEqual([...tokens].sort((a, b) => a - b));
    }, 60_000);

    it('is granted in the order of arrival: a reader does not overtake a writer that waits', async () => {
      const order: string[] = [];
      const start = async (mode: LockMode, who: string, standingAfter: number): Promise<() => Promise<void>> => {
        const request = ask({ mode, waitMs: 20_000, ttlMs: 20_000 });
        const work = first.acquire(request).then(() => order.push(who));
        await standing(standingAfter);
        return async () => {
          await work;
          await first.release(request.scope, request.requestId);
        };
      };
      const reader = await start('SHARED', 'reader', 1);
      const beside = await start('SHARED', 'reader beside', 2);
      const writer = await start('EXCLUSIVE', 'writer', 3);
      const late = await start('SHARED', 'late reader', 4);
      await eventually('both readers hold', () => order.length === 2);
      const listed = (await first.list()).filter((each) => each.scope.kind === 'name' && each.scope.name === (scope as { name: string }).name);
      expect(listed.map((each) => [each.mode, each.blocker === undefined])).toEqual([['SHARED', true], ['SHARED', true], ['EXCLUSIVE', false], ['SHARED', false]]);
      for (const end of [reader, beside, writer, late]) await end();
      expect(order).toEqual(['reader', 'reader beside', 'writer', 'late reader']);
    });

    it('excludes ranges that overlap, and no others', async () => {
      const keyspace = `keyspace-${count}`;
      await first.acquire(ask({ scope: range(keyspace, 0, 100) }));
      await second.acquire(ask({ scope: range(keyspace, 100, 200) }));
      await second.acquire(ask({ scope: range('elsewhere', 0, 100) }));
      expect(await failureOf(second.acquire(ask({ scope: range(keyspace, 99, 101) })))).toBe('LOCK_HELD');
      await second.acquire(ask({ scope: range(keyspace, 200, 201) }));
    });

    it('is free again when its holder does not renew, and stays held while it does', async () => {
      const held = ask();
      const lock = await first.acquire(held);
      const next = ask({ waitMs: 20_000 });
      const waiting = renewing(next, second.acquire(next));
      for (let round = 0; round < 3; round += 1) {
        await eventually('half a ttl has passed', ((from) => () => performance.now() - from > TTL_MS / 2)(performance.now()));
        expect(await second.renew(held.scope, held.requestId)).toBe(TTL_MS);
      }
      const renewedAtMs = performance.now();
      const lockAfter = await waiting;
      expect(performance.now() - renewedAtMs).toBeGreaterThan(TTL_MS - 100);
      expect(lockAfter.fencingToken).toBeGreaterThan(lock.fencingToken);
      expect(await failureOf(first.renew(held.scope, held.requestId))).toBe('LOCK_NOT_FOUND');
      expect(await first.release(held.scope, held.requestId)).toBe(false);
    });

    it('lets a request that is not renewed leave the queue, and tells whoever waits on it', async () => {
      const held = ask({ ttlMs: 20_000 });
      await first.acquire(held);
      expect(await failureOf(second.acquire(ask({ waitMs: 20_000 })))).toBe('LOCK_NOT_FOUND');
      await standing(1);
      await first.release(held.scope, held.requestId);
    });

    it('keeps the place of a request that is repeated at another coordinator', async () => {
      const held = ask({ ttlMs: 20_000 });
      await first.acquire(held);
      const request = ask({ waitMs: 20_000, ttlMs: 20_000 });
      const away = failureOf(first.acquire(request));
      await standing(2);
      const behind = ask({ waitMs: 20_000, ttlMs: 20_000 });
      const later: Promise<GrantedLock> = second.acquire(behind);
      await standing(3);
      await first.close();
      expect(await away).toBe('SHUTTING_DOWN');
      const repeated = second.acquire(request);
      await second.release(held.scope, held.requestId);
      const lock = await repeated;
      // And what it holds it is told again.
      expect(await second.acquire(request)).toEqual(lock);
      await second.release(request.scope, request.requestId);
      expect((await later).fencingToken).toBeGreaterThan(lock.fencingToken);
    });

    it('is not waited for longer than asked: LOCK_HELD names the holder, and the request is gone', async () => {
      const held = ask({ owner: 'the nightly job' });
      await first.acquire(held);
      await expect(second.acquire(ask())).rejects.toMatchObject({ reason: 'LOCK_HELD', metadata: { holder: 'the nightly job', holder_request: held.requestId } });
      expect(await failureOf(second.acquire(ask({ waitMs: 50 })))).toBe('LOCK_HELD');
      await standing(1);
    });

    it('leaves a request of its caller alone when the caller goes away, and removes one that nobody could repeat', async () => {
      await first.acquire(ask({ ttlMs: 20_000 }));
      for (const [isRepeatable, left] of [[true, 2], [false, 2]] as const) {
        const stop = new AbortController();
        const ended = failureOf(second.acquire(ask({ waitMs: 10_000, ttlMs: 20_000, isRepeatable, signal: stop.signal })));
        await standing(isRepeatable ? 2 : 3);
        stop.abort();
        expect(await ended).toBe('CANCELLED');
        await standing(left);
      }
    });

    it('refuses a request id that stands for something else', async () => {
      const held = ask();
      await first.acquire(held);
      expect(await failureOf(second.acquire({ ...held, mode: 'SHARED' }))).toBe('INVALID_ARGUMENT');
    });

    it.each<[Partial<LockAsk>, string]>([
      [{ ttlMs: 1999 }, 'ttl_ms'],
      [{ ttlMs: Number.NaN }, 'ttl_ms'],
      [{ ttlMs: 3_600_001 }, 'ttl_ms'],
      [{ waitMs: -1 }, 'wait_ms'],
      [{ waitMs: 3_600_001 }, 'wait_ms'],
      [{ waitMs: 2001, isRepeatable: false }, 'wait_ms'],
      [{ requestId: 'short' }, 'request_id'],
      [{ requestId: 'with/slash' }, 'request_id'],
      [{ owner: 'o'.repeat(257) }, 'owner'],
    ])('refuses %j', async (fields, field) => {
      await expect(first.acquire(ask(fields))).rejects.toMatchObject({ reason: 'INVALID_ARGUMENT', metadata: { field } });
    });
  });
}
