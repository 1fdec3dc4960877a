import { KIB } from '@atoll/core-runtime';
import { DevCluster } from '../../cluster/dev-cluster.ts';
import type { Check } from '../contest.ts';
import { fill, type BenchContext, type Section } from '../section.ts';
import { installedBytes, untilInSync } from '../sync/replicas.ts';
import { returningReplicas } from '../sync/returning.ts';
import { GeneratorProcess } from '../workers/generator-process.ts';

/** One size of entries that a node is filled with. */
interface Shape {
  readonly name: string;
  readonly valueBytes: number;
  readonly entries: { readonly full: number; readonly quick: number };
  readonly check: (sync: FullSync) => Check;
}

interface FullSync {
  readonly entries: number;
  readonly bytes: number;
  /** From the first chunk to the last. */
  readonly transferMs: number;
  /** From the start of the process until every partition is in sync. */
  readonly totalMs: number;
}

const MEGABYTE = 1e6;
const RATE_BYTES_MIN = 100 * MEGABYTE;
const RATE_ENTRIES_MIN = 150_000;
const SHAPES: readonly Shape[] = [
  {
    name: 'values of 16 KiB',
    valueBytes: 16 * KIB,
    entries: { full: 20_000, quick: 4000 },
    check: ({ bytes, transferMs }) => {
      const rate = (bytes / transferMs) * 1000;
      return { name: 'full sync, values of 16 KiB, no limit', value: rate, text: `${(rate / MEGABYTE).toFixed(0)} MB/s`, target: `>= ${RATE_BYTES_MIN / MEGABYTE} MB/s`, passed: rate >= RATE_BYTES_MIN };
    },
  },
  {
    name: 'values of 100 bytes',
    valueBytes: 100,
    entries: { full: 1_000_000, quick: 100_000 },
    check: ({ entries, transferMs }) => {
      const rate = (entries / transferMs) * 1000;
      return { name: 'full sync, values of 100 bytes, no limit', value: rate, text: `${Math.round(rate)} entries/s`, target: `>= ${RATE_ENTRIES_MIN} entries/s`, passed: rate >= RATE_ENTRIES_MIN };
    },
  },
];
const UNLIMITED = { STORAGE_NODE_SYNC_BYTES_PER_SECOND: '0', STORAGE_NODE_SYNCS_MAX: '64', COORDINATOR_LEARNERS_PER_NODE_MAX: '64' };

const P99_FACTOR_MAX = 3;
const LOAD = { outstanding: 16, valueBytes: 100 } as const;
const LOAD_MS = { full: 15_000, quick: 4000 } as const;
const WATCH_MS = 180_000;
const SAMPLE_MS = 20;

/** Replicas that return: from the log where they can, else by a full sync. */
export const syncSection: Section = async (context) => {
  const checks: Check[] = [];
  const details: Record<string, unknown> = {};
  for (const shape of SHAPES) {
    const sync = await fullSync(context, shape);
    details[shape.name] = sync;
    checks.push(shape.check(sync));
  }
  const returning = await returningReplicas(context);
  details['returning'] = returning.details;
  checks.push(...returning.checks);
  const felt = await throttled(context);
  details['throttled'] = felt;
  const factor = felt.during.p99Ms / felt.before.p99Ms;
  checks.push({ name: 'p99 of sets while a node is filled at the default rate, to that without', value: factor, text: `${factor.toFixed(2)} x`, target: `<= ${P99_FACTOR_MAX} x`, passed: factor <= P99_FACTOR_MAX });
  return { checks, details };
};

/** A node that lost everything is killed and started again, and filled without a limit. */
async function fullSync({ isQuick, print, cleanUp, signal }: BenchContext, { name, valueBytes, entries }: Shape): Promise<FullSync> {
  const count = entries[isQuick ? 'quick' : 'full'];
  const cluster = await DevCluster.start({ nodes: 2, memory: '2GiB', env: UNLIMITED, signal });
  cleanUp.add(() => cluster.stop());
  const writer = await GeneratorProcess.start({ kind: 'atoll', router: cluster.router });
  cleanUp.add(() => writer.stop());
  await untilInSync(cluster, signal);
  await fill(writer, { keys: count, valueBytes });
  const { id, address } = cluster.nodes[1]!;
  await cluster.killProcess(id);
  const startMs = performance.now();
  const [transfer] = await Promise.all([watchTransfer(cluster, address, signal), cluster.startProcess(id)]);
  const sync = { entries: count, bytes: transfer.bytes, transferMs: transfer.endMs - transfer.beginMs, totalMs: transfer.inSyncMs - startMs };
  print(
    `${name}: ${count} entries, ${(sync.bytes / MEGABYTE).toFixed(0)} MB in ${(sync.transferMs / 1000).toFixed(2)} s, ` +
      `${((sync.bytes / sync.transferMs / MEGABYTE) * 1000).toFixed(0)} MB/s, ${Math.round((count / sync.transferMs) * 1000)} entries/s; in sync ${(sync.totalMs / 1000).toFixed(1)} s after its start`,
  );
  await writer.stop();
  await cluster.stop();
  return sync;
}

/** What full syncs bring to a node, from its start until every partition is in sync. */
async function watchTransfer(cluster: DevCluster, address: string, signal: AbortSignal) {
  let beginMs = Number.NaN;
  let endMs = Number.NaN;
  let bytes = 0;
  let inSyncMs = Number.NaN;
  let sampledMs = performance.now();
  const watching = (async () => {
    await untilInSync(cluster, signal, { away: true });
    inSyncMs = performance.now();
  })();
  while (Number.isNaN(inSyncMs)) {
    signal.throwIfAborted();
    const now = await installedBytes(address).catch(() => 0);
    const nowMs = performance.now();
    if (now > 0 && Number.isNaN(beginMs)) beginMs = sampledMs;
    if (now > bytes) {
      bytes = now;
      endMs = nowMs;
    }
    sampledMs = nowMs;
    await Promise.race([watching, new Promise((resolve) => setTimeout(resolve, SAMPLE_MS))]);
  }
  await watching;
  return { beginMs, endMs, bytes, inSyncMs };
}

/** A third node joins and is filled at the default rate while clients write. */
async function throttled({ isQuick, print, cleanUp, signal }: BenchContext) {
  const keys = isQuick ? 20_000 : 100_000;
  const cluster = await DevCluster.start({ nodes: 2, memory: '2GiB', signal });
  cleanUp.add(() => cluster.stop());
  const writer = await GeneratorProcess.start({ kind: 'atoll', router: cluster.router });
  cleanUp.add(() => writer.stop());
  await untilInSync(cluster, signal);
  await fill(writer, { keys: keys / 10, valueBytes: 16 * KIB });
  const before = await writer.run({ operation: 'set', keys, ...LOAD, durationMs: LOAD_MS[isQuick ? 'quick' : 'full'] });
  const loading = writer.run({ operation: 'set', keys, ...LOAD, durationMs: WATCH_MS });
  await cluster.addNode();
  await untilInSync(cluster, signal);
  writer.finishRound();
  const during = await loading;
  print(`sets at the default rate of full syncs: p99 ${before.p99Ms.toFixed(1)} ms before, ${during.p99Ms.toFixed(1)} ms while a node was filled (${Math.round(during.operationsPerSecond)}/s of ${Math.round(before.operationsPerSecond)}/s)`);
  await writer.stop();
  await cluster.stop();
  return { before, during };
}
