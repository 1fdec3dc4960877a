import { ManualClock } from '@atoll/core-runtime';

import { KeptLease } from './kept-lease.ts';
import { eventually } from './testing/eventually.ts';

function keep(overrides: Partial<ConstructorParameters<typeof KeptLease>[0]> = {}) {
  const clock = new ManualClock({ monotonicMs: 1000 });
  const lease = new KeptLease({
    id: '1',
    ttlMs: 300,
    clock,
    grantedAtMs: 900,
    keepAlive: async () => true,
    revoke: async () => undefined,
    onEnd: () => undefined,
    ...overrides,
  });
  return { clock, lease };
}

describe('KeptLease', () => {
  it('counts its life from when the grant was sent, also while the event loop does nothing (R11)', () => {
    const { clock, lease } = keep();
    clock.advance(199);
    expect(lease.isAlive()).toBe(true);
    clock.advance(1);
    expect(lease.isAlive()).toBe(false);
    lease.abandon();
  });

  it('counts an answered keep-alive from when it was sent, not from when it was answered (R11)', async () => {
    const answer = Promise.withResolvers<boolean>();
    let sent = 0;
    const { clock, lease } = keep({ keepAlive: () => ((sent += 1) === 1 ? answer.promise : new Promise(() => undefined)) });
    await eventually('a keep-alive was sent', () => sent === 1); // at 1000 by the clock of the lease
    clock.advance(150);
    answer.resolve(true);
    await answer.promise;
    await eventually('the next one was sent', () => sent === 2);
    clock.advance(149); // 1299
    expect(lease.isAlive()).toBe(true);
    clock.advance(1); // 1300 = sent at 1000 + ttl
    expect(lease.isAlive()).toBe(false);
    lease.abandon();
  });

  it('is lost at once when etcd does not know it any more, and tells so once', async () => {
    const { lease } = keep({ keepAlive: async () => false });
    let told = 0;
    lease.onLost(() => (told += 1));
    await eventually('the loss is told', () => told > 0);
    expect(lease.isAlive()).toBe(false);
    let toldLate = 0;
    lease.onLost(() => (toldLate += 1));
    await eventually('a late listener is told too', () => toldLate === 1);
    expect(told).toBe(1);
  });

  it('does not tell of a loss after it was revoked, and revokes once, whatever etcd answers', async () => {
    let revoked = 0;
    let told = false;
    const { lease } = keep({
      revoke: async () => {
        revoked += 1;
        throw new Error('etcd is away');
      },
    });
    lease.onLost(() => (told = true));
    await lease.revoke();
    await lease.revoke();
    expect({ revoked, told, alive: lease.isAlive() }).toEqual({ revoked: 1, told: false, alive: false });
  });
});
