import { execFile } from 'node:child_process';
import { copyFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { credentials } from '@grpc/grpc-js';
import { ArchiveKind, BackupClient, BackupJobState, RestorePolicy, type BackupJob, type BackupResult, type CreateBackupRequest } from '@atoll/contracts/atoll/v1/backup';
import { KIB } from '@atoll/core-runtime';
import { callUnary, createChannelOptions } from '@atoll/platform-grpc';
import { DevCluster } from '../../cluster/dev-cluster.ts';
import type { Check } from '../contest.ts';
import { fill, type BenchContext, type Section } from '../section.ts';
import { untilInSync } from '../sync/replicas.ts';
import { GeneratorProcess } from '../workers/generator-process.ts';
import { startRedisServer } from '../workers/redis-server.ts';

const MEGABYTE = 1e6;
const VALUE_BYTES = 16 * KIB;
const ENTRIES = { full: 120_000, quick: 6000 } as const;
/** One in a hundred is written anew before the increment. */
const CHANGED = 100;
const LOAD = { operation: 'set', outstanding: 2, keys: 2000, valueBytes: 100 } as const;
const LOAD_MS = { full: 15_000, quick: 4000 } as const;
const WATCH_MS = 600_000;
const UNBOUNDED = 64 * 1024 ** 3;
const TARGETS = { backupMb: 80, restoreMb: 60, besideMb: 25, p99: 2, increment: 0.03, incrementTime: 0.1, incrementMs: 3000 } as const;
const CALL = { deadlineMs: 20_000 };

const run = promisify(execFile);

/** Archives of about 2 GB, and back; beside clients; what changed; Redis with the same data. */
export const backupSection: Section = async (context) => {
  const { isQuick, print, cleanUp, signal } = context;
  const entries = ENTRIES[isQuick ? 'quick' : 'full'];
  const bytes = entries * VALUE_BYTES;
  const cluster = await DevCluster.start({ nodes: 3, memory: '5GiB', env: { BACKUP_COMPRESSION_LEVEL: '1' }, signal });
  cleanUp.add(() => cluster.stop());
  const writer = await GeneratorProcess.start({ kind: 'atoll', router: cluster.router });
  cleanUp.add(() => writer.stop());
  const backup = new BackupClient(cluster.backup, credentials.createInsecure(), createChannelOptions());
  await untilInSync(cluster, signal);
  await fill(writer, { keys: entries, valueBytes: VALUE_BYTES });

  const full = await backUp(backup, { archive: 'full', bytesPerSecond: UNBOUNDED }, signal);
  print(`full: ${rateText(bytes, full.tookMs)}, ${(full.archive!.storedBytes / MEGABYTE).toFixed(0)} MB stored; writes waited ${full.holdMsMax} ms for the cut`);

  await fill(writer, { keys: entries / CHANGED, valueBytes: VALUE_BYTES });
  const increment = await backUp(backup, { archive: 'increment', kind: ArchiveKind.ARCHIVE_KIND_INCREMENTAL, parent: 'full', bytesPerSecond: UNBOUNDED }, signal);
  const share = increment.archive!.storedBytes / full.archive!.storedBytes;
  print(`increment after ${100 / CHANGED} %: ${(100 * share).toFixed(2)} % of the bytes, ${(increment.tookMs / 1000).toFixed(2)} s, ${increment.partitionsWhole} partitions whole`);

  const beginMs = performance.now();
  await done(backup, (await callUnary(backup, 'restoreBackup', { id: 'restore', archive: 'full', keyspaces: ['default'], target: 'restored', prefix: Buffer.alloc(0), exact: false, partitionCount: 0, replicationFactor: 1, minInSync: 1, policy: RestorePolicy.RESTORE_POLICY_FAIL, bytesPerSecond: 0 }, CALL)).job!.id, signal);
  const restoreMs = performance.now() - beginMs;
  print(`restore to one replica, comparison included: ${rateText(bytes, restoreMs)}`);

  const before = await writer.run({ ...LOAD, durationMs: LOAD_MS[isQuick ? 'quick' : 'full'] });
  const loading = writer.run({ ...LOAD, durationMs: WATCH_MS });
  const beside = await backUp(backup, { archive: 'beside' }, signal);
  writer.finishRound();
  const during = await loading;
  print(`beside ${Math.round(during.operationsPerSecond)} sets/s, default rate: ${rateText(bytes, beside.tookMs)}; p99 of sets ${before.p99Ms.toFixed(1)} ms before, ${during.p99Ms.toFixed(1)} ms meanwhile`);
  backup.close();
  await writer.stop();
  await cluster.stop();

  const redis = await redisSave(context, entries);
  const rate = (ms: number): number => (bytes / ms / MEGABYTE) * 1000;
  const failed = Object.values(during.errors).reduce((sum, count) => sum + count, 0);
  const atLeastRate = (name: string, ms: number, min: number): Check => ({ name, value: rate(ms), text: `${rate(ms).toFixed(0)} MB/s`, target: `>= ${min} MB/s`, passed: rate(ms) >= min });
  const factor = during.p99Ms / before.p99Ms;
  const incrementMsMax = Math.max(TARGETS.incrementMs, full.tookMs * TARGETS.incrementTime);
  return {
    checks: [
      atLeastRate('backup, idle, no limit', full.tookMs, TARGETS.backupMb),
      atLeastRate('restore, idle', restoreMs, TARGETS.restoreMb),
      { name: `increment after ${100 / CHANGED} %: bytes to those of the full one`, value: share, text: `${(100 * share).toFixed(2)} %`, target: `<= ${100 * TARGETS.increment} %`, passed: share <= TARGETS.increment },
      { name: `increment after ${100 / CHANGED} %: time`, value: increment.tookMs, text: `${(increment.tookMs / 1000).toFixed(2)} s`, target: `<= ${(incrementMsMax / 1000).toFixed(1)} s`, passed: increment.tookMs <= incrementMsMax },
      atLeastRate('backup beside clients, default rate', beside.tookMs, TARGETS.besideMb),
      { name: 'p99 of sets during a backup at the default rate, to that before', value: factor, text: `${factor.toFixed(2)} x`, target: `<= ${TARGETS.p99} x`, passed: factor <= TARGETS.p99 },
      { name: 'failed sets meanwhile', value: failed, text: String(failed), target: '0', passed: failed === 0 },
    ],
    details: { bytes, full, increment, restoreMs, beside, before, during, redis },
  };
};

async function backUp(backup: BackupClient, changes: Partial<CreateBackupRequest>, signal: AbortSignal): Promise<BackupResult> {
  const request: CreateBackupRequest = { id: '', kind: ArchiveKind.ARCHIVE_KIND_FULL, keyspaces: ['default'], archive: '', parent: '', bytesPerSecond: 0, offline: false, compressionLevel: undefined, ...changes };
  const { job } = await callUnary(backup, 'createBackup', request, CALL);
  const { result } = await done(backup, job!.id, signal);
  if (result?.$case !== 'backup') throw new Error('a backup ended without a result');
  return result.value;
}

/** Throws when it fails. */
async function done(backup: BackupClient, id: string, signal: AbortSignal): Promise<BackupJob> {
  for (;;) {
    const { job } = await callUnary(backup, 'getBackupJob', { id }, CALL);
    if (job!.state === BackupJobState.BACKUP_JOB_STATE_SUCCEEDED) return job!;
    if (job!.endedAtMs > 0) throw new Error(`the job ${id} failed: ${job!.problem}`);
    await pause(50, undefined, { signal });
  }
}

/** BGSAVE with a copy of its file to another place, and loading it. Undefined without redis-server and redis-cli. */
async function redisSave({ print, cleanUp, signal }: BenchContext, entries: number) {
  const redis = await startRedisServer({ args: ['--enable-debug-command', 'local'] });
  if (redis === undefined) {
    print('redis-server is not on PATH: nothing beside it');
    return undefined;
  }
  cleanUp.add(() => redis.stop());
  const writer = await GeneratorProcess.start({ kind: 'redis', port: redis.port });
  cleanUp.add(() => writer.stop());
  await fill(writer, { keys: entries, valueBytes: VALUE_BYTES });
  await writer.stop();
  const cli = async (...args: string[]): Promise<string> => (await run('redis-cli', ['-p', String(redis.port), ...args])).stdout;
  const startMs = performance.now();
  await cli('BGSAVE');
  while (!/rdb_bgsave_in_progress:0/.test(await cli('INFO', 'persistence'))) await pause(20, undefined, { signal });
  const file = join(redis.directory, 'dump.rdb');
  await copyFile(file, `${file}.copy`);
  const saveMs = performance.now() - startMs;
  const { size } = await stat(file);
  const reloadMs = performance.now();
  await cli('DEBUG', 'RELOAD', 'NOSAVE');
  const loadMs = performance.now() - reloadMs;
  await rm(`${file}.copy`);
  await redis.stop();
  const bytes = entries * VALUE_BYTES;
  print(`redis-server ${redis.version}: BGSAVE and copy ${rateText(bytes, saveMs)} (${(size / MEGABYTE).toFixed(0)} MB), loading ${rateText(bytes, loadMs)}`);
  return { saveMs, loadMs, size };
}

const rateText = (bytes: number, ms: number): string => `${(bytes / MEGABYTE).toFixed(0)} MB in ${(ms / 1000).toFixed(2)} s, ${((bytes / ms / MEGABYTE) * 1000).toFixed(0)} MB/s`;
