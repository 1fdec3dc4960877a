import { KIB, SeededRandom, randomBelow } from '@atoll/core-runtime';
import { encodeEntry, encodedBytes, type LogEntry } from './log-entry.ts';
import type { LogPosition } from './messages.ts';
import { ReplicaLog } from './replica-log.ts';

const entryOf = (epoch: number, seq: number, valueBytes: number): LogEntry => ({
  epoch,
  seq,
  stampMs: seq,
  opId: undefined,
  evicted: [],
  operation: { kind: 'put', key: Buffer.from(`k${seq}`), value: Buffer.alloc(valueBytes, epoch), expiresAtMs: 0 },
});

const encoded = (entries: readonly LogEntry[]): Buffer =>
  Buffer.concat(
    entries.map((entry) => {
      const bytes = Buffer.alloc(encodedBytes(entry));
      encodeEntry(entry, bytes, 0);
      return bytes;
    }),
  );

/** The same log as a list; `base` is the position before its first entry. */
class ModelLog {
  base: LogPosition;
  entries: LogEntry[] = [];
  /** Where each epoch ended, base included. */
  constructor(base: LogPosition) {
    this.base = base;
  }

  get end(): LogPosition {
    const last = this.entries.at(-1);
    return last === undefined ? this.base : { epoch: last.epoch, seq: last.seq };
  }

  epochEnd(epoch: number): LogPosition | undefined {
    const positions = [this.base, ...this.entries.map((entry) => ({ epoch: entry.epoch, seq: entry.seq }))];
    return positions.findLast((position) => position.epoch <= epoch);
  }
}

function check(isTrue: boolean, what: string): void {
  if (!isTrue) throw new Error(what);
}

describe('ReplicaLog', () => {
  it.each([1, 2, 3, 4, 5, 6])('is a list of entries, whatever is done to it (seed %i)', (seed) => {
    const random = new SeededRandom(seed);
    const below = (bound: number): number => randomBelow(random, bound);
    const model = new ModelLog({ epoch: 0, seq: 0 });
    const log = new ReplicaLog();
    let epoch = 1;
    for (let step = 0; step < 800; step += 1) {
      const roll = below(100);
      if (roll < 40) {
        const entry = entryOf(epoch, model.end.seq + 1, below(20) === 0 ? below(20 * KIB) : below(200));
        log.append(entry);
        model.entries.push(entry);
      } else if (roll < 70) {
        const entries = Array.from({ length: 1 + below(8) }, (_, index) => entryOf(epoch, model.end.seq + 1 + index, below(300)));
        check(log.appendEncoded(encoded(entries)) === entries.length, 'appended another number of entries');
        model.entries.push(...entries);
      } else if (roll < 76) {
        epoch += 1 + below(2);
      } else if (roll < 84) {
        const toSeq = model.base.seq + below(model.entries.length + 2);
        log.truncate(toSeq);
        model.entries = model.entries.filter(({ seq }) => seq <= toSeq);
        epoch = Math.max(epoch, model.end.epoch) + 1;
      } else if (roll < 97) {
        const seq = model.base.seq + below(model.entries.length + 1);
        const bytesMax = below(64 * KIB);
        const before = log.base;
        log.trim(seq, bytesMax);
        check(log.base.seq >= before.seq && log.base.seq <= seq, 'trimmed too far');
        const dropped = model.entries.filter((entry) => entry.seq <= log.base.seq).at(-1);
        if (dropped !== undefined) model.base = { epoch: dropped.epoch, seq: dropped.seq };
        model.entries = model.entries.filter((entry) => entry.seq > log.base.seq);
      } else if (below(4) === 0) {
        model.base = { epoch, seq: model.end.seq + below(1000) };
        model.entries = [];
        log.reset(model.base);
      }
      expect(log.base).toEqual(model.base);
      expect(log.end).toEqual(model.end);
      const asked = below(epoch + 2);
      expect(log.epochEnd(asked)).toEqual(model.epochEnd(asked));
      if (model.entries.length === 0) continue;
      const at = below(model.entries.length);
      const entry = model.entries[at]!;
      expect(encoded([log.entryAt(entry.seq)]).equals(encoded([entry]))).toBe(true);
      expect(log.entryBytes(entry.seq)).toBe(encodedBytes(entry));
      expect(log.positionAt(entry.seq)).toEqual({ epoch: entry.epoch, seq: entry.seq });
      const bytesMax = below(2000);
      const run = log.run(entry.seq, bytesMax);
      expect(run.prev).toEqual(at === 0 ? model.base : { epoch: model.entries[at - 1]!.epoch, seq: entry.seq - 1 });
      expect(run.bytes.equals(encoded(model.entries.slice(at, at + run.count)))).toBe(true);
      expect(run.count === 1 || run.bytes.length <= bytesMax).toBe(true);
    }
  });

  it('takes only what follows, and all of it or nothing (I4)', () => {
    const log = new ReplicaLog();
    log.append(entryOf(3, 1, 10));
    const refused: [string, Buffer][] = [
      ['a gap', encoded([entryOf(3, 3, 10)])],
      ['a repetition', encoded([entryOf(3, 1, 10)])],
      ['an older epoch', encoded([entryOf(2, 2, 10)])],
      ['a gap behind a good entry', encoded([entryOf(3, 2, 10), entryOf(3, 4, 10)])],
      ['a piece of an entry', encoded([entryOf(3, 2, 10), entryOf(3, 3, 10)]).subarray(0, -1)],
    ];
    for (const [what, bytes] of refused) {
      expect(() => log.appendEncoded(bytes)).toThrow(RangeError);
      expect([what, log.end]).toEqual([what, { epoch: 3, seq: 1 }]);
    }
    expect(() => log.append(entryOf(3, 3, 10))).toThrow('I4');
  });

  it('answers with its largest epoch not above the asked one, and the end of that (R28, KIP-279)', () => {
    const log = new ReplicaLog({ epoch: 2, seq: 10 });
    for (const [epoch, seq] of [[2, 11], [5, 12], [5, 13], [8, 14]] as const) log.append(entryOf(epoch, seq, 10));
    expect([1, 2, 4, 5, 7, 9].map((epoch) => log.epochEnd(epoch))).toEqual([
      undefined,
      { epoch: 2, seq: 11 },
      { epoch: 2, seq: 11 },
      { epoch: 5, seq: 13 },
      { epoch: 5, seq: 13 },
      { epoch: 8, seq: 14 },
    ]);
  });

  it('knows a position by its epoch, also where epochs are missing between', () => {
    const log = new ReplicaLog({ epoch: 2, seq: 10 });
    for (const [epoch, seq] of [[2, 11], [5, 12], [5, 13]] as const) log.append(entryOf(epoch, seq, 10));
    // (4,12) was another leader's, and is lost, though an entry with its seq is here and no entry of its epoch is.
    const asked = [[2, 9], [2, 10], [3, 10], [2, 11], [4, 12], [5, 12], [5, 13], [5, 14]] as const;
    expect(asked.map(([epoch, seq]) => log.holds({ epoch, seq }))).toEqual([true, true, false, true, false, true, true, false]);
  });

  it('does not reach behind what it was trimmed to', () => {
    const log = new ReplicaLog();
    for (let seq = 1; seq <= 500; seq += 1) log.append(entryOf(1, seq, 100));
    log.trim(400, 8 * KIB);
    expect(log.base.seq).toBeGreaterThan(0);
    expect(() => log.entryAt(log.base.seq)).toThrow(RangeError);
    expect(() => log.truncate(log.base.seq - 1)).toThrow(RangeError);
    expect(log.entryAt(log.base.seq + 1).seq).toBe(log.base.seq + 1);
  });
});
