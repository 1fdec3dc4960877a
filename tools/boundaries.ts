// The module boundaries, from the `nx.tags` of each package.json. It also keeps nx's graph honest: nx reads
// package.json, so an import that is not declared there is a problem here.
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { isBuiltin } from 'node:module';
import { blankCommentsAndStrings } from './source-text.ts';

export interface BoundaryProblem {
  /** Path from the workspace's top. */
  readonly file: string;
  readonly line: number;
  readonly message: string;
}

/** What a project with a tag may import of ours, and what else it must not touch. */
interface LayerRule {
  readonly may: readonly string[];
  readonly never?: readonly RegExp[];
  readonly neverUse?: readonly (readonly [RegExp, string])[];
}

const LAYERS: Readonly<Record<string, LayerRule>> = {
  'layer:core': {
    may: ['layer:core'],
    never: [/^@grpc\//, /^etcd3$/, /^@opentelemetry\//, /^pino$/],
    neverUse: [
      [/(?<![.\w$])(?:setTimeout|setInterval|setImmediate)\b/, 'timers'],
      [/(?<![.\w$])process\s*\./, 'process'],
      [/(?<![.\w$])Date\.now\b|(?<![.\w$])new Date\(\s*\)/, 'the clock'],
      [/(?<![.\w$])performance\s*\./, 'the clock'],
      [/(?<![.\w$])Math\.random\b|(?<![.\w$])crypto\s*\./, 'randomness'],
      [/(?<![.\w$])globalThis\b/, 'globalThis'],
    ],
  },
  'layer:contracts': { may: [] },
  'layer:platform': { may: ['layer:core', 'layer:contracts', 'layer:platform'] },
  'layer:client': { may: ['layer:core', 'layer:contracts', 'layer:platform'] },
  'layer:app': { may: ['layer:core', 'layer:contracts', 'layer:platform', 'layer:client'] },
  'layer:testing': { may: ['layer:core', 'layer:contracts', 'layer:platform', 'layer:client', 'layer:testing'] },
};

/** The one app that stands where users stand. */
const CLIENT_APP = '@atoll/cli';

interface Project {
  readonly name: string;
  readonly root: string;
  readonly tags: readonly string[];
  readonly declared: ReadonlySet<string>;
  readonly exports: readonly string[];
}

interface Workspace {
  readonly root: string;
  readonly projects: ReadonlyMap<string, Project>;
  readonly scopes: ReadonlySet<string>;
  readonly dependencies: ReadonlySet<string>;
  readonly devDependencies: ReadonlySet<string>;
}

const IMPORTS =
  /\b(?:import|export)\b[^'"`;()]*\bfrom\s*['"]([^'"]+)['"]|\bimport(?:\.meta\.resolve)?\s*\(\s*['"]([^'"]+)['"]|^\s*import\s*['"]([^'"]+)['"]/gm;

/** A variable or parameter of the file's own that is called `process`. */
const OWN_PROCESS = /\b(?:const|let)\s+process\b|[(,]\s*process\s*[,:)]/;

const isSpec = (file: string): boolean => file.endsWith('.spec.ts');

/** Problems of the named projects (paths from `root`), of all of them when none is named. */
export function checkBoundaries(root: string, wanted: readonly string[] = []): BoundaryProblem[] {
  const workspace = readWorkspace(root);
  const problems: BoundaryProblem[] = [];
  for (const project of workspace.projects.values()) {
    if (wanted.length > 0 && !wanted.includes(project.root)) continue;
    const layer = project.tags.find((tag) => tag in LAYERS);
    if (layer === undefined) {
      problems.push({ file: join(project.root, 'package.json'), line: 1, message: `needs one of the tags ${Object.keys(LAYERS).join(', ')}` });
      continue;
    }
    for (const file of sourceFiles(root, project)) problems.push(...checkFile(workspace, project, LAYERS[layer] as LayerRule, file));
  }
  return problems;
}

function readWorkspace(root: string): Workspace {
  const top = readManifest(join(root, 'package.json'));
  const projects = new Map<string, Project>();
  for (const file of globSync((top.workspaces ?? []).map((pattern) => `${pattern}/package.json`), { cwd: root })) {
    const { name, nx, dependencies = {}, devDependencies = {}, exports = {} } = readManifest(join(root, file));
    projects.set(name, {
      name,
      root: dirname(file),
      tags: nx?.tags ?? [],
      declared: new Set([...Object.keys(dependencies), ...Object.keys(devDependencies)]),
      exports: Object.keys(exports),
    });
  }
  return {
    root,
    projects,
    scopes: new Set([...projects.keys()].map((name) => name.split('/')[0] ?? name)),
    dependencies: new Set(Object.keys(top.dependencies ?? {})),
    devDependencies: new Set(Object.keys(top.devDependencies ?? {})),
  };
}

interface Manifest {
  readonly name: string;
  readonly workspaces?: readonly string[];
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
  readonly exports?: Readonly<Record<string, unknown>>;
  readonly nx?: { readonly tags?: readonly string[] };
}

const readManifest = (path: string): Manifest => JSON.parse(readFileSync(path, 'utf8')) as Manifest;

function sourceFiles(root: string, project: Project): string[] {
  return globSync(`${project.root}/**/*.{ts,mts,mjs,js}`, { cwd: root, exclude: ['**/node_modules/**', '**/gen/**', '**/dist/**'] }).sort();
}

function checkFile(workspace: Workspace, project: Project, rule: LayerRule, file: string): BoundaryProblem[] {
  const problems: BoundaryProblem[] = [];
  const source = readFileSync(join(workspace.root, file), 'utf8');
  const code = blankCommentsAndStrings(source);
  const complain = (index: number, message: string): void => {
    problems.push({ file, line: source.slice(0, index).split('\n').length, message });
  };
  for (const match of source.matchAll(IMPORTS)) {
    // An import in a comment or a text imports nothing: its keyword has been blanked out.
    if (code[match.index + match[0].search(/\S/)] === ' ') continue;
    const specifier = match[1] ?? match[2] ?? match[3] ?? '';
    for (const why of checkImport(workspace, project, rule, file, specifier)) complain(match.index, `${specifier}: ${why}`);
  }
  if (isSpec(file)) return problems;
  for (const [pattern, what] of rule.neverUse ?? []) {
    if (what === 'process' && OWN_PROCESS.test(code)) continue;
    for (const match of code.matchAll(new RegExp(pattern, 'g'))) complain(match.index, `${match[0].trim()}: ${layerOf(project)} must not use ${what}`);
  }
  return problems;
}

function* checkImport(workspace: Workspace, project: Project, rule: LayerRule, file: string, specifier: string): Generator<string> {
  if (specifier.startsWith('.')) {
    if (relative(project.root, join(relative('.', dirname(file)), specifier)).startsWith('..')) yield 'a relative import must stay inside its project';
    return;
  }
  if (isBuiltin(specifier)) {
    if (layerOf(project) === 'layer:core' && !isSpec(file)) yield 'layer:core must not import from Node';
    return;
  }
  const name = packageOf(specifier);
  if (!workspace.scopes.has(name.split('/')[0] ?? '')) {
    yield* checkPackage(workspace, project, rule, file, name);
    return;
  }
  const target = workspace.projects.get(name);
  if (target === undefined) {
    yield 'there is no such project';
    return;
  }
  if (!isExported(target, specifier)) yield `${target.root}/package.json does not export it`;
  if (target === project) return;
  if (!project.declared.has(target.name)) yield `declare ${target.name} in ${project.root}/package.json`;
  const targetLayer = layerOf(target);
  if (targetLayer === 'layer:app') yield 'nothing may import an app';
  else if (!rule.may.includes(targetLayer)) yield `${layerOf(project)} may import only ${rule.may.join(', ') || 'nothing of ours'}`;
  else if (targetLayer === 'layer:client' && layerOf(project) === 'layer:app' && project.name !== CLIENT_APP) yield `of the apps only ${CLIENT_APP} may import the client`;
}

function* checkPackage(workspace: Workspace, project: Project, rule: LayerRule, file: string, name: string): Generator<string> {
  if (rule.never?.some((pattern) => pattern.test(name)) && !isSpec(file)) yield `${layerOf(project)} must not import it`;
  if (workspace.dependencies.has(name)) return;
  const forTests = isSpec(file) || layerOf(project) === 'layer:testing';
  if (forTests && (workspace.devDependencies.has(name) || name === '@jest/globals')) return;
  yield 'declare it in the dependencies of the top package.json';
}

const layerOf = (project: Project): string => project.tags.find((tag) => tag in LAYERS) ?? 'no layer';

const packageOf = (specifier: string): string =>
  specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');

function isExported(target: Project, specifier: string): boolean {
  const subpath = `.${specifier.slice(target.name.length)}`;
  return target.exports.some((pattern) => {
    const [before = '', after] = pattern.split('*');
    return after === undefined ? pattern === subpath : subpath.startsWith(before) && subpath.endsWith(after);
  });
}

/** For the command: absolute or with a slash at the end, people write both. */
export function toProjectRoot(root: string, path: string): string {
  return relative(root, resolve(root, path));
}
