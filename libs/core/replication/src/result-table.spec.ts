import { SeededRandom, keyHash, randomBelow } from '@atoll/core-runtime';
import type { LogEntry, LogOperation, OpId } from './log-entry.ts';
import { ResultTable, type WriteResult } from './result-table.ts';

const LIMITS = { windowMs: 1000, countMax: 1000 };
const open = (options: Partial<typeof LIMITS> & { seq?: number; floorMs?: number } = {}): ResultTable =>
  new ResultTable({ ...LIMITS, seq: 0, floorMs: -Infinity, ...options });

const opIdOf = (counter: number, client = 'client-1'): OpId => ({ clientId: Buffer.from(client), counter });
const put = (value: string, key = 'k', expiresAtMs = 0): LogOperation => ({ kind: 'put', key: Buffer.from(key), value: Buffer.from(value), expiresAtMs });

function add(table: ResultTable, seq: number, options: { opId?: OpId | undefined; operation?: LogOperation; stampMs?: number; epoch?: number } = {}): void {
  const { operation = put('v'), stampMs = seq, epoch = 1 } = options;
  const opId = 'opId' in options ? options.opId : opIdOf(seq);
  const entry: LogEntry = { epoch, seq, stampMs, opId, evicted: [], operation };
  table.add(entry, 'key' in operation ? keyHash(operation.key) : undefined);
}

describe('a table of results (R21)', () => {
  it.each<[string, LogOperation, Partial<WriteResult>]>([
    ['a value', put('hello'), { effect: 'put', integer: undefined }],
    ['an expiry', put('hello', 'k', 1_800_000_000_123), { effect: 'put', expiresAtMs: 1_800_000_000_123 }],
    ['a number', put('42'), { effect: 'put', integer: 42n }],
    ['a negative number', put('-1'), { effect: 'put', integer: -1n }],
    ['a number of more than 32 bits', put('-123456789012345'), { effect: 'put', integer: -123_456_789_012_345n }],
    ['the largest number', put('9223372036854775807'), { effect: 'put', integer: 2n ** 63n - 1n }],
    ['the smallest number', put('-9223372036854775808'), { effect: 'put', integer: -(2n ** 63n) }],
    ['a number that is too large', put('9223372036854775808'), { effect: 'put', integer: undefined }],
    ['a minus alone', put('-'), { effect: 'put', integer: undefined }],
    ['a removal', { kind: 'delete', key: Buffer.from('k') }, { effect: 'deleted' }],
    ['no change, and what was met', { kind: 'unchanged', key: Buffer.from('k'), current: { epoch: 3, seq: 2 ** 40 } }, { effect: 'unchanged', current: { epoch: 3, seq: 2 ** 40 }, expiresAtMs: 0 }],
    ['no change, and no entry', { kind: 'unchanged', key: Buffer.from('k'), current: undefined }, { effect: 'unchanged', current: undefined }],
  ])('remembers %s', (_what, operation, expected) => {
    const table = open();
    add(table, 7, { operation, epoch: 5 });
    expect(table.find(opIdOf(7))).toMatchObject({ epoch: 5, seq: 7, keyHashLow: keyHash(Buffer.from('k')).low, ...expected });
    expect(table.find(opIdOf(8))).toBeUndefined();
  });

  it.each([
    ['another counter', opIdOf(2)],
    ['another client', opIdOf(1, 'client-2')],
    ['a longer client id that begins alike', opIdOf(1, 'client-1\0')],
  ])('tells %s apart', (_what, other) => {
    const table = open();
    add(table, 1, { opId: opIdOf(1) });
    expect(table.find(other)).toBeUndefined();
  });

  it('drops what is older than its window, and says so', () => {
    const table = open();
    for (const seq of [1, 2, 3]) add(table, seq, { stampMs: 100 * seq });
    expect([table.knowsSince(0), table.count]).toEqual([true, 3]);
    add(table, 4, { stampMs: 1250 });
    expect([table.find(opIdOf(2)), table.find(opIdOf(3))?.seq]).toEqual([undefined, 3]);
    expect([table.knowsSince(200), table.knowsSince(201)]).toEqual([false, true]);
  });

  it('drops the oldest beyond its number, and says so (I10)', () => {
    const table = open({ countMax: 20 });
    for (let seq = 1; seq <= 100; seq += 1) add(table, seq, { stampMs: 1 + seq / 1000 });
    expect(table.count).toBe(20);
    expect([table.find(opIdOf(80)), table.find(opIdOf(81))?.seq]).toEqual([undefined, 81]);
    expect([table.knowsSince(1.08), table.knowsSince(1.081)]).toEqual([false, true]);
  });

  it('takes an entry once: the leader at its append, the same one at its application', () => {
    const table = open();
    add(table, 1);
    add(table, 1);
    expect(table.count).toBe(1);
  });

  it('forgets what may be cut off the log, and takes in what stands there in the end', () => {
    const table = open();
    for (const seq of [1, 2, 3]) add(table, seq);
    table.truncate(1);
    expect([1, 2, 3].map((seq) => table.find(opIdOf(seq))?.seq)).toEqual([1, undefined, undefined]);
    add(table, 2, { epoch: 2, opId: opIdOf(3) });
    expect(table.find(opIdOf(3))).toMatchObject({ epoch: 2, seq: 2 });
  });

  it('knows nothing of writes before a start without results', () => {
    const table = open();
    add(table, 1);
    table.clear(5, Infinity);
    expect([table.find(opIdOf(1)), table.knowsSince(1e15)]).toEqual([undefined, false]);
    add(table, 6, { stampMs: 60, opId: undefined, operation: { kind: 'office' } });
    expect([table.knowsSince(60), table.knowsSince(61)]).toEqual([false, true]);
  });

  it('takes the results of another replica before its own', () => {
    const leader = open();
    for (let seq = 1; seq <= 50; seq += 1) add(leader, seq);
    const learner = open();
    learner.clear(40, Infinity);
    for (let seq = 41; seq <= 45; seq += 1) add(learner, seq);
    expect(learner.isPartial).toBe(true);
    expect(learner.absorb({ rows: leader.encode(48), appliedSeq: 48, floorMs: leader.floorMs })).toBe(true);
    expect(learner.isPartial).toBe(false);
    for (let seq = 46; seq <= 50; seq += 1) add(learner, seq);
    expect(learner.count).toBe(50);
    expect(learner.encode(Infinity).equals(leader.encode(Infinity))).toBe(true);
    expect(learner.knowsSince(0)).toBe(true);
  });

  it('knows after that no more than either of them', () => {
    const leader = open();
    add(leader, 1, { stampMs: 100 });
    add(leader, 2, { stampMs: 1500 });
    const learner = open({ countMax: 2 });
    learner.clear(2, Infinity);
    for (const seq of [3, 4, 5]) add(learner, seq, { stampMs: 1500 + seq });
    learner.absorb({ rows: leader.encode(2), appliedSeq: 2, floorMs: leader.floorMs });
    expect([learner.knowsSince(1503), learner.knowsSince(1504)]).toEqual([false, true]);
    expect(() => learner.absorb({ rows: Buffer.alloc(5), appliedSeq: 9, floorMs: 0 })).toThrow(RangeError);
  });

  it('takes none of a replica that has not applied what it begins behind', () => {
    const learner = open();
    learner.clear(40, Infinity);
    expect(learner.absorb({ rows: Buffer.alloc(0), appliedSeq: 39, floorMs: -Infinity })).toBe(false);
    expect([learner.isPartial, learner.knowsSince(1e15)]).toEqual([true, false]);
  });

  it('grows and shrinks with its rows around the end of their ring, and loses none', () => {
    const table = open();
    let seq = 0;
    let stampMs = 0;
    for (const [rows, stepMs] of [[100, 20], [200, 2], [300, 50], [900, 1], [40, 40]] as const) {
      for (let row = 0; row < rows; row += 1) add(table, ++seq, { stampMs: (stampMs += stepMs) });
      const known = Array.from({ length: table.count }, (_, index) => table.find(opIdOf(seq - index))?.seq);
      expect(known).toEqual(Array.from({ length: table.count }, (_, index) => seq - index));
      expect(table.find(opIdOf(seq - table.count))).toBeUndefined();
    }
  });

  it('gives memory back after a burst', () => {
    const table = open();
    const before = table.bytes;
    for (let seq = 1; seq <= 1000; seq += 1) add(table, seq, { stampMs: 1 });
    expect(table.bytes).toBeGreaterThan(1000 * 72);
    for (let seq = 1001; seq <= 1010; seq += 1) add(table, seq, { stampMs: 5000 });
    expect(table.bytes).toBeLessThanOrEqual(before * 2);
    expect(table.find(opIdOf(1005))?.seq).toBe(1005);
  });

  it.each([1, 2, 3])('agrees with a map over additions, cuts and repeats (seed %i)', (seed) => {
    const random = new SeededRandom(seed);
    const table = open({ windowMs: 200, countMax: 300 });
    let rows: { opId: OpId; seq: number; stampMs: number }[] = [];
    let seq = 0;
    let stampMs = 0;
    let isEqual = true;
    for (let step = 0; step < 20_000; step += 1) {
      const opId = opIdOf(1 + randomBelow(random, 1000), `client-${randomBelow(random, 3)}xxxxxxx`.slice(0, 8 + randomBelow(random, 3)));
      if (randomBelow(random, 500) === 0) {
        seq -= randomBelow(random, Math.min(20, seq + 1));
        table.truncate(seq);
        rows = rows.filter((row) => row.seq <= seq);
      }
      if (randomBelow(random, 2) === 0) {
        seq += 1;
        stampMs += randomBelow(random, 3);
        add(table, seq, { opId, stampMs });
        rows.push({ opId, seq, stampMs });
        rows = rows.filter((row) => row.stampMs >= stampMs - 200).slice(-300);
      }
      const expected = rows.findLast((row) => row.opId.counter === opId.counter && Buffer.compare(row.opId.clientId, opId.clientId) === 0);
      isEqual &&= table.find(opId)?.seq === expected?.seq && table.count === rows.length;
    }
    expect(isEqual).toBe(true);
  });
});
