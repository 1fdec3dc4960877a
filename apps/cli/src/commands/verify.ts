import { Command, Option } from 'commander';
import {
  RangeState,
  rangeStateToJSON,
  type AdminClient,
  type PartitionComparison,
  type ReplicaComparison,
  type SyncReplicasRequest,
  type VerifyReplicasRequest,
} from '@atoll/contracts/atoll/v1/admin';
import { AtollError } from '@atoll/core-errors';
import { callServerStream } from '@atoll/platform-grpc';
import { usageError } from '../cli-error.ts';
import { clusterDirOption, coordinatorAddresses, coordinatorOption } from '../connection/addresses.ts';
import { askCoordinator } from '../connection/admin-connection.ts';
import { EXIT_CODE } from '../exit-code.ts';
import { note, print, printJson, type Io } from '../io.ts';
import { ProgressLine } from '../output/progress-line.ts';
import { bytesText } from '../output/quantities.ts';
import { renderTable } from '../output/table.ts';
import type { AdminFlags } from './admin.ts';
import type { SetExitCode } from './dev.ts';
import { durationMsOption, jsonOption, wholeNumber } from './options.ts';

type CompareFlags = AdminFlags & { readonly keyspace?: string; readonly partition?: number[] };
type Reports = AsyncIterable<{ readonly partition?: PartitionComparison | undefined; readonly done: number; readonly total: number }>;

const NEXT_MS_DEFAULT = 300_000;

export function verifyCommand(io: Io, setExitCode: SetExitCode): Command {
  return compareCommand('verify', 'compare the replicas of each partition, and repair followers that differ from their leader')
    .addOption(new Option('--report-only', 'repair nothing'))
    .action(async (flags: CompareFlags & { reportOnly?: boolean }) => {
      const request: VerifyReplicasRequest = { ...scopeOf(flags), reportOnly: flags.reportOnly === true };
      await compare(io, setExitCode, flags, (client, signal) => callServerStream(client, 'verifyReplicas', request, { signal }));
    });
}

export function syncCommand(io: Io, setExitCode: SetExitCode): Command {
  return compareCommand('sync', 'bring followers in line with their leaders: install again what differs, or everything')
    .addOption(new Option('--node <id>', 'only the replicas on this node'))
    .addOption(new Option('--everything', 'install every sub-range again, values included, also where the digests are equal'))
    .addOption(new Option('--trust-leader', 'the leader is right even where two or more equal followers differ from it'))
    .action(async (flags: CompareFlags & { node?: string; everything?: boolean; trustLeader?: boolean }) => {
      const request: SyncReplicasRequest = { ...scopeOf(flags), node: flags.node ?? '', everything: flags.everything === true, trustLeader: flags.trustLeader === true };
      await compare(io, setExitCode, flags, (client, signal) => callServerStream(client, 'syncReplicas', request, { signal }));
    });
}

function compareCommand(name: string, description: string): Command {
  const collect = (text: string, list: number[] = []): number[] => [...list, wholeNumber(0, 4095)(text)];
  return new Command(name)
    .description(description)
    .addOption(new Option('--keyspace <name>', 'only this keyspace (default: all)'))
    .addOption(new Option('--partition <id>', 'only this partition of the keyspace; may come more than once').argParser(collect))
    .addOption(coordinatorOption())
    .addOption(clusterDirOption())
    .addOption(new Option('--timeout <duration>', 'longest wait for the next partition').default(NEXT_MS_DEFAULT, '5m').argParser(durationMsOption))
    .addOption(jsonOption());
}

function scopeOf({ keyspace, partition }: CompareFlags): { keyspace: string; partitions: number[] } {
  if (partition !== undefined && keyspace === undefined) throw usageError('--partition needs --keyspace');
  return { keyspace: keyspace ?? '', partitions: partition ?? [] };
}

async function compare(io: Io, setExitCode: SetExitCode, flags: CompareFlags, open: (client: AdminClient, signal: AbortSignal) => Reports): Promise<void> {
  const reports: PartitionComparison[] = [];
  const progress = new ProgressLine(io);
  await askCoordinator(coordinatorAddresses(io, flags), flags.timeout, async (client) => {
    reports.length = 0;
    const silence = new AbortController();
    const wait = () => setTimeout(() => silence.abort(new AtollError('DEADLINE_EXCEEDED', 'no partition was done for so long')), flags.timeout);
    let timer = wait();
    try {
      for await (const { partition, done, total } of open(client, silence.signal)) {
        clearTimeout(timer);
        timer = wait();
        if (partition !== undefined) reports.push(partition);
        progress.show(done, total, 'partitions');
      }
    } finally {
      clearTimeout(timer);
      progress.end();
    }
  });
  reports.sort((a, b) => a.keyspace.localeCompare(b.keyspace) || a.partition - b.partition);
  const totals = totalsOf(reports);
  if (totals.different + totals.contested + totals.problems > 0) setExitCode(EXIT_CODE.failed);
  if (flags.json) return printJson(io, { partitions: reports.map(reportJson), totals });
  printReports(io, reports, totals);
}

interface Totals {
  readonly partitions: number;
  readonly replicas: number;
  readonly equal: number;
  readonly repaired: number;
  readonly different: number;
  readonly contested: number;
  readonly problems: number;
  readonly bytes: number;
}

/** Sums over all reports; ranges are counted per follower. */
export function totalsOf(reports: readonly PartitionComparison[]): Totals {
  const replicas = reports.flatMap((report) => report.replicas);
  const ranges = replicas.flatMap((replica) => replica.ranges);
  const inState = (state: RangeState): number => ranges.filter((range) => range.state === state).length;
  return {
    partitions: reports.length,
    replicas: replicas.length,
    equal: replicas.reduce((sum, { equal }) => sum + equal, 0),
    repaired: inState(RangeState.RANGE_STATE_REPAIRED),
    different: inState(RangeState.RANGE_STATE_DIFFERENT),
    contested: inState(RangeState.RANGE_STATE_CONTESTED),
    problems: [...reports, ...replicas].filter(({ problem }) => problem !== '').length,
    bytes: ranges.reduce((sum, { bytes }) => sum + bytes, 0),
  };
}

function printReports(io: Io, reports: readonly PartitionComparison[], totals: Totals): void {
  const rows = reports.flatMap((report) => {
    const rowsOf = (replica: ReplicaComparison) => replica.ranges.map((range) => [report.keyspace, report.partition, replica.node, range.leaf, hashText(range.hashStart), stateName(range.state), range.entries, bytesText(range.bytes)]);
    return report.replicas.flatMap(rowsOf);
  });
  if (rows.length > 0) {
    const columns = [
      { heading: 'KEYSPACE' },
      { heading: 'PARTITION', numeric: true },
      { heading: 'NODE' },
      { heading: 'RANGE', numeric: true },
      { heading: 'FIRST KEY HASH' },
      { heading: 'STATE' },
      { heading: 'ENTRIES', numeric: true },
      { heading: 'INSTALLED', numeric: true },
    ];
    print(io, renderTable(columns, rows));
  }
  for (const report of reports) {
    const name = `${report.keyspace}/${report.partition}`;
    if (report.problem !== '') note(io, `${name}: not compared: ${report.problem}`);
    for (const replica of report.replicas) if (replica.problem !== '') note(io, `${name} on ${replica.node}: ${replica.problem}`);
  }
  if (totals.contested > 0) note(io, 'contested: the leader stands alone against equal followers; transfer the leadership to one that is right, or use atoll sync --trust-leader');
  const { partitions, replicas, equal, repaired, different, contested, bytes } = totals;
  print(io, `${partitions} partitions, ${replicas} followers: ${equal} ranges equal, ${repaired} repaired (${bytesText(bytes)}), ${different} different, ${contested} contested`);
}

function reportJson(report: PartitionComparison): Record<string, unknown> {
  const replicas = report.replicas.map((replica) => ({
    ...replica,
    ranges: replica.ranges.map((range) => ({ ...range, hashStart: hashText(range.hashStart), hashEnd: hashText(range.hashEnd), state: stateName(range.state) })),
  }));
  return { ...report, replicas };
}

const stateName = (state: RangeState): string => rangeStateToJSON(state).replace('RANGE_STATE_', '');

const hashText = (hash: bigint): string => hash.toString(16).padStart(16, '0');
