import { RetryBudget } from './retry-budget.ts';

describe('retry budget', () => {
  it('lets one in ten be repeated once savings are used up', () => {
    const budget = new RetryBudget({ perOperation: 0.1, perSecond: 0, max: 2 }, 0);
    expect([budget.spend(0), budget.spend(0), budget.spend(0)]).toEqual([true, true, false]);
    for (let index = 0; index < 11; index += 1) budget.earn();
    expect([budget.spend(0), budget.spend(0)]).toEqual([true, false]);
  });

  it('fills with time, up to its bound', () => {
    const budget = new RetryBudget({ perOperation: 0, perSecond: 10, max: 3 }, 0);
    for (let index = 0; index < 3; index += 1) budget.spend(0);
    expect(budget.spend(50)).toBe(false);
    expect(budget.spend(150)).toBe(true);
    expect(budget.spend(60_000)).toBe(true);
    expect(budget.tokens).toBe(2);
  });
});
