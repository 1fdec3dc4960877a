// <data-dir>/cluster.json: what runs, so that other commands find the supervisor, and a later `up` or `down`
// finds what a killed supervisor left behind. Written before anything waits on a new process.
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { usageError } from '../cli-error.ts';
import type { ClusterLayout } from './layout.ts';
import type { ProcessIdentity } from './process-identity.ts';

export const STATE_FORMAT = 1;

export interface ClusterState {
  readonly format: typeof STATE_FORMAT;
  /** undefined when no supervisor runs. */
  readonly supervisor: ProcessIdentity | undefined;
  /** Path of the control socket. */
  readonly socket: string;
  readonly layout: ClusterLayout;
  /** Processes that run, or that a killed supervisor left. */
  readonly processes: readonly RecordedProcess[];
}

export interface RecordedProcess extends ProcessIdentity {
  readonly id: string;
}

export const statePath = (dataDir: string): string => join(dataDir, 'cluster.json');

/** undefined when the directory holds no cluster; throws CliError when the file is not ours. */
export function readState(dataDir: string): ClusterState | undefined {
  let text: string;
  try {
    text = readFileSync(statePath(dataDir), 'utf8');
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
  const state = parseState(text);
  if (state === undefined) throw usageError(`${statePath(dataDir)} is not a state file of this version of atoll`);
  return state;
}

function parseState(text: string): ClusterState | undefined {
  try {
    const state = JSON.parse(text) as ClusterState | null;
    return state?.format === STATE_FORMAT && Array.isArray(state.processes) ? state : undefined;
  } catch {
    return undefined;
  }
}

/** Replaces the file at once: a reader sees the old or the new one. */
export function writeState(dataDir: string, state: ClusterState): void {
  mkdirSync(dataDir, { recursive: true });
  const scratch = `${statePath(dataDir)}.${process.pid}.tmp`;
  writeFileSync(scratch, `${JSON.stringify(state, undefined, 2)}\n`, { mode: 0o600 });
  renameSync(scratch, statePath(dataDir));
}

export function removeState(dataDir: string): void {
  rmSync(statePath(dataDir), { force: true });
}

// sun_path of unix(7) has 108 bytes, 104 on macOS, with the final zero.
const SOCKET_PATH_BYTES_MAX = 103;

/** Control socket of the cluster: in the data directory, or in the temporary one where that path is too long. */
export function socketPath(dataDir: string): string {
  const path = join(dataDir, 'control.sock');
  if (Buffer.byteLength(path) <= SOCKET_PATH_BYTES_MAX) return path;
  return join(tmpdir(), `atoll-${createHash('sha256').update(dataDir).digest('hex').slice(0, 16)}.sock`);
}
