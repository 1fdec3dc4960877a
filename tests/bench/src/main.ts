// npm run bench [-- SECTION ...]   measures Atoll against peers in the same run and prints ratios.
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { describeMachine, machineText } from './bench/machine.ts';
import type { BenchContext, Section, SectionResult } from './bench/section.ts';
import { backupSection } from './bench/sections/backup.ts';
import { balanceSection } from './bench/sections/balance.ts';
import { failoverSection } from './bench/sections/failover.ts';
import { loadSection } from './bench/sections/load.ts';
import { migrationSection } from './bench/sections/migration.ts';
import { pipelineSection } from './bench/sections/pipeline.ts';
import { standbySection } from './bench/sections/standby.ts';
import { syncSection } from './bench/sections/sync.ts';
import { telemetrySection } from './bench/sections/telemetry.ts';
import { unarySection } from './bench/sections/unary.ts';
import { runMain, type MainTask } from './clean-up.ts';
import { DevCluster } from './cluster/dev-cluster.ts';
import { tableText } from './output/text.ts';

const SECTIONS: Readonly<Record<string, Section>> = { unary: unarySection, pipeline: pipelineSection, telemetry: telemetrySection, load: loadSection, balance: balanceSection, failover: failoverSection, sync: syncSection, migration: migrationSection, backup: backupSection, standby: standbySection };

const HELP = `Measures Atoll against peers in the same run and prints ratios.

  npm run bench -- [SECTION ...] [--quick] [--json FILE]

Sections (default: all, in this order):
  unary      router unary Get, 64 callers, against a bare grpc-js echo server with messages of the same size
  pipeline   SDK through the router, 512 outstanding get and set of 100 bytes, against node-redis on redis-server
  telemetry  what tracing at its default and metrics cost in CPU time per operation: clusters with and without, in turns
  load       a million entries on three nodes: heap; then a fourth node joins while they are read
  balance    how evenly placement spreads replicas, and what a join moves
  failover   leaders that die, stand still, are cut off or leave, etcd away: how long writes wait and what is lost, beside a Redis Cluster
  sync       replicas that return: from the log, and by full syncs: how fast, and what clients feel of it
  migration  replicas that go to a fourth node, beside redis-cli --cluster rebalance; under load; with a coordinator that dies
  backup     archives of 2 GB and back, what changed since, beside clients; BGSAVE and loading of Redis beside it
  standby    a keyspace that follows one of another cluster: how far behind, and how soon it takes its place

  --quick      shorter rounds and a tenth of the entries
  --json FILE  writes rounds, figures and checks
  --help

Everything runs on 127.0.0.1 on free ports, in processes that are ended afterwards. Exit code 0: every target
is met; 1: not; 2: wrong usage.`;

const EXIT_CODE_USAGE = 2;

interface Settings {
  readonly sections: readonly string[];
  readonly isQuick: boolean;
  readonly json: string | undefined;
}

/** A text is a complaint; undefined: help was asked for. */
function readSettings(args: readonly string[]): Settings | string | undefined {
  try {
    const { values, positionals } = parseArgs({ args: [...args], options: { quick: { type: 'boolean' }, json: { type: 'string' }, help: { type: 'boolean' } }, allowPositionals: true });
    if (values.help === true) return undefined;
    const unknown = positionals.filter((name) => !Object.hasOwn(SECTIONS, name));
    if (unknown.length > 0) return `there is no section ${unknown.join(', ')}`;
    return { sections: positionals.length > 0 ? positionals : Object.keys(SECTIONS), isQuick: values.quick === true, json: values.json };
  } catch (error) {
    return (error as Error).message;
  }
}

const print = (line: string): void => void process.stdout.write(`${line}\n`);

async function main({ sections, isQuick, json }: Settings, { signal, cleanUp }: MainTask): Promise<number> {
  const machine = describeMachine();
  print(machineText(machine));
  let cluster: Promise<DevCluster> | undefined;
  const startShared = async (): Promise<DevCluster> => {
    const started = await DevCluster.start({ nodes: 3, signal });
    cleanUp.add(() => started.stop());
    return started;
  };
  const sharedCluster = (): Promise<DevCluster> => (cluster ??= startShared());
  const context: BenchContext = { signal, cleanUp, isQuick, print, sharedCluster };

  const results: Record<string, SectionResult> = {};
  for (const name of sections) {
    signal.throwIfAborted();
    print(`\n== ${name}${isQuick ? ' (quick)' : ''}`);
    const result = await SECTIONS[name]!(context);
    results[name] = result;
    if (result.skipped !== undefined) print(`skipped: ${result.skipped}`);
  }
  const checks = Object.values(results).flatMap((result) => result.checks);
  print(`\n${tableText(['figure', 'measured', 'target', ''], checks.map(({ name, text, target, passed }) => [name, text, target, passed ? 'PASS' : 'FAIL']))}`);
  if (json !== undefined) writeFileSync(json, `${JSON.stringify({ at: new Date().toISOString(), isQuick, machine, sections: results }, undefined, 2)}\n`);
  return checks.every(({ passed }) => passed) ? 0 : 1;
}

const settings = readSettings(process.argv.slice(2));
if (settings === undefined) {
  print(HELP);
} else if (typeof settings === 'string') {
  process.stderr.write(`${settings}\n(--help tells more)\n`);
  process.exitCode = EXIT_CODE_USAGE;
} else {
  await runMain((task) => main(settings, task));
}
