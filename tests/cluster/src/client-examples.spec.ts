// The examples of libs/client/README.md, run against a real cluster: what stands there is true.
import { execFile } from 'node:child_process';
import { strict as assert } from 'node:assert';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { stripTypeScriptTypes } from 'node:module';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { WriteInDoubt, createClient, isAtollError, type AtollClient } from '@atoll/client';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../../..', import.meta.url));
const atoll = (...args: string[]) => run(process.execPath, [join(root, 'apps/cli/src/main.ts'), ...args], { cwd: root });

interface Example {
  readonly title: string;
  readonly code: string;
}

/** The blocks that are marked as examples, under the heading above each. */
async function readExamples(): Promise<Example[]> {
  const readme = await readFile(new URL('../../../libs/client/README.md', import.meta.url), 'utf8');
  const examples: Example[] = [];
  for (const section of readme.split(/^## /m).slice(1)) {
    const title = section.slice(0, section.indexOf('\n'));
    for (const [, code = ''] of section.matchAll(/```ts example\n([^]*?)```/g)) examples.push({ title, code });
  }
  return examples;
}

const toFunction = (code: string): ((...args: unknown[]) => Promise<void>) => {
  const AsyncFunction = (async () => undefined).constructor as new (...args: string[]) => (...args: unknown[]) => Promise<void>;
  return new AsyncFunction('client', 'assert', 'isAtollError', 'WriteInDoubt', stripTypeScriptTypes(code));
};

const examples = await readExamples();
let dataDir: string;
let client: AtollClient;

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'atoll-examples-'));
  const { stdout } = await up();
  const { routers } = JSON.parse(stdout) as { routers: { address: string }[] };
  client = createClient({ routers: routers.map(({ address }) => address) });
}, 60_000);

afterAll(async () => {
  client?.close();
  await atoll('dev', 'down', '--data-dir', dataDir);
  await rm(dataDir, { recursive: true, force: true });
});

/** Other programs may hold a port of the range: then another range is tried. */
async function up(triesLeft = 3): Promise<{ stdout: string }> {
  try {
    return await atoll('dev', 'up', '--nodes', '2', '--base-port', String(await freeBasePort()), '--data-dir', dataDir, '--detach', '--json');
  } catch (error) {
    if (triesLeft === 0 || !/is in use/.test((error as { stderr?: string }).stderr ?? '')) throw error;
    return up(triesLeft - 1);
  }
}

/** A port with free ones behind it, as far as one can tell by trying one. */
async function freeBasePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return Math.min(port, 60_000);
}

describe('examples of the client', () => {
  it('are there', () => {
    expect(examples.length).toBeGreaterThan(6);
  });

  it.each(examples)('$title', async ({ code }) => {
    await expect(toFunction(code)(client, assert, isAtollError, WriteInDoubt)).resolves.toBeUndefined();
  });
});
