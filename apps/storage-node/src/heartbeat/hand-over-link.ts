import { parseTraceparent, type Span } from '@atoll/platform-telemetry';
import type { HostedReplica } from '../hosted-replica.ts';

/**
 * A request that waited for a planned transfer, or was refused because of one, links to the trace of the transfer (R29):
 * while that is under way, and for a while after it.
 */
export function linkHandOver(span: Span, { handOver, replica, keyspace, partition }: Pick<HostedReplica, 'handOver' | 'replica' | 'keyspace' | 'partition'>, nowMs: number): void {
  if (handOver === undefined || nowMs > handOver.untilMs) return;
  // In a later office of this replica it is a thing of the past.
  if (replica.leader !== undefined && replica.leader.epoch !== handOver.epoch) return;
  link(span, 'hand_over', handOver, { keyspace, partition });
}

/** A request that is refused since the partition stands still for a cut-over links to the trace of that (R37). */
export function linkCutOver(span: Span, { cutOver, replica, keyspace, partition }: Pick<HostedReplica, 'cutOver' | 'replica' | 'keyspace' | 'partition'>): void {
  if (cutOver === undefined || replica.leader?.record.record.frozen !== cutOver.id) return;
  link(span, 'cut_over', cutOver, { keyspace, partition });
}

function link(span: Span, met: 'hand_over' | 'cut_over', { traceparent }: { readonly traceparent: string }, { keyspace, partition }: Pick<HostedReplica, 'keyspace' | 'partition'>): void {
  const context = parseTraceparent(traceparent);
  if (context === undefined) return;
  span.setAttributes({ 'atoll.keyspace': keyspace, 'atoll.partition': partition });
  span.addLink({ context, attributes: { 'atoll.link': met } });
}
