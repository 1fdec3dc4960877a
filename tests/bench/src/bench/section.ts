import type { MainTask } from '../clean-up.ts';
import type { DevCluster } from '../cluster/dev-cluster.ts';
import type { Check } from './contest.ts';

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
