import { Wake } from './wake.ts';

describe('the wake of a loop', () => {
  it('is not lost when it comes while the loop works', async () => {
    const wake = new Wake();
    wake.now();
    await expect(wake.wait(60_000)).resolves.toBeUndefined();
  });

  it('comes once for all that is to be looked at soon', async () => {
    const wake = new Wake();
    const wakes: string[] = [];
    wake.soon(5);
    wake.soon(60_000);
    await wake.wait(60_000);
    wakes.push('soon');
    wake.soon(60_000);
    wake.now();
    await wake.wait(60_000);
    wakes.push('now');
    expect(wakes).toEqual(['soon', 'now']);
  });
});
