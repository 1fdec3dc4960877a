import type { MainTask } from '../clean-up.ts';
import type { DevCluster } from '../cluster/dev-cluster.ts';
import type { Check } from './contest.ts';
import type { GeneratorProcess } from './workers/generator-process.ts';

/** What sections share. */
export interface BenchContext extends MainTask {
  readonly isQuick: boolean;
  readonly print: (line: string) => void;
  /** Three nodes, started when first asked for, for all sections that leave it as it was. */
  readonly sharedCluster: () => Promise<DevCluster>;
}

export interface SectionResult {
  readonly checks: readonly Check[];
  /** Rounds and figures, for `--json`. */
  readonly details: unknown;
  /** Why it did not run. */
  readonly skipped?: string;
}

export type Section = (context: BenchContext) => Promise<SectionResult>;

/** What an operation passes through: router and storage nodes. */
export const serverPids = (cluster: DevCluster): readonly number[] => [cluster.routerProcess, ...cluster.nodes].map(({ pid }) => pid);

/** Writes keys 0 to `keys` - 1 once each. Rejects when one of them fails: what follows would measure failures. */
export async function fill(generator: GeneratorProcess, { keys, valueBytes }: { readonly keys: number; readonly valueBytes: number }, connection = 0): Promise<void> {
  const { errors } = await generator.run({ operation: 'set', outstanding: 512, keys, valueBytes, each: true }, connection);
  const reasons = Object.entries(errors).map(([reason, count]) => `${reason} ${count}`);
  if (reasons.length > 0) throw new Error(`sets failed before the rounds began: ${reasons.join(', ')}`);
}
