import { Readable, Writable } from 'node:stream';
import { RedrawnLines } from './redrawn-lines.ts';

describe('RedrawnLines', () => {
  function terminal(rows: number, columns: number) {
    const pieces: string[] = [];
    const stdout = new Writable({
      write(chunk: Buffer, _encoding, ready) {
        pieces.push(chunk.toString('utf8'));
        ready();
      },
    });
    return { pieces, lines: new RedrawnLines({ stdin: Readable.from([]), stdout: Object.assign(stdout, { isTTY: true, rows, columns }), stderr: stdout, env: {}, cwd: '/' }) };
  }

  it('goes back over what it drew, and leaves no trace', () => {
    const { pieces, lines } = terminal(10, 40);
    lines.draw(['one', 'two']);
    lines.draw(['three']);
    lines.end();
    lines.end();
    expect(pieces).toEqual(['one\ntwo\n', '\u001B[2A\r\u001B[Jthree\n', '\u001B[1A\r\u001B[J']);
  });

  it('never scrolls or wraps, and lets no data move the cursor', () => {
    const { pieces, lines } = terminal(3, 6);
    lines.draw(['123456789', 'a\u001B[2J', 'third']);
    expect(pieces).toEqual(['12345\na\\x1b\n']);
  });

  it('assumes a usual size where the terminal tells none', () => {
    const { lines } = terminal(0, 0);
    expect([lines.rows, lines.columns]).toEqual([23, 79]);
  });
});
