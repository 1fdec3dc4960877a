import { eventually } from '@atoll/platform-etcd/testing';
import { LogBudget } from './log-budget.ts';

describe('LogBudget', () => {
  it('lets the first lines of a burst through, sums the others up, and begins anew', async () => {
    const more: number[] = [];
    const budget = new LogBudget({ linesMax: 3, windowMs: 20, onMore: (count) => more.push(count) });
    const burst = Array.from({ length: 4096 }, () => budget.take());
    expect(burst.filter(Boolean)).toHaveLength(3);
    await eventually('the sum', () => more.length > 0);
    expect(more).toEqual([4093]);
    expect(budget.take()).toBe(true);
  });

  it('is silent about what it let through', async () => {
    const more: number[] = [];
    const quiet = new LogBudget({ linesMax: 3, windowMs: 5, onMore: (count) => more.push(count) });
    const loud = new LogBudget({ linesMax: 0, windowMs: 10, onMore: (count) => more.push(-count) });
    for (let line = 0; line < 3; line += 1) quiet.take();
    loud.take();
    await eventually('the later window ended', () => more.length > 0);
    expect(more).toEqual([-1]);
  });
});
