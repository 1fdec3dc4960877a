import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { checkBoundaries } from './boundaries.ts';

// A small workspace in which every import is allowed:
//
//   layer      core            contracts  platform        client  app           testing
//   project    core-a, core-b  contracts  platform-a, -b  client  cli, service  tests
const PROJECTS: Record<string, { layer: string; dir: string }> = {
  'core-a': { layer: 'core', dir: 'libs/core/a' },
  'core-b': { layer: 'core', dir: 'libs/core/b' },
  contracts: { layer: 'contracts', dir: 'libs/contracts' },
  'platform-a': { layer: 'platform', dir: 'libs/platform/a' },
  'platform-b': { layer: 'platform', dir: 'libs/platform/b' },
  client: { layer: 'client', dir: 'libs/client' },
  cli: { layer: 'app', dir: 'apps/cli' },
  service: { layer: 'app', dir: 'apps/service' },
  tests: { layer: 'testing', dir: 'tests/cluster' },
};
const dirOf = (project: string): string => PROJECTS[project]?.dir ?? '';

describe('module boundaries', () => {
  let root = '';

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'atoll-boundaries-'));
    write('package.json', {
      name: 'top',
      workspaces: ['apps/*', 'libs/client', 'libs/contracts', 'libs/core/*', 'libs/platform/*', 'tests/*'],
      dependencies: { '@grpc/grpc-js': '1', '@opentelemetry/api': '1', etcd3: '1', pino: '1', 'xxhash-wasm': '1' },
      devDependencies: { 'fast-check': '1' },
    });
    for (const name of Object.keys(PROJECTS)) manifest(name);
  });

  afterEach(() => rmSync(root, { recursive: true, force: true }));

  function write(path: string, content: unknown): void {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), typeof content === 'string' ? content : JSON.stringify(content));
  }

  function manifest(project: string, more: Record<string, unknown> = {}): void {
    const others = Object.keys(PROJECTS).filter((other) => other !== project);
    write(`${dirOf(project)}/package.json`, {
      name: `@atoll/${project}`,
      exports: { '.': './src/index.ts' },
      dependencies: Object.fromEntries(others.map((other) => [`@atoll/${other}`, '*'])),
      nx: { tags: [`layer:${PROJECTS[project]?.layer}`] },
      ...more,
    });
  }

  /** What is said about one file of a project with that text. */
  function problemsOf(project: string, source: string, file = 'src/index.ts'): string[] {
    write(`${dirOf(project)}/${file}`, source);
    return checkBoundaries(root).map(({ message }) => message);
  }

  it.each([
    ['core-a', 'core-b'],
    ['platform-a', 'core-a'],
    ['platform-a', 'contracts'],
    ['platform-a', 'platform-b'],
    ['client', 'core-a'],
    ['client', 'contracts'],
    ['client', 'platform-a'],
    ['service', 'core-a'],
    ['service', 'contracts'],
    ['service', 'platform-a'],
    ['cli', 'client'],
    ['tests', 'core-a'],
    ['tests', 'client'],
    ['tests', 'platform-a'],
  ])('%s may import %s', (from, to) => {
    expect(problemsOf(from, `import { x } from '@atoll/${to}';`)).toEqual([]);
  });

  it.each([
    ['core-a', 'contracts', /layer:core may import only layer:core/],
    ['core-a', 'platform-a', /layer:core may import only layer:core/],
    ['core-a', 'client', /layer:core may import only layer:core/],
    ['contracts', 'core-a', /layer:contracts may import only nothing of ours/],
    ['platform-a', 'client', /layer:platform may import only/],
    ['platform-a', 'tests', /layer:platform may import only/],
    ['client', 'tests', /layer:client may import only/],
    ['service', 'client', /of the apps only @atoll\/cli may import the client/],
    ['service', 'tests', /layer:app may import only/],
    ['service', 'cli', /nothing may import an app/],
    ['tests', 'service', /nothing may import an app/],
    ['platform-a', 'service', /nothing may import an app/],
  ])('%s must not import %s', (from, to, message) => {
    const problems = problemsOf(from, `import { x } from '@atoll/${to}';`);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(message);
  });

  it.each([
    ['import type', `import type { X } from '@atoll/platform-a';`],
    ['export from', `export { x } from '@atoll/platform-a';`],
    ['dynamic import', `const x = await import('@atoll/platform-a');`],
    ['import for effect', `import '@atoll/platform-a';`],
    ['several lines', `import {\n  x,\n} from '@atoll/platform-a';`],
  ])('finds %s', (_form, source) => {
    expect(problemsOf('core-a', source)).toHaveLength(1);
  });

  it.each(['node:fs', 'fs', 'node:timers/promises', '@grpc/grpc-js', 'etcd3', '@opentelemetry/api', 'pino'])('core must not import %s', (specifier) => {
    expect(problemsOf('core-a', `import x from '${specifier}';`)).toHaveLength(1);
  });

  it.each([
    ['timers', 'setTimeout(f, 1);'],
    ['timers', 'const t = setInterval(f, 1);'],
    ['process', 'const a = process.env["A"];'],
    ['the clock', 'const now = Date.now();'],
    ['the clock', 'const now = new Date();'],
    ['the clock', 'const now = performance.now();'],
    ['randomness', 'const r = Math.random();'],
    ['randomness', 'const r = crypto.randomUUID();'],
    ['globalThis', 'const g = globalThis;'],
    ['the clock', 'const text = `now ${Date.now()}`;'],
  ])('core must not use %s: %s', (what, source) => {
    const problems = problemsOf('core-a', source);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(`layer:core must not use ${what}`);
  });

  it.each([
    ['words in comments', '// Date.now() and process.env are read by shells\n/* Math.random() */'],
    ['words in texts', `const a = 'Date.now()'; const b = "import x from 'node:fs'"; const c = \`Math.random()\`;`],
    ['a variable of its own', 'const process = nodes.get(id); use(process.incarnation);'],
    ['members of the same name', 'clock.performance.mark(); options.setTimeout(1);'],
    ['a date of a given moment', 'const d = new Date(nowMs);'],
    ['a regular expression with a quote', `const r = /['"]/; const s = 'Date.now()';`],
    ['xxhash-wasm', `import xxhash from 'xxhash-wasm';`],
    ['Node in a spec', ''],
  ])('core may have %s', (_what, source) => {
    write(`${dirOf('core-a')}/src/own.spec.ts`, `import { readFileSync } from 'node:fs';\nDate.now();`);
    expect(problemsOf('core-a', source)).toEqual([]);
  });

  it('fails an import that package.json does not declare', () => {
    manifest('platform-a', { dependencies: {} });
    expect(problemsOf('platform-a', `import { x } from '@atoll/core-a';`)).toEqual([expect.stringContaining('declare @atoll/core-a in libs/platform/a/package.json')]);
  });

  it('fails an import past the index, and of a project that does not exist', () => {
    expect(problemsOf('platform-a', `import { x } from '@atoll/core-a/src/x.ts';`)).toEqual([expect.stringContaining('does not export it')]);
    expect(problemsOf('platform-a', `import { x } from '@atoll/core-z';`)).toEqual([expect.stringContaining('there is no such project')]);
  });

  it('fails a relative import that leaves its project', () => {
    expect(problemsOf('platform-a', `import { x } from '../../../core/a/src/x.ts';`)).toEqual([expect.stringContaining('must stay inside its project')]);
    expect(problemsOf('platform-a', `import { x } from '../src/x.ts';`)).toEqual([]);
  });

  it('fails a package that the top package.json does not list, and a test package outside tests', () => {
    expect(problemsOf('platform-a', `import x from 'left-pad';`)).toEqual([expect.stringContaining('declare it in the dependencies')]);
    expect(problemsOf('platform-a', `import x from 'fast-check';`)).toEqual([expect.stringContaining('declare it in the dependencies')]);
    write(`${dirOf('platform-a')}/src/index.ts`, '');
    expect(problemsOf('platform-a', `import x from 'fast-check';`, 'src/x.spec.ts')).toEqual([]);
  });

  it.each([[{ nx: { tags: [] } }], [{ nx: { tags: ['scope:x'] } }], [{ nx: undefined }]])('fails a project without a known layer: %j', (more) => {
    manifest('core-a', more);
    expect(checkBoundaries(root)).toEqual([{ file: 'libs/core/a/package.json', line: 1, message: expect.stringContaining('needs one of the tags') }]);
  });

  it('looks at the named projects alone, and tells file and line', () => {
    write('libs/core/a/src/index.ts', `// one\n\nDate.now();`);
    write('libs/core/b/src/index.ts', `Date.now();`);
    expect(checkBoundaries(root, ['libs/core/a'])).toMatchObject([{ file: 'libs/core/a/src/index.ts', line: 3 }]);
    expect(checkBoundaries(root)).toHaveLength(2);
  });
});
