import { toPartitionId } from '@atoll/core-runtime';
import { findShortages, shortageText, takeWhatFits } from './capacity.ts';
import { nodes, operator } from './testing/samples.ts';

const moves = (count: number, after = 'db') => Array.from({ length: count }, (_, partition) => operator({ partition: toPartitionId(partition), after: nodes(after) }));
const memory = (usedBytes: number, limitBytes: number) => () => ({ usedBytes, limitBytes });

describe('shortages', () => {
  it.each([
    { title: 'room for all', count: 9, used: 50, limit: 1000, short: [] },
    { title: 'exactly the share that may be filled', count: 9, used: 50, limit: 1000, size: 100, short: [] },
    { title: 'one byte too little', count: 9, used: 51, limit: 1000, short: [{ node: 'd', neededBytes: 900, freeBytes: 899 }] },
    { title: 'a node beyond its share already', count: 1, used: 1200, limit: 1000, short: [{ node: 'd', neededBytes: 100, freeBytes: 0 }] },
    { title: 'a node without a limit', count: 1000, used: 5000, limit: 0, short: [] },
    { title: 'nothing to copy to a node that is full', count: 0, used: 1000, limit: 1000, short: [] },
  ])('$title', ({ count, used, limit, short }) => {
    expect(findShortages(moves(count), () => 100, memory(used, limit))).toEqual(short);
  });

  it('are not known of nodes that said nothing', () => {
    expect(findShortages(moves(5), () => 1e12, () => undefined)).toEqual([]);
  });

  it('count each target of an operator, and none that holds the partition already', () => {
    const found = findShortages(moves(1, 'de'), () => 100, memory(0, 100));
    expect(found.map(({ node }) => node)).toEqual(['d', 'e']);
    expect(findShortages([operator({ after: nodes('b') })], () => 100, memory(100, 100))).toEqual([]);
  });

  it('are told with the numbers', () => {
    expect(shortageText({ node: nodes('d')[0]!, neededBytes: 900, freeBytes: 899 })).toBe('d has room for 899 bytes and would get 900');
  });

  it('leave what fits, in the order given, and what goes elsewhere', () => {
    const all = [...moves(4), operator({ partition: toPartitionId(9), after: nodes('eb') })];
    const { fitting, unfit, shortages } = takeWhatFits(all, () => 100, (node) => ({ usedBytes: 0, limitBytes: node === 'd' ? 250 : 1000 }));
    expect(fitting.map(({ partition }) => partition)).toEqual([0, 1, 9]);
    const shortage = { node: 'd', neededBytes: 400, freeBytes: 237 };
    expect(shortages).toEqual([shortage]);
    expect(unfit).toEqual([all[2], all[3]].map((one) => ({ operator: one, shortage })));
    expect(takeWhatFits(all, () => 1, memory(0, 1000))).toEqual({ fitting: all, unfit: [], shortages: [] });
  });

  it('leave a small one behind one that is too large, and what is copied nowhere', () => {
    const all = [...moves(2), operator({ partition: toPartitionId(7), after: nodes('b') })];
    const { fitting } = takeWhatFits(all, ({ partition }) => (partition === 0 ? 500 : 50), memory(0, 100));
    expect(fitting.map(({ partition }) => partition)).toEqual([1, 7]);
  });
});
