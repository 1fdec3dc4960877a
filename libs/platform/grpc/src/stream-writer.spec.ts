import { Writable } from 'node:stream';
import { BoundedWriter, writeWithBackpressure, type WritableCall } from './stream-writer.ts';

/** A real object stream whose other side takes messages only when told, with room for `room` of them. */
function createValve(room: number) {
  const waiting: (() => void)[] = [];
  let cancelled = false;
  const stream = new Writable({ objectMode: true, highWaterMark: room, write: (_message, _encoding, done) => void waiting.push(done) });
  const call = Object.assign(stream, { cancel: () => (cancelled = true) }) as unknown as WritableCall<string> & Writable;
  return { call, takeOne: () => waiting.shift()?.(), isCancelled: () => cancelled };
}

const listenersOf = (stream: Writable): number => ['drain', 'close', 'error', 'cancelled'].reduce((count, event) => count + stream.listenerCount(event), 0);

describe('writeWithBackpressure', () => {
  it('waits for room, and leaves no listener behind', async () => {
    const { call, takeOne } = createValve(1);
    let isWritten = false;
    const writing = writeWithBackpressure(call, 'a', new AbortController().signal).then(() => (isWritten = true));
    await new Promise((resolve) => setImmediate(resolve));
    expect(isWritten).toBe(false);
    takeOne();
    await writing;
    expect(isWritten).toBe(true);
    expect(listenersOf(call)).toBe(0);
  });

  it.each([
    ['the signal aborts', (_call: Writable, abort: AbortController) => abort.abort(new Error('enough')), { message: 'enough' }],
    ['the other side is gone', (call: Writable) => void call.destroy(), { reason: 'CANCELLED' }],
  ])('stops waiting when %s', async (_name, happen, expected) => {
    const { call } = createValve(1);
    const abort = new AbortController();
    const writing = writeWithBackpressure(call, 'a', abort.signal);
    happen(call, abort);
    await expect(writing).rejects.toMatchObject(expected);
    expect(listenersOf(call)).toBe(0);
    await expect(writeWithBackpressure(call, 'b', abort.signal)).rejects.toMatchObject(expected);
  });
});

describe('BoundedWriter', () => {
  it('accepts up to its bound, gives room back as messages leave, and closes a stalled stream once (R24)', async () => {
    const { call, takeOne, isCancelled } = createValve(16);
    const stalls: number[] = [];
    const writer = new BoundedWriter(call, { sizeOf: ({ length }: string) => length, bufferedBytesMax: 10, onStalled: (bytes) => stalls.push(bytes) });
    expect([writer.write('aaaa'), writer.write('bbbb')]).toEqual([true, true]);
    expect(writer.bufferedBytes).toBe(8);
    takeOne();
    await new Promise((resolve) => setImmediate(resolve));
    expect(writer.bufferedBytes).toBe(4);
    expect(writer.write('cccccc')).toBe(true);
    expect([writer.write('d'), writer.write('e')]).toEqual([false, false]);
    expect(stalls).toEqual([10]);
    expect(isCancelled()).toBe(true);
  });

  it('takes one message above the bound when nothing else is under way', () => {
    const writer = new BoundedWriter(createValve(16).call, { sizeOf: ({ length }: string) => length, bufferedBytesMax: 3 });
    expect(writer.write('larger')).toBe(true);
    expect(writer.write('x')).toBe(false);
  });
});
