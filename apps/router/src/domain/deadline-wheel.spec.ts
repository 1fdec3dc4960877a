import { createOperation } from '../testing/operation.ts';
import { DeadlineWheel } from './deadline-wheel.ts';
import type { RoutedOperation } from './routed-operation.ts';

describe('deadline wheel', () => {
  const expiredAt = (wheel: DeadlineWheel, nowMs: number): number[] => {
    const expired: RoutedOperation[] = [];
    wheel.advance(nowMs, (operation) => expired.push(operation));
    return expired.map((operation) => operation.deadlineAtMs);
  };

  it('ends each operation at its deadline or within a tick of it, never before', () => {
    const wheel = new DeadlineWheel(0);
    for (const deadlineAtMs of [15, 15, 25, 10_240, 50_000]) wheel.add(createOperation({ deadlineAtMs }));
    expect(expiredAt(wheel, 14)).toEqual([]);
    expect(expiredAt(wheel, 24)).toEqual([15, 15]);
    expect(expiredAt(wheel, 30)).toEqual([25]);
    expect(expiredAt(wheel, 10_239)).toEqual([]);
    expect(expiredAt(wheel, 10_250)).toEqual([10_240]);
    expect(expiredAt(wheel, 49_999)).toEqual([]);
    expect(expiredAt(wheel, 50_010)).toEqual([50_000]);
    expect(wheel.count).toBe(0);
  });

  it('forgets what is removed, in any order', () => {
    const wheel = new DeadlineWheel(0);
    const operations = Array.from({ length: 5 }, () => createOperation({ deadlineAtMs: 100 }));
    for (const operation of operations) wheel.add(operation);
    for (const index of [2, 0, 4]) wheel.remove(operations[index]!);
    wheel.remove(operations[2]!);
    expect(wheel.count).toBe(2);
    expect(expiredAt(wheel, 200)).toHaveLength(2);
  });

  it('ends what passed already, and everything due after a long pause', () => {
    const wheel = new DeadlineWheel(5000);
    wheel.add(createOperation({ deadlineAtMs: 1 }));
    wheel.add(createOperation({ deadlineAtMs: 90_000 }));
    wheel.add(createOperation({ deadlineAtMs: 700_000 }));
    expect(expiredAt(wheel, 5011)).toEqual([1]);
    expect(expiredAt(wheel, 600_000)).toEqual([90_000]);
    expect(wheel.count).toBe(1);
  });
});
