import type { NodeRecord, NodeSpec } from '@atoll/core-membership';
import { toNodeId } from '@atoll/core-runtime';
import { Attendance } from './attendance.ts';
import { describeNode } from './node-state.ts';

const record = (id: string, phase: NodeRecord['phase'] = 'SERVING'): NodeRecord => ({
  id: toNodeId(id),
  address: `${id}:1`,
  httpAddress: '',
  zone: 'z',
  weight: 1,
  incarnation: 'i1',
  phase,
});
const spec = (id: string, stopped = false): NodeSpec => ({ id: toNodeId(id), state: 'UP', zone: 'z', weight: 1, incarnation: 'i1', address: `${id}:1`, stopped });
const nodes = (...ids: string[]): Map<string, NodeRecord> => new Map(ids.map((id) => [id, record(id)]));
const specs = (...ids: string[]): Map<string, NodeSpec> => new Map(ids.map((id) => [id, spec(id)]));

describe('nodes that start together', () => {
  // ms:      0    900   1800   2700 ...   a node joins every 900 ms, settleMs is 1000, settleMsMax is 5000
  // settled: no   no    no     no         at 5000 all the same
  it.each([
    { joinsMs: [], atMs: 10_000, expected: false },
    { joinsMs: [0], atMs: 999, expected: false },
    { joinsMs: [0], atMs: 1000, expected: true },
    { joinsMs: [0, 900], atMs: 1899, expected: false },
    { joinsMs: [0, 900], atMs: 1900, expected: true },
    { joinsMs: [0, 900, 1800, 2700, 3600, 4500], atMs: 4999, expected: false },
    { joinsMs: [0, 900, 1800, 2700, 3600, 4500], atMs: 5000, expected: true },
  ])('joins at $joinsMs ms are settled at $atMs ms: $expected', ({ joinsMs, atMs, expected }) => {
    const attendance = new Attendance({ settleMs: 1000, settleMsMax: 5000, reReplicateAfterMs: 60_000 });
    const here: string[] = [];
    for (const joinMs of joinsMs) {
      here.push(`n${here.length}`);
      attendance.take(nodes(...here), specs(), joinMs);
    }
    expect(attendance.isSettled(atMs)).toBe(expected);
  });
});

describe('a node that is away', () => {
  it('is written off after reReplicateAfterMs, counted anew after each return', () => {
    const attendance = new Attendance({ settleMs: 0, settleMsMax: 0, reReplicateAfterMs: 1000 });
    attendance.take(nodes('a', 'b'), specs('a', 'b'), 0);
    attendance.take(nodes('a'), specs('a', 'b'), 500);
    expect([...attendance.writtenOff(1500)]).toEqual([]);
    expect([...attendance.writtenOff(1501)]).toEqual(['b']);
    attendance.take(nodes('a', 'b'), specs('a', 'b'), 1600);
    expect([...attendance.writtenOff(9000)]).toEqual([]);
    attendance.take(nodes('a'), specs('a', 'b'), 9000);
    expect([...attendance.writtenOff(10_000)]).toEqual([]);
  });
});

describe('a node of which there is no verdict', () => {
  it.each([
    { title: 'registered', node: record('a'), durable: spec('a'), state: 'UP' },
    { title: 'registered and stopping', node: record('a', 'STOPPING'), durable: spec('a'), state: 'LEFT' },
    { title: 'gone after it said that it stops', node: undefined, durable: spec('a', true), state: 'LEFT' },
    { title: 'gone without a word', node: undefined, durable: spec('a'), state: 'SUSPECT' },
  ])('$title: $state', ({ node, durable, state }) => {
    expect(describeNode(undefined, { record: node, spec: durable, nowMs: 3000 })).toMatchObject({ state, stateMs: 0 });
  });
});
