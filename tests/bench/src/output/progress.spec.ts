import { Progress } from './progress.ts';

function drawn(isTTY: boolean): { readonly text: () => string; readonly progress: Progress; readonly clock: { nowMs: number } } {
  let text = '';
  const clock = { nowMs: 0 };
  const stream = { isTTY, columns: 100, write: (part: string) => ((text += part), true) } as never;
  const progress = new Progress({ label: 'replaying', total: 200, stream, nowMs: () => clock.nowMs });
  return { text: () => text, progress, clock };
}

describe('Progress', () => {
  it('elsewhere than on a terminal prints a line every five seconds and one at the end', () => {
    const { text, progress, clock } = drawn(false);
    for (let done = 1; done <= 200; done += 1) {
      clock.nowMs = done * 50;
      progress.update(done, () => 'p99 1 ms');
    }
    progress.end();
    expect(text()).toBe('replaying: 50 %, 100 of 200, 20/s, p99 1 ms\nreplaying: 100 %, 200 of 200, 20/s, p99 1 ms\nreplaying: 100 %, 200 of 200, 20/s\n');
  });

  it('on a terminal draws a bar over itself, not more often than ten times a second', () => {
    const { text, progress, clock } = drawn(true);
    for (let done = 1; done <= 100; done += 1) {
      clock.nowMs = done * 10;
      progress.update(done);
    }
    progress.end();
    const lines = text().split('\r\u001b[2K');
    expect(lines.length - 1).toBeLessThanOrEqual(11);
    expect(lines.at(-1)).toBe(`replaying [${'#'.repeat(15)}${'.'.repeat(15)}]  50 % 100 of 200, 100/s\n`);
  });
});
