// npm run replay -- FILE [options]   plays a request trace against a cluster and verifies what the cluster then holds.
import { parseArgs } from 'node:util';
import { createClient } from '@atoll/client';
import { runMain, type MainTask } from './clean-up.ts';
import { compareReplicas } from './cluster/compare-replicas.ts';
import { DevCluster } from './cluster/dev-cluster.ts';
import { readHoldings } from './cluster/node-holdings.ts';
import { readTopology } from './cluster/topology.ts';
import { msText } from './output/text.ts';
import { Progress } from './output/progress.ts';
import { readBack } from './replay/read-back.ts';
import { isVerified, replayText, verificationText } from './replay/replay-report.ts';
import { replay } from './replay/replayer.ts';
import { countRequests, openTrace } from './trace.ts';

const HELP = `Plays a request trace through a router, then verifies every live key on every replica.

  npm run replay -- FILE [options]

FILE is CSV with the heading version,time,op,size,lbn (the CloudPhysics sample of libCacheSim): op 28 is a
read (a get, and a set of \`size\` bytes on a miss), op 2a a write (a set of \`size\` bytes), lbn the key.
Requests of one key run in the order of the file.

  --router HOST:PORT   a running cluster; without it one is started for the run and taken down at the end
  --nodes N            storage nodes of that cluster (default 3)
  --memory BYTES       memory for entries per node of that cluster (default 4GiB)
  --keyspace K         keyspace to use (default: default); nobody else should write the trace's keys in it
  --limit N            only the first N requests
  --concurrency N      requests under way at a time (default 64)
  --speed F            F seconds of the trace per second (default: as fast as possible)
  --help

Prints hit ratio, operations per second, latencies, what each node holds and errors by reason. Then reads every
live key back and compares its content, and compares the digests of all in-sync replicas of each partition at
one log position. Exit code 0: all as it must be; 1: not; 2: wrong usage.

Example: npm run replay -- ../shared/data/cloudphysics-io.csv`;

const EXIT_CODE_USAGE = 2;
const DEADLINE_MS = 10_000;

interface Settings {
  readonly file: string;
  readonly router: string | undefined;
  readonly nodes: number;
  readonly memory: string;
  readonly keyspace: string;
  readonly limit: number;
  readonly concurrency: number;
  readonly speed: number;
}

/** A text is a complaint; undefined: help was asked for. */
function readSettings(args: readonly string[]): Settings | string | undefined {
  const text = { type: 'string' } as const;
  const options = { router: text, nodes: text, memory: text, keyspace: text, limit: text, concurrency: text, speed: text, help: { type: 'boolean' } } as const;
  const complaints: string[] = [];
  let parsed;
  try {
    parsed = parseArgs({ args: [...args], options, allowPositionals: true });
  } catch (error) {
    return (error as Error).message;
  }
  const { values, positionals } = parsed;
  if (values.help === true) return undefined;
  const number = (name: 'nodes' | 'limit' | 'concurrency' | 'speed', fallback: number, isWhole: boolean): number => {
    const value = values[name] === undefined ? fallback : Number(values[name]);
    if (!(value > 0) || (isWhole && values[name] !== undefined && !Number.isSafeInteger(value))) complaints.push(`--${name} must be a ${isWhole ? 'whole ' : ''}number above 0, not '${values[name]}'`);
    return value;
  };
  if (positionals.length !== 1) complaints.push(`one FILE is needed, ${positionals.length} given`);
  const settings: Settings = {
    file: positionals[0] ?? '',
    router: values.router,
    nodes: number('nodes', 3, true),
    memory: values.memory ?? '4GiB',
    keyspace: values.keyspace ?? '',
    limit: number('limit', Infinity, true),
    concurrency: number('concurrency', 64, true),
    speed: number('speed', Infinity, false),
  };
  return complaints.length > 0 ? complaints.join('\n') : settings;
}

const print = (line: string): void => void process.stdout.write(`${line}\n`);

async function startCluster(settings: Settings, { signal, cleanUp }: MainTask): Promise<string> {
  print(`starting a cluster of ${settings.nodes} storage nodes`);
  const cluster = await DevCluster.start({ nodes: settings.nodes, memory: settings.memory, signal });
  cleanUp.add(() => cluster.stop());
  return cluster.router;
}

async function main(settings: Settings, task: MainTask): Promise<number> {
  const { signal, cleanUp } = task;
  const { file, keyspace, concurrency, speed, limit } = settings;
  const total = Math.min(limit, await countRequests(file));
  const router = settings.router ?? (await startCluster(settings, task));
  // A keyspace that is not there is a clear answer now, and not one error per request later.
  await readTopology({ router, keyspace, signal });
  const client = createClient({ routers: [router], keyspace, deadlineMs: DEADLINE_MS, maxInFlight: Math.max(concurrency, 64) });
  cleanUp.add(() => client.close());
  const progress = (label: string, count: number): Progress => new Progress({ label, total: count, stream: process.stdout, nowMs: () => performance.now() });

  const playing = progress('replaying', total);
  const { requests } = await openTrace(file, limit);
  const result = await replay({ client, requests, concurrency, speed, signal, onProgress: (done) => playing.update(done) });
  playing.end();
  print(`\n${replayText(result, await readHoldings(await readTopology({ router, keyspace, signal })))}\n`);

  const { expectations } = result;
  const reading = progress('reading back', expectations.liveCount);
  const startMs = performance.now();
  const read = await readBack({ client, expectations, concurrency, signal, onProgress: (done) => reading.update(done) });
  reading.end();
  const comparing = progress('comparing replicas', (await readTopology({ router, keyspace, signal })).partitions.length);
  const replicasMin = settings.router === undefined ? Math.min(2, settings.nodes) : 1;
  const replicas = await compareReplicas({ router, keyspace, replicasMin, signal, onProgress: (done) => comparing.update(done) });
  comparing.end();
  print(`\n${verificationText(read, replicas)}`);
  const isGood = isVerified(result, read, replicas);
  print(`verdict       ${isGood ? 'PASS' : 'FAIL'} (${expectations.liveCount} live keys verified in ${msText(performance.now() - startMs)})`);
  return isGood ? 0 : 1;
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
