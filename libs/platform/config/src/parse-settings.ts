import { didYouMean } from './did-you-mean.ts';
import type { Setting } from './setting.ts';
import { ConfigError } from './startup-error.ts';

/** The environment as a plain record; main.ts passes `process.env`. */
export type Env = Readonly<Record<string, string | undefined>>;

/** Settings by variable name. Apps spread the common ones into their own. */
export type Settings = Readonly<Record<string, Setting<unknown>>>;

export type SettingValues<S extends Settings> = {
  readonly [Name in keyof S]: S[Name] extends Setting<infer T> ? T : never;
};

/** A rule over several settings; it is asked only when each of them is well formed by itself. */
export interface Relation<S extends Settings> {
  readonly settings: readonly (keyof S & string)[];
  /** What is wrong, naming the settings; undefined when all is well. */
  readonly problem: (values: SettingValues<S>) => string | undefined;
}

export interface ParseOptions<S extends Settings> {
  /** Unknown variables that start with one of these are errors: they are probably misspelt. */
  readonly prefixes: readonly string[];
  readonly relations?: readonly Relation<S>[];
}

/** Variables that share our prefixes and are read by others: the `atoll dev` command. */
const FOREIGN_NAMES: ReadonlySet<string> = new Set(['ATOLL_ETCD_BIN']);

/**
 * Kubernetes puts variables for each Service into each container (`ROUTER_SERVICE_HOST`,
 * `ROUTER_PORT=tcp://...`); a Service called "router" must not stop the router.
 * https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
 */
function isServiceLink(name: string, value: string): boolean {
  return /_SERVICE_(HOST|PORT)(_[A-Z0-9_]+)?$/.test(name) || /_PORT_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?$/.test(name) || /^(tcp|udp|sctp):\/\//.test(value);
}

/**
 * Reads every setting in one pass. Blank counts as unset. Throws one ConfigError that lists every problem:
 * malformed and missing values, broken relations, unknown variables with our prefixes.
 */
export function parseSettings<S extends Settings>(settings: S, env: Env, options: ParseOptions<S>): SettingValues<S> {
  const problems: string[] = [];
  const values: Record<string, unknown> = {};
  const broken = new Set<string>();
  for (const [name, setting] of Object.entries(settings)) {
    const given = env[name]?.trim() || undefined;
    const raw = given ?? setting.default;
    if (raw === undefined) {
      if (setting.required) {
        broken.add(name);
        problems.push(`${name} is required: ${setting.range} (${setting.description})`);
      }
      continue;
    }
    const parsed = setting.schema.safeParse(raw);
    if (parsed.success) {
      values[name] = parsed.data;
      continue;
    }
    broken.add(name);
    const shown = setting.secret ? '' : `, got "${raw}"`;
    for (const issue of parsed.error.issues) problems.push(`${name} ${issue.message}${shown}`);
  }
  for (const { settings: names, problem } of options.relations ?? []) {
    const found = names.some((name) => broken.has(name)) ? undefined : problem(values as SettingValues<S>);
    if (found !== undefined) problems.push(found);
  }
  problems.push(...unknownVariables(settings, env, options.prefixes));
  if (problems.length > 0) throw new ConfigError(problems);
  return Object.freeze(values) as SettingValues<S>;
}

function unknownVariables(settings: Settings, env: Env, prefixes: readonly string[]): string[] {
  const problems: string[] = [];
  for (const [name, value] of Object.entries(env)) {
    if (value === undefined || name in settings || !prefixes.some((prefix) => name.startsWith(prefix))) continue;
    if (FOREIGN_NAMES.has(name) || isServiceLink(name, value)) continue;
    const meant = didYouMean(name, Object.keys(settings));
    problems.push(`${name} is not a setting${meant === undefined ? '' : `; did you mean ${meant}?`}`);
  }
  return problems;
}
