import { bytesText, durationText } from '../output/quantities.ts';
import { renderTable } from '../output/table.ts';
import { allProcesses, type ClusterStatus, type ProcessStatus } from './cluster-status.ts';

/** The cluster as people read it: one line per process, one line of what the coordinator says. */
export function renderStatus(status: ClusterStatus, nowMs: number): string {
  const table = renderTable(
    [
      { heading: 'PROCESS' },
      { heading: 'ADDRESS' },
      { heading: 'PID', numeric: true },
      { heading: 'STATE' },
      { heading: 'ZONE' },
      { heading: 'UP', numeric: true },
      { heading: 'MEMORY', numeric: true },
    ],
    allProcesses(status).map((process) => [
      process.id,
      process.address,
      process.pid ?? '-',
      stateText(process),
      process.pool === undefined ? (process.zone ?? '') : `${process.zone}, pool ${process.pool}`,
      process.startedAtMs === null ? '-' : durationText(nowMs - process.startedAtMs),
      process.residentBytes === null ? '-' : bytesText(process.residentBytes),
    ]),
  );
  return `${table}\n\n${healthLine(status)}`;
}

export function stateText(process: ProcessStatus): string {
  if (process.state === 'running') return process.ready ? 'ready' : 'not ready';
  return process.exit === null ? process.state : `${process.state} (${process.exit})`;
}

function healthLine({ health }: ClusterStatus): string {
  if (health === null) return 'no coordinator answers';
  const { partitions, partitionsWithoutLeader: leaderless, partitionsUnderReplicated: under } = health;
  const trouble = [leaderless > 0 ? `${leaderless} without a leader` : '', under > 0 ? `${under} under-replicated` : ''].filter(Boolean).join(', ');
  return `${health.nodesUp} of ${health.nodesTotal} storage nodes up, ${partitions} partitions: ${trouble || 'all in sync'}; coordinator ${health.coordinator}`;
}
