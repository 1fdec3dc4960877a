import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TRACE_HEADING, TraceError, TraceParser, countRequests, openTrace, type TraceRequest } from './trace.ts';

const parser = (heading = TRACE_HEADING): TraceParser => {
  const made = new TraceParser();
  expect(made.parse(heading)).toBeUndefined();
  return made;
};

describe('TraceParser', () => {
  it.each([
    ['1,5633898,28,512,42932745', 'get', 512],
    ['1,5633898,2a,6656,42932745', 'set', 6656],
    ['1,5633898,2A,0,42932745', 'set', 0],
    ['1,5633898,88,69632,42932745', 'get', 69_632],
  ])('%s is a %s of %i bytes', (line, kind, valueBytes) => {
    expect(parser().parse(line)).toEqual({ timeMs: 5_633_898_000, kind, key: '42932745', valueBytes });
  });

  it('finds columns by their names', () => {
    expect(parser('lbn,size,op,time').parse('7,10,2a,1.5')).toEqual({ timeMs: 1500, kind: 'set', key: '7', valueBytes: 10 });
  });

  it.each([
    ['1,1,35,512,1', 'op must be'],
    ['1,soon,28,512,1', 'time must be'],
    ['1,1,28,-1,1', 'size must be'],
    ['1,1,28,67108865,1', 'size must be'],
    ['1,1,28,512,', 'lbn is empty'],
    ['1,1,28', 'size must be'],
  ])('refuses %s and names the line', (line, problem) => {
    const reading = (): unknown => parser().parse(line);
    expect(reading).toThrow(TraceError);
    expect(reading).toThrow(`line 2: ${problem}`);
  });

  it('refuses a file without heading', () => {
    expect(() => new TraceParser().parse('1,1,28,512,1')).toThrow('line 1: the heading must be like');
  });
});

describe('openTrace', () => {
  let dir: string;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'atoll-trace-'));
  });
  afterAll(() => rmSync(dir, { recursive: true }));

  it.each([
    [Infinity, 3],
    [2, 2],
    [0, 0],
  ])('with limit %d it reads %i requests in the order of the file', async (limit, count) => {
    const path = join(dir, 'trace.csv');
    writeFileSync(path, `${TRACE_HEADING}\r\n1,1,28,1,a\r\n1,2,2a,2,b\r\n\r\n1,3,28,3,a`);
    expect(await countRequests(path)).toBe(3);
    const { requests } = await openTrace(path, limit);
    const read: TraceRequest[] = [];
    for await (const request of requests) read.push(request);
    expect(read.map(({ key }) => key)).toEqual(['a', 'b', 'a'].slice(0, count));
  });
});
