import { drawnHistory } from './drawn-history.ts';
import { HistoryRecorder } from './history-recorder.ts';
import { formatHistory, parseHistory } from './history-text.ts';

describe('a history as text', () => {
  it('is read back as it was', () => {
    const history = drawnHistory(`
      a: [set 1 @5] [cas 5 2 yes @6] [inc 3 = 5] [get -]
      b:      [del ?   [touch yes !`);
    expect(parseHistory(formatHistory(history))).toEqual(history);
  });

  it.each([['{', 'line 1'], ['\n{"client":"a"}', 'line 2']])('%j is refused with its line', (text, named) => {
    expect(() => parseHistory(text)).toThrow(named);
  });
});

describe('HistoryRecorder', () => {
  it('orders calls and returns as they happened; what has not ended is unknown', () => {
    const recorder = new HistoryRecorder();
    const first = recorder.begin('a', 'k', { kind: 'set', value: '1', condition: 'NONE' });
    recorder.begin('b', 'k', { kind: 'delete' });
    first.end({ kind: 'ok', answer: { applied: true } });
    const [one, other] = recorder.operations();
    expect([one?.calledAt, other?.calledAt, one?.returnedAt]).toEqual([1, 2, 3]);
    expect(other?.outcome).toEqual({ kind: 'unknown' });
    expect(() => first.end({ kind: 'failed' })).toThrow('ended twice');
  });
});
