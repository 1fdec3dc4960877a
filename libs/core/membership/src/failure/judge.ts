// Whether a process is dead, alive or cut off, out of what is known of it. Leases keep two leaders apart whatever is
// said here (R14); a wrong DOWN costs a pause, a missing one costs the partition's service.
import type { Evidence } from './evidence.ts';

export interface JudgeOptions {
  /** Silence after which a node is suspected and other nodes are asked, in ms. */
  readonly suspectAfterMs: number;
  /** Silence toward everybody after which it is down, in ms; above suspectAfterMs. */
  readonly downAfterMs: number;
}

export interface Circumstances {
  /** Own time of the detector. */
  readonly nowMs: number;
  /** Other nodes that the coordinator hears at this moment. */
  readonly witnesses: readonly string[];
  /** True when other nodes may be alive, whether or not they are heard. */
  readonly hasOthers: boolean;
  /** The node said that it stops: refused connections are then no news. */
  readonly isStopping: boolean;
}

export interface Judgement {
  readonly state: 'UP' | 'SUSPECT' | 'DOWN';
  readonly reason: string;
}

/** Parties to which connections are refused, the coordinator among them, that prove a dead process (R30). */
const REFUSALS = 2;
/** Witnesses of silence that are enough, where there are as many. */
const SILENT_WITNESSES = 2;

/**
 *  coordinator | other nodes                          | verdict
 *  hears it    |                                      | UP
 *  refused     | one is refused too, none heard it    | DOWN at once: a dead process (R30)
 *              | since                                |
 *  silence     | two are refused, none heard it since | DOWN at once
 *  refused     | there are none                       | DOWN at once
 *  any         | none hears it, two (or all) say so,  | DOWN after downAfterMs
 *              | for downAfterMs                      |
 *  any         | one hears it                         | SUSPECT: the coordinator is cut off from it
 *  any         | none is heard                        | SUSPECT: the coordinator may be the one that is cut off
 */
export function judgeEvidence(evidence: Evidence, { nowMs, witnesses, hasOthers, isStopping }: Circumstances, options: JudgeOptions): Judgement {
  const { suspectAfterMs, downAfterMs } = options;
  const isRefused = evidence.refusedMs !== undefined;
  if (!isRefused && nowMs - evidence.lastMs <= suspectAfterMs) {
    return { state: 'UP', reason: evidence.heardMs === undefined ? 'registered; its first report is awaited' : 'it answers' };
  }
  const own = isRefused ? 'it refuses connections' : 'it does not answer';
  if (!hasOthers && isRefused && !isStopping) return { state: 'DOWN', reason: `${own}, and there is no other node to ask` };
  if (witnesses.length === 0) return { state: 'SUSPECT', reason: `${own}; this coordinator hears no other node, so it may be cut off itself (R30)` };

  const recent = witnesses.filter((peer) => evidence.isHeardBy(peer, nowMs - downAfterMs));
  const refusedTo = witnesses.filter((peer) => evidence.isRefusedTo(peer));
  const isContradicted = recent.some((peer) => !refusedTo.includes(peer) && evidence.isHeardBy(peer, evidence.refusedMs ?? evidence.lastMs));
  if (!isStopping && !isContradicted && refusedTo.length + (isRefused ? 1 : 0) >= REFUSALS) {
    return { state: 'DOWN', reason: `its process is dead: connections are refused to ${[...(isRefused ? ['this coordinator'] : []), ...refusedTo].join(', ')}` };
  }
  const silentTo = witnesses.filter((peer) => evidence.isSilentTo(peer, nowMs - (downAfterMs - suspectAfterMs)));
  if (nowMs - evidence.lastMs > downAfterMs && recent.length === 0 && silentTo.length >= Math.min(SILENT_WITNESSES, witnesses.length)) {
    return { state: 'DOWN', reason: `${own}; neither this coordinator nor ${silentTo.join(', ')} heard of it for ${downAfterMs} ms` };
  }
  if (recent.length > 0) return { state: 'SUSPECT', reason: `${own} to this coordinator; ${recent.join(', ')} heard it` };
  return { state: 'SUSPECT', reason: `${own}; other nodes are asked` };
}
