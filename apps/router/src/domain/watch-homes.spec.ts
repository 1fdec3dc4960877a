import { WatchHomes } from './watch-homes.ts';

// partition:  0  1  2  3
// leader:     a  a  b  nobody
const LEADERS = ['a', 'a', 'b', ''];
const leaderOf = (partition: number): string => LEADERS[partition]!;
const plain = (homes: WatchHomes, nowMs: number, leader = leaderOf) => {
  const plan = homes.plan(leader, nowMs);
  return { homes: Object.fromEntries(plan.homes), nextMs: plan.nextMs };
};

describe('where the partitions of a watch are watched', () => {
  it('at their leaders, and nowhere while nobody leads', () => {
    expect(plain(new WatchHomes([0, 1, 2, 3]), 0)).toEqual({ homes: { a: [0, 1], b: [2] }, nextMs: Infinity });
  });

  it('again at a node that gave one up only after a pause, and at another one at once', () => {
    const homes = new WatchHomes([0, 1]);
    homes.rest(1, 'a', 100, 0.5);
    expect(plain(homes, 100)).toEqual({ homes: { a: [0] }, nextMs: 107.5 });
    expect(plain(homes, 100, () => 'b').homes).toEqual({ b: [0, 1] });
    expect(plain(homes, 108)).toEqual({ homes: { a: [0, 1] }, nextMs: Infinity });
  });

  it('with pauses that grow to a second, and begin anew once it was served', () => {
    const homes = new WatchHomes([0]);
    const pauses = Array.from({ length: 7 }, () => {
      homes.rest(0, 'a', 0, 1);
      return homes.plan(leaderOf, 0).nextMs;
    });
    expect(pauses).toEqual([10, 20, 40, 80, 160, 1000, 1000]);
    homes.served([0]);
    homes.rest(0, 'a', 0, 1);
    expect(homes.plan(leaderOf, 0).nextMs).toBe(10);
  });
});
