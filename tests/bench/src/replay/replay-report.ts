import type { NodeHoldings } from '../cluster/node-holdings.ts';
import type { ReplicaComparison } from '../cluster/compare-replicas.ts';
import type { Latencies } from '../latencies.ts';
import { bytesText, msText, tableText } from '../output/text.ts';
import type { ReadBack } from './read-back.ts';
import type { ReplayResult } from './replayer.ts';

export function replayText(result: ReplayResult, holdings: readonly NodeHoldings[]): string {
  const { gets, hits, sets, requests, elapsedMs, bytesRead, bytesWritten, wrongReads, missingReads } = result;
  const seconds = elapsedMs / 1000;
  const latencyRow = (name: string, latencies: Latencies): string[] => {
    const { p50, p90, p99, p999, max } = latencies.summary();
    return [name, String(latencies.count), ...[p50, p90, p99, p999, max].map(msText)];
  };
  const perSecond = (count: number): string => String(Math.round(count / seconds));
  return [
    `hit ratio     ${gets === 0 ? '-' : `${((100 * hits) / gets).toFixed(2)} %`} (${hits} of ${gets} gets)`,
    `throughput    ${perSecond(gets + sets)} operations/s (${requests} requests as ${gets} gets and ${sets} sets in ${seconds.toFixed(1)} s)`,
    `bytes         read ${bytesText(bytesRead)}, written ${bytesText(bytesWritten)}; ${bytesText((bytesRead + bytesWritten) / seconds)}/s`,
    '',
    tableText(['latency', 'count', 'p50', 'p90', 'p99', 'p99.9', 'max'], [latencyRow('get', result.getLatencies), latencyRow('set', result.setLatencies)]),
    '',
    tableText(
      ['node', 'replicas', 'leaders', 'entries', 'bytes'],
      holdings.map(({ node, replicas, leaders, entries, bytes }) => [node, replicas, leaders, entries, bytesText(bytes)]),
    ),
    '',
    `errors        ${countsText(result.errors)}`,
    ...(wrongReads.length > 0 ? [`wrong reads   ${wrongReads.length} gets answered another value than the last one written: ${sample(wrongReads)}`] : []),
    ...(missingReads > 0 ? [`missing reads ${missingReads} gets found nothing under a key that was written`] : []),
  ].join('\n');
}

export function verificationText(read: ReadBack, replicas: ReplicaComparison): string {
  return [
    `read back     ${read.correct} keys hold what was written last, ${read.wrong.length} wrong, ${read.missing.length} missing, errors: ${countsText(read.errors)}`,
    ...(read.wrong.length > 0 ? [`              wrong: ${sample(read.wrong)}`] : []),
    ...(read.missing.length > 0 ? [`              missing (lost, or evicted for want of memory): ${sample(read.missing)}`] : []),
    `replicas      ${replicas.partitions} partitions, ${replicas.replicas} in-sync replicas (at least ${replicas.replicasFewest} each), ${replicas.entries} entries; ` +
      (replicas.problems.length === 0 ? 'the replicas of each hold the same' : `${replicas.problems.length} differ`),
    ...replicas.problems.slice(0, 10).map((problem) => `              ${problem}`),
  ].join('\n');
}

/** True when every key holds what it must and every partition's replicas are equal. */
export function isVerified(result: ReplayResult, read: ReadBack, replicas: ReplicaComparison): boolean {
  return result.wrongReads.length + result.missingReads + read.wrong.length + read.missing.length + read.errors.size + replicas.problems.length === 0;
}

const countsText = (counts: ReadonlyMap<string, number>): string => (counts.size === 0 ? 'none' : [...counts].map(([reason, count]) => `${reason} ${count}`).join(', '));

const sample = (keys: readonly string[]): string => `${keys.slice(0, 5).join(', ')}${keys.length > 5 ? ', ...' : ''}`;
