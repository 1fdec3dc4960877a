// The tool that replays a request trace, with a trace of its own making: it verifies every live key on two nodes.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import { syntheticTrace, traceText } from '@atoll/tests-bench';
import { runCommand, ROOT } from './run-command.ts';

jest.setTimeout(180_000);

const SEED = 10_001;
const REQUESTS = 3000;

let scratch: string;

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'atoll-trace-'));
});

afterAll(() => rm(scratch, { recursive: true, force: true }));

it(`a trace is replayed, and every entry is on two nodes (seed ${SEED})`, async () => {
  const file = join(scratch, 'trace.csv');
  await writeFile(file, traceText(syntheticTrace({ seed: SEED, requests: REQUESTS, keys: 800, valueBytesMax: 16 * 1024 })));
  const { code, stdout, stderr } = await runCommand(process.execPath, [join(ROOT, 'tests/bench/src/replay.ts'), file, '--nodes', '2', '--memory', '512MiB'], { timeoutMs: 150_000 });
  expect(`${stdout}${stderr}`).toMatch(/verdict +PASS/);
  expect(stdout).toMatch(/hit ratio/);
  expect(code).toBe(0);
});
