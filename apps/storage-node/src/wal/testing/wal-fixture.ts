import { copyFile, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ReplicaId } from '@atoll/core-runtime';
import { toNodeId, toReplicaId } from '@atoll/core-runtime';
import { openWal } from '../open-wal.ts';
import type { EntryBatch, OpenedWal, ReplicaIdentity, Wal, WalOptions, WalReplicaState } from '../wal.ts';

export const GENERATION = { counter: 1, id: 'aaaa' };

/** Replica number `n` of the tests: its id is `n` in hex. */
export function identity(n: number, durability: 'ASYNC' | 'SYNC' = 'SYNC'): ReplicaIdentity {
  return { replicaId: replicaId(n), keyspace: 'orders', keyspaceId: 'k1', partition: n, durability };
}

export const replicaId = (n: number): ReplicaId => toReplicaId(n.toString(16).padStart(16, '0'));

/** Batch of `firstSeq` to `lastSeq` whose bytes tell what it is. */
export function batch(firstSeq: number, lastSeq = firstSeq, options: { epoch?: number; bytes?: number } = {}): EntryBatch {
  const { epoch = 1, bytes = 24 } = options;
  return { firstSeq, lastSeq, lastEpoch: epoch, bytes: Buffer.alloc(bytes, `entries ${firstSeq}-${lastSeq};`) };
}

/** Directories below the system's temporary one, and the logs opened in them, all gone after `cleanUp`. */
export class WalFixture {
  readonly fatal: Error[] = [];
  readonly #directories: string[] = [];
  readonly #opened: Wal[] = [];

  async directory(): Promise<string> {
    const directory = await mkdtemp(join(tmpdir(), 'atoll-wal-'));
    this.#directories.push(directory);
    return directory;
  }

  async open(directory: string, options: Partial<WalOptions> = {}): Promise<OpenedWal> {
    const opened = await openWal({
      directory,
      clusterId: 'cluster-1',
      nodeId: toNodeId('node-1'),
      onFatal: (error) => this.fatal.push(error),
      ...options,
    });
    this.#opened.push(opened.wal);
    return opened;
  }

  /**
   * A copy of the directory as a crash now would leave it (but for what only a power failure loses). The log may
   * remove old files meanwhile, oldest segment first: so the copy goes the other way and stops where one is gone.
   */
  async crashCopy(directory: string): Promise<string> {
    const copy = await this.directory();
    for (const name of ['checkpoints', 'segments']) await mkdir(join(copy, name));
    const isCopied = (path: string) =>
      copyFile(join(directory, path), join(copy, path)).then(
        () => true,
        (error: NodeJS.ErrnoException) => (error.code === 'ENOENT' ? false : Promise.reject(error)),
      );
    for (const name of await readdir(join(directory, 'checkpoints'))) await isCopied(join('checkpoints', name));
    const segments = (await readdir(join(directory, 'segments'))).sort().reverse();
    for (const name of segments) if (!(await isCopied(join('segments', name)))) break;
    return copy;
  }

  async cleanUp(): Promise<void> {
    for (const wal of this.#opened.splice(0)) await wal.close({ clean: false }).catch(() => undefined);
    for (const directory of this.#directories.splice(0)) await rm(directory, { recursive: true, force: true });
  }
}

/** Waits until everything buffered is durable. */
export async function flush(wal: Wal): Promise<void> {
  const { position } = wal;
  if (wal.durablePosition >= position) return;
  await new Promise<void>((resolve) => {
    wal.onDurable((durable) => {
      if (durable >= position) resolve();
    });
    wal.requestFlush();
  });
}

/** Paths of the segments, oldest first. */
export async function segmentPaths(directory: string): Promise<string[]> {
  const names = await readdir(join(directory, 'segments'));
  return names.sort().map((name) => join(directory, 'segments', name));
}

export async function checkpointNames(directory: string): Promise<string[]> {
  return (await readdir(join(directory, 'checkpoints'))).sort();
}

/** A replica's state in a form to compare: its batches as [first, last, text]. */
export async function describeState(state: WalReplicaState) {
  const chunks: string[] = [];
  if (state.checkpoint !== undefined) for await (const chunk of state.checkpoint.chunks()) chunks.push(Buffer.from(chunk).toString());
  return {
    replicaId: state.identity.replicaId,
    generation: state.generation,
    checkpoint: state.checkpoint && { applied: state.checkpoint.applied, timeMs: state.checkpoint.timeMs, chunks },
    entries: state.entries.map(({ firstSeq, lastSeq }) => [firstSeq, lastSeq]),
    committedSeq: state.committedSeq,
    clean: state.clean,
  };
}

export async function describeReplicas(opened: OpenedWal) {
  return Promise.all(opened.replicas.map(describeState));
}
