// node tools/placement-table.ts [--write]   how evenly placement spreads a keyspace, and what a join moves.
// Prints a Markdown table; --write puts it between the markers of docs/design/placement.md.
import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { buildRing, desiredReplicas, planPlacement } from '@atoll/core-placement';
import type { PlacementNode } from '@atoll/core-placement';
import { toNodeId } from '@atoll/core-runtime';

const DOCUMENT = new URL('../docs/design/placement.md', import.meta.url);
const BEGIN = '<!-- placement-table: begin -->';
const END = '<!-- placement-table: end -->';

const NODE_COUNTS = [3, 4, 5, 8, 10, 20, 50, 100];
const REPLICATION_FACTORS = [1, 2, 3];
const PARTITION_COUNT = 1024;
/** Each time is the median of so many runs. */
const RUNS = 5;

const equalNodes = (count: number): PlacementNode[] =>
  Array.from({ length: count }, (_, index) => ({ id: toNodeId(`node-${index + 1}`), zone: 'default', weight: 1 }));

function highest(nodes: readonly string[]): number {
  const counts = new Map<string, number>();
  for (const node of nodes) counts.set(node, (counts.get(node) ?? 0) + 1);
  return Math.max(...counts.values());
}

/** The result of the last run, and the median time of all. */
function timed<T>(run: () => T): { result: T; ms: number } {
  const times: number[] = [];
  let result!: T;
  for (let number = 0; number < RUNS; number += 1) {
    const start = performance.now();
    result = run();
    times.push(performance.now() - start);
  }
  return { result, ms: times.toSorted((a, b) => a - b)[RUNS >> 1]! };
}

const bound = (total: number, nodes: number) => Math.ceil((11 * total) / (10 * nodes));
const percent = (share: number) => `${(100 * share).toFixed(2)} %`;

function row(count: number, replicationFactor: number): string {
  const options = { keyspace: 'default', partitionCount: PARTITION_COUNT, replicationFactor };
  const total = PARTITION_COUNT * replicationFactor;
  const placed = timed(() => desiredReplicas(buildRing(equalNodes(count)), options));
  const joined = timed(() => planPlacement({ ...options, present: placed.result, nodes: equalNodes(count + 1) }));
  const replicas = highest(placed.result.flat());
  const leads = highest(placed.result.flatMap((list) => list.slice(0, 1)));
  return [
    count,
    replicationFactor,
    (total / count).toFixed(1),
    `${replicas} of ${bound(total, count)}`,
    `${leads} of ${bound(PARTITION_COUNT, count)}`,
    `${percent(joined.result.moves.length / total)} of ${percent((count <= 20 ? 1.25 : 2) / (count + 1))}`,
    `${highest(joined.result.desired.flat())} of ${bound(total, count + 1)}`,
    `${placed.ms.toFixed(1)} / ${joined.ms.toFixed(1)}`,
  ].join(' | ');
}

const { values } = parseArgs({ options: { write: { type: 'boolean', default: false } } });
const table = [
  '| nodes | RF | fair share | most replicas, bound | most leaderships, bound | a join moves, permitted | most after it, bound | place / join, ms |',
  '|---:|---:|---:|---:|---:|---:|---:|---:|',
  ...REPLICATION_FACTORS.flatMap((factor) => NODE_COUNTS.map((count) => `| ${row(count, factor)} |`)),
].join('\n');

if (values.write) {
  const text = readFileSync(DOCUMENT, 'utf8');
  const begin = text.indexOf(BEGIN);
  const end = text.indexOf(END);
  if (begin < 0 || end < begin) throw new Error(`${DOCUMENT.pathname} has no markers ${BEGIN} and ${END}`);
  writeFileSync(DOCUMENT, `${text.slice(0, begin + BEGIN.length)}\n${table}\n${text.slice(end)}`);
} else {
  console.log(table);
}
