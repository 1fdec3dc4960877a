import type { KeyspaceSpec } from '@atoll/core-membership';

/** What a restore makes the keyspace with. */
export function settingsOf({ copyOf: _copyOf, cutOver: _cutOver, freeze: _freeze, movedTo: _movedTo, aliases: _aliases, ...settings }: KeyspaceSpec): Readonly<Record<string, unknown>> {
  return settings;
}
