// Rules of the repository that no linter knows.
import { execFileSync } from 'node:child_process';
import { existsSync, globSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { blankCommentsAndStrings } from './source-text.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const LINES_MAX = 1000;
const FILE_BYTES_MAX = 2 * 1024 * 1024;

/** Files of the repository, new ones included, without generated ones. */
const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { cwd: root, encoding: 'utf8' })
  .split('\n')
  .filter((file) => file !== '' && !file.includes('/gen/') && file !== 'package-lock.json' && existsSync(join(root, file)) && statSync(join(root, file)).isFile());
const read = (file: string): string => readFileSync(join(root, file), 'utf8');
const sources = files.filter((file) => /\.(ts|mjs|proto)$/.test(file));
const texts = files.filter((file) => /\.(ts|mjs|js|json|md|ya?ml|proto|sh)$|(^|\/)(Dockerfile|run)$/.test(file));
const specs = sources.filter((file) => file.endsWith('.spec.ts'));
const manifests = (JSON.parse(read('package.json')) as { workspaces: string[] }).workspaces.flatMap((pattern) => globSync(`${pattern}/package.json`, { cwd: root })).sort();

/** `file:line text` of each line that matches. */
function found(paths: readonly string[], pattern: RegExp, transform = (text: string): string => text): string[] {
  return paths.flatMap((file) =>
    transform(read(file))
      .split('\n')
      .flatMap((line, index) => (pattern.test(line) ? [`${file}:${index + 1} ${line.trim().slice(0, 100)}`] : [])),
  );
}

describe('repository', () => {
  it('has something to look at', () => {
    expect(sources.length).toBeGreaterThan(50);
    expect(specs.length).toBeGreaterThan(5);
    expect(manifests.length).toBeGreaterThan(10);
  });

  it('has no mark of unfinished work without an issue number', () => {
    expect(found(texts, /\b(?:TO[D]O|FI[X]ME|X[X]X|HA[C]K)\b(?!\(#\d+\))/)).toEqual([]);
  });

  it('has no spec that runs alone or not at all', () => {
    expect(found(specs, /\b(?:it|test|describe)\.(?:only|skip|todo|failing)\b|\b(?:fit|fdescribe|xit|xdescribe|xtest)\s*\(/, blankCommentsAndStrings)).toEqual([]);
  });

  it('has no path of somebody\'s home directory', () => {
    expect(found(texts, /(?:^|[\s'"`(=:])(?:\/home\/[a-z]|\/Users\/[A-Za-z]|\/root\/|[A-Z]:\\Users\\)/)).toEqual([]);
  });

  it(`has no file above ${LINES_MAX} lines or ${FILE_BYTES_MAX} bytes`, () => {
    expect(sources.filter((file) => read(file).split('\n').length > LINES_MAX)).toEqual([]);
    expect(files.filter((file) => statSync(join(root, file)).size > FILE_BYTES_MAX)).toEqual([]);
  });

  it('names source files in kebab-case', () => {
    expect(sources.filter((file) => !/^[a-z0-9]+(?:[-_][a-z0-9]+)*(?:\.config|(?:\.(?:property|process))?\.spec)?\.(?:ts|mjs|proto)$/.test(basename(file)))).toEqual([]);
  });

  it('has an explicit index in each library, and a main in each app', () => {
    const projects = manifests.map((file) => dirname(file));
    const libraries = projects.filter((dir) => dir.startsWith('libs/') && dir !== 'libs/contracts');
    expect(libraries.filter((dir) => !existsSync(join(root, dir, 'src/index.ts')))).toEqual([]);
    expect(projects.filter((dir) => dir.startsWith('apps/') && !existsSync(join(root, dir, 'src/main.ts')))).toEqual([]);
    expect(found(files.filter((file) => file.endsWith('/src/index.ts')), /^export \* /)).toEqual([]);
  });

  it('keeps npm dependencies in the top package.json', () => {
    const foreign = manifests.flatMap((file) => {
      const { dependencies = {}, devDependencies = {} } = JSON.parse(read(file)) as Record<string, Record<string, string> | undefined>;
      return Object.keys({ ...dependencies, ...devDependencies }).filter((name) => !name.startsWith('@atoll/')).map((name) => `${file}: ${name}`);
    });
    expect(foreign).toEqual([]);
  });

  it('has a typecheck, a lint and a test target in each project', () => {
    const missing = manifests.filter((file) => {
      const { nx } = JSON.parse(read(file)) as { nx?: { targets?: Record<string, unknown> } };
      return !['typecheck', 'lint', 'test'].every((target) => nx?.targets !== undefined && target in nx.targets);
    });
    expect(missing).toEqual([]);
  });
});
