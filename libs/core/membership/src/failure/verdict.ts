/**
 * UP:      its process answers the coordinator.
 * SUSPECT: it does not, and nothing proves that it is dead: it may be serving. Fells nobody.
 * DOWN:    the process of its registration, or of the last one, is dead or cut off from everybody. Its offices go to others.
 * LEFT:    it stopped, or stops, on purpose.
 */
export type NodeVerdictState = 'UP' | 'SUSPECT' | 'DOWN' | 'LEFT';

export const NODE_VERDICT_STATES: readonly NodeVerdictState[] = ['UP', 'SUSPECT', 'DOWN', 'LEFT'];

/** What the coordinator holds of one node (R11, R30). */
export interface NodeVerdict {
  readonly state: NodeVerdictState;
  /** For people: a sentence without a full stop. */
  readonly reason: string;
  /** When the state began, in ms of the coordinator's monotonic clock. */
  readonly sinceMs: number;
  /** Why the node serves badly although it is up, for people; empty for a healthy one. */
  readonly degraded: readonly string[];
  /** True when the node answers, and etcd has not answered it for too long (R30): it can change no record. */
  readonly isEtcdLost: boolean;
}
