import type { KeyspaceSpec } from '@atoll/core-membership';

export interface Places {
  /** Whose place is taken. */
  readonly source: KeyspaceSpec;
  readonly target: KeyspaceSpec;
}

/**
 * Both keyspaces once clients mean `target` by the names by which they meant `source`: its own, and its aliases. Where one of these
 * is the target's own name, it comes home: clients have known it by that and by no other, and the source keeps its own name to
 * itself.
 */
export function takePlace({ source, target }: Places): Places {
  const { aliases: names = [], standby: _standby, ...retired } = source;
  const isHome = names.includes(target.name);
  const aliases = isHome ? names.filter((name) => name !== target.name) : [source.name, ...names];
  return { source: { ...retired, movedTo: target.name }, target: { ...target, aliases: aliases.length > 0 ? aliases : undefined } };
}
