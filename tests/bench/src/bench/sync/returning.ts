import { DevCluster } from '../../cluster/dev-cluster.ts';
import { OwnNode, type NodeStart } from '../../cluster/own-node.ts';
import type { Check } from '../contest.ts';
import { fill, type BenchContext } from '../section.ts';
import { GeneratorProcess } from '../workers/generator-process.ts';
import { installedBytes, untilInSync, untilLeft } from './replicas.ts';

/** A way of being away and of coming back. */
interface Absence {
  readonly name: string;
  /** Of the keyspace. Default NONE. */
  readonly durability?: 'SYNC' | 'ASYNC';
  readonly isGated?: boolean;
  readonly leave: (node: OwnNode) => Promise<void> | void;
  /** Resolves with the times of its start where a process is started. */
  readonly comeBack: (node: OwnNode) => Promise<NodeStart> | undefined;
}

export interface Return {
  /** From its coming back, or from the start of its process, until every partition is in sync. */
  readonly elapsedMs: number;
  /** Of these, after it was registered, where its process was started. */
  readonly registeredMs: number | undefined;
  readonly installedBytes: number;
}

const MISSED_WRITES = 10_000;
const CATCH_UP_MAX_MS = 2000;
const ROUNDS = { full: 3, quick: 1 } as const;
const NODE = 'returning';

const ABSENCES: readonly Absence[] = [
  {
    name: 'a node that stood still',
    leave: (node) => void process.kill(node.pid, 'SIGSTOP'),
    comeBack: (node) => {
      process.kill(node.pid, 'SIGCONT');
      return undefined;
    },
  },
  {
    name: 'a node that was cut off',
    isGated: true,
    leave: (node) => node.setNetwork({ kind: 'silent' }),
    comeBack: (node) => {
      node.setNetwork({ kind: 'open' });
      return undefined;
    },
  },
  { name: 'a node that was killed, durability SYNC', durability: 'SYNC', leave: (node) => node.end('SIGKILL'), comeBack: (node) => node.launch() },
  // What an ASYNC replica holds outlives a clean stop only (R1): after a SIGKILL it is filled anew.
  { name: 'a node that was stopped, durability ASYNC', durability: 'ASYNC', leave: (node) => node.end('SIGTERM'), comeBack: (node) => node.launch() },
];

/** A node is away while others take writes, and comes back with what it held: what it missed comes from the log. */
export async function returningReplicas(context: BenchContext): Promise<{ readonly checks: readonly Check[]; readonly details: Readonly<Record<string, readonly Return[]>> }> {
  const checks: Check[] = [];
  const details: Record<string, readonly Return[]> = {};
  for (const absence of ABSENCES) {
    const returns = await roundsOf(context, absence);
    details[absence.name] = returns;
    checks.push(...checksOf(absence.name, returns));
  }
  return { checks, details };
}

async function roundsOf({ isQuick, print, cleanUp, signal }: BenchContext, absence: Absence): Promise<readonly Return[]> {
  const { durability, isGated = false } = absence;
  const cluster = await DevCluster.start({ nodes: 1, ...(durability !== undefined && { env: { COORDINATOR_DEFAULT_DURABILITY: durability } }), signal });
  cleanUp.add(() => cluster.stop());
  const node = await OwnNode.start({ id: NODE, etcd: cluster.etcd, isGated });
  cleanUp.add(() => node.stop());
  const writer = await GeneratorProcess.start({ kind: 'atoll', router: cluster.router });
  cleanUp.add(() => writer.stop());
  await untilInSync(cluster, signal);
  await fill(writer, { keys: 1000, valueBytes: 100 });
  const returns: Return[] = [];
  for (let round = 0; round < ROUNDS[isQuick ? 'quick' : 'full']; round += 1) {
    const returned = await oneReturn(absence, { cluster, node, writer, signal });
    returns.push(returned);
    print(`${absence.name} for ${MISSED_WRITES} writes: in sync ${timeText(returned)}, ${returned.installedBytes} bytes by full syncs`);
  }
  await writer.stop();
  await node.stop();
  await cluster.stop();
  return returns;
}

async function oneReturn({ leave, comeBack }: Absence, { cluster, node, writer, signal }: { cluster: DevCluster; node: OwnNode; writer: GeneratorProcess; signal: AbortSignal }): Promise<Return> {
  const before = await installedBytes(node.address);
  await leave(node);
  await untilLeft(cluster, NODE, signal);
  await fill(writer, { keys: MISSED_WRITES, valueBytes: 100 });
  const backMs = performance.now();
  const start = await comeBack(node);
  await untilInSync(cluster, signal);
  const endMs = performance.now();
  // The count of a process that was started begins anew.
  const installed = (await installedBytes(node.address)) - (start === undefined ? before : 0);
  return { elapsedMs: endMs - (start?.startedMs ?? backMs), registeredMs: start && endMs - start.registeredMs, installedBytes: installed };
}

const timeText = ({ elapsedMs, registeredMs }: Return): string =>
  registeredMs === undefined ? `after ${Math.round(elapsedMs)} ms` : `${Math.round(elapsedMs)} ms after the start of its process, ${Math.round(registeredMs)} ms after it was registered`;

function checksOf(name: string, returns: readonly Return[]): Check[] {
  const worst = returns.toSorted((left, right) => right.elapsedMs - left.elapsedMs)[0]!;
  const bytes = Math.max(...returns.map((returned) => returned.installedBytes));
  return [
    { name: `${name} for ${MISSED_WRITES} writes: in sync again, worst of ${returns.length}`, value: worst.elapsedMs, text: timeText(worst), target: `<= ${CATCH_UP_MAX_MS} ms`, passed: worst.elapsedMs <= CATCH_UP_MAX_MS },
    { name: 'and the bytes that full syncs brought it', value: bytes, text: String(bytes), target: '0', passed: bytes === 0 },
  ];
}
