import type { NodeRecord, NodeSpec, NodeVerdict } from '@atoll/core-membership';

/** What is shown of a node. */
export interface NodeHealth extends Pick<NodeVerdict, 'state' | 'reason' | 'degraded' | 'isEtcdLost'> {
  /** How long it has been in this state, in ms; 0 when nobody knows. */
  readonly stateMs: number;
}

/** The verdict of the elected coordinator, else what registrations say: a lapsed one alone is no proof of anything (R11). */
export function describeNode(verdict: NodeVerdict | undefined, { record, spec, nowMs }: { readonly record: NodeRecord | undefined; readonly spec: NodeSpec | undefined; readonly nowMs: number }): NodeHealth {
  if (verdict !== undefined) {
    const { state, reason, degraded, isEtcdLost, sinceMs } = verdict;
    return { state, reason, degraded, isEtcdLost, stateMs: Math.max(0, Math.round(nowMs - sinceMs)) };
  }
  const unjudged = { degraded: [], isEtcdLost: false, stateMs: 0 };
  if (record?.phase === 'SERVING') return { state: 'UP', reason: 'registered', ...unjudged };
  if (record !== undefined) return { state: 'LEFT', reason: 'it is stopping on purpose', ...unjudged };
  if (spec?.stopped === true) return { state: 'LEFT', reason: 'it stopped on purpose', ...unjudged };
  return { state: 'SUSPECT', reason: 'its registration lapsed; it may still be serving', ...unjudged };
}
