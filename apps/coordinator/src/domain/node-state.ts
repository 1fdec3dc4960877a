import type { NodeRecord, NodeSpec } from '@atoll/core-membership';

export type NodeState = 'UP' | 'SUSPECT' | 'LEFT';
export const NODE_STATES: readonly NodeState[] = ['UP', 'SUSPECT', 'LEFT'];

export interface NodeVerdict {
  readonly state: NodeState;
  /** For people. */
  readonly reason: string;
}

/** What is said of a node. A lapsed registration alone is no proof of anything (R11). */
export function judgeNode(record: NodeRecord | undefined, spec: NodeSpec | undefined, awayMs: number | undefined): NodeVerdict {
  if (record?.phase === 'SERVING') return { state: 'UP', reason: 'registered' };
  if (record !== undefined) return { state: 'LEFT', reason: 'it is stopping on purpose' };
  if (spec?.stopped === true) return { state: 'LEFT', reason: 'it stopped on purpose' };
  const since = awayMs === undefined ? '' : ` ${Math.round(awayMs / 1000)} s ago or before`;
  return { state: 'SUSPECT', reason: `its registration lapsed${since}; it may still be serving` };
}
