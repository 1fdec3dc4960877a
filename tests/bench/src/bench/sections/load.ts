import { GIB } from '@atoll/core-runtime';
import { DevCluster, type DevProcess } from '../../cluster/dev-cluster.ts';
import { readMetric } from '../../cluster/metrics-scrape.ts';
import { readHoldings } from '../../cluster/node-holdings.ts';
import { readTopology, watchTopology, type Topology } from '../../cluster/topology.ts';
import { bytesText, tableText } from '../../output/text.ts';
import type { Check } from '../contest.ts';
import type { BenchContext, Section } from '../section.ts';
import { GeneratorProcess } from '../workers/generator-process.ts';
import type { Round, RoundResult } from '../workers/generator-protocol.ts';

const ENTRIES = { full: 1_000_000, quick: 100_000 } as const;
const VALUE_BYTES = 100;
const REPLICATION_FACTOR = 2;
const HEAP_MAX_BYTES = 1.2 * GIB;
const JOIN_MAX_MS = 60_000;
/** How long a join is watched at most. */
const JOIN_WATCH_MS = 180_000;
const HEAP_SAMPLE_MS = 1000;

/** A million entries on three nodes, and a fourth node that joins while they are read. */
export const loadSection: Section = async (context) => {
  const { isQuick, print, cleanUp, signal } = context;
  const entries = isQuick ? ENTRIES.quick : ENTRIES.full;
  const cluster = await DevCluster.start({ nodes: 3, signal });
  cleanUp.add(() => cluster.stop());
  const writer = await GeneratorProcess.start({ kind: 'atoll', router: cluster.router });
  cleanUp.add(() => writer.stop());
  const reader = await GeneratorProcess.start({ kind: 'atoll', router: cluster.router });
  cleanUp.add(() => reader.stop());

  const heap = new HeapWatch(cluster.nodes);
  const filled = await heap.during(() => writer.run({ operation: 'set', outstanding: 1024, keys: entries, valueBytes: VALUE_BYTES, each: true }));
  print(`${entries} entries of ${VALUE_BYTES} bytes set in ${(filled.elapsedMs / 1000).toFixed(1)} s, ${Math.round(filled.operationsPerSecond)}/s, failed: ${errorText(filled)}`);
  signal.throwIfAborted();
  await printHoldings(context, cluster);
  const heapMax = Math.max(...heap.highest.values());

  const round: Round = { operation: 'get', outstanding: 32, keys: entries, valueBytes: VALUE_BYTES, verify: true };
  const reading = reader.run(round);
  const joinMs = await join(cluster, signal);
  reader.finishRound();
  const reads = await reading;
  print(
    `join: ${joinMs === undefined ? `not balanced after ${JOIN_WATCH_MS / 1000} s` : `in sync and balanced after ${(joinMs / 1000).toFixed(1)} s`} from the start of the process; ` +
      `meanwhile ${reads.operations} reads, p99 ${reads.p99Ms.toFixed(1)} ms, longest ${reads.maxMs.toFixed(1)} ms, failed: ${errorText(reads)}`,
  );
  await printHoldings(context, cluster);
  await Promise.all([writer.stop(), reader.stop()]);
  await cluster.stop();
  const counted = (name: string, result: RoundResult): Check => {
    const count = errorCount(result);
    return { name, value: count, text: String(count), target: '0', passed: count === 0 };
  };
  return {
    checks: [
      counted(`load: failed sets of ${entries}`, filled),
      { name: `load: largest heap of a node with ${entries} entries on three`, value: heapMax, text: bytesText(heapMax), target: `<= ${bytesText(HEAP_MAX_BYTES)}`, passed: heapMax <= HEAP_MAX_BYTES },
      { name: 'join of a fourth node: in sync and balanced', value: joinMs ?? JOIN_WATCH_MS, text: joinMs === undefined ? 'not in time' : `${(joinMs / 1000).toFixed(1)} s`, target: `<= ${JOIN_MAX_MS / 1000} s`, passed: joinMs !== undefined && joinMs <= JOIN_MAX_MS },
      counted('join: failed or wrong reads meanwhile', reads),
    ],
    details: { entries, filled, heapHighestBytes: Object.fromEntries(heap.highest), joinMs, reads },
  };
};

/** Milliseconds from asking for the node until every partition is in sync and no node holds too much; undefined: not in time. */
async function join(cluster: DevCluster, signal: AbortSignal): Promise<number | undefined> {
  const startMs = performance.now();
  const adding = cluster.addNode();
  const watch = new AbortController();
  const onAbort = (): void => watch.abort();
  signal.addEventListener('abort', onAbort, { once: true });
  const balanced = (async (): Promise<number | undefined> => {
    try {
      for await (const topology of watchTopology({ router: cluster.router, deadlineMs: JOIN_WATCH_MS, signal: watch.signal })) {
        if (topology.nodes.size === 4 && isBalanced(topology)) return performance.now() - startMs;
      }
    } catch {
      signal.throwIfAborted();
    }
    return undefined;
  })();
  try {
    await adding;
  } catch (error) {
    watch.abort();
    await balanced;
    throw error;
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
  return balanced;
}

/** Every partition has its replicas in sync, nobody is learning, and no node holds more than ceil(1.1 x fair share). */
export function isBalanced({ nodes, partitions }: Topology): boolean {
  const held = new Map<string, number>();
  for (const { inSync, learners } of partitions) {
    if (inSync.length !== REPLICATION_FACTOR || learners.length > 0) return false;
    for (const node of inSync) held.set(node, (held.get(node) ?? 0) + 1);
  }
  const most = Math.ceil((11 * partitions.length * REPLICATION_FACTOR) / (10 * nodes.size));
  return [...held.values()].every((count) => count <= most);
}

async function printHoldings({ print }: BenchContext, cluster: DevCluster): Promise<void> {
  const topology = await readTopology({ router: cluster.router });
  const holdings = await readHoldings(topology);
  const memory = (kind: string) => Promise.all(holdings.map(({ node }) => readMetric(topology.nodes.get(node)!, 'process_memory_bytes', `kind="${kind}"`)));
  const [heap, buffers, resident] = await Promise.all([memory('heap_used'), memory('array_buffers'), memory('rss')]);
  const rows = holdings.map(({ node, replicas, leaders, entries, bytes }, index) => [node, replicas, leaders, entries, ...[bytes, heap[index]!, buffers[index]!, resident[index]!].map(bytesText)]);
  print(tableText(['node', 'replicas', 'leaders', 'entries', 'bytes', 'heap', 'array buffers', 'resident'], rows));
}

/** The largest heap of each node that is seen while something runs. */
class HeapWatch {
  readonly highest = new Map<string, number>();
  readonly #nodes: readonly DevProcess[];

  constructor(nodes: readonly DevProcess[]) {
    this.#nodes = nodes;
  }

  async during<T>(work: () => Promise<T>): Promise<T> {
    const timer = setInterval(() => void this.#sample().catch(() => undefined), HEAP_SAMPLE_MS);
    try {
      const result = await work();
      await this.#sample();
      return result;
    } finally {
      clearInterval(timer);
    }
  }

  async #sample(): Promise<void> {
    for (const { id, address } of this.#nodes) {
      const bytes = await readMetric(address, 'process_memory_bytes', 'kind="heap_used"');
      this.highest.set(id, Math.max(bytes, this.highest.get(id) ?? 0));
    }
  }
}

const errorCount = ({ errors }: RoundResult): number => Object.values(errors).reduce((total, count) => total + count, 0);

const errorText = ({ errors }: RoundResult): string => {
  const entries = Object.entries(errors);
  return entries.length === 0 ? 'none' : entries.map(([reason, count]) => `${reason} ${count}`).join(', ');
};
