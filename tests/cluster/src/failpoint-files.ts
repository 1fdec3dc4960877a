// The files that hold migrations at failpoints (apps/coordinator/src/migration/failpoints.ts).
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from '@atoll/platform-etcd/testing';

export interface Failpoint {
  readonly partition: number;
  readonly step: 'ADD' | 'CATCH_UP' | 'VERIFY' | 'TRANSFER' | 'REMOVE' | 'DONE' | 'ROLL_BACK' | 'ROLLED_BACK';
  readonly place: 'before' | 'after';
}

const nameOf = ({ partition, step, place }: Failpoint): string => `default.${partition}.${step}.${place}`;

export class FailpointFiles {
  readonly directory: string;

  private constructor(directory: string) {
    this.directory = directory;
  }

  static async make(): Promise<FailpointFiles> {
    return new FailpointFiles(await mkdtemp(join(tmpdir(), 'atoll-failpoints-')));
  }

  /** Operators that come there stand still from now on. */
  async hold(points: readonly Failpoint[]): Promise<void> {
    for (const point of points) await writeFile(join(this.directory, nameOf(point)), '');
  }

  /** Resolves when an operator stands at each of them. */
  async untilReached(points: readonly Failpoint[], timeoutMs: number): Promise<void> {
    const missing = (): Failpoint[] => points.filter((point) => !existsSync(join(this.directory, `${nameOf(point)}.reached`)));
    await eventually('every failpoint is reached', () => missing().length === 0, timeoutMs).catch((error: unknown) => {
      throw new Error(`not reached: ${missing().map(nameOf).join(', ')}`, { cause: error });
    });
  }

  /** The cut-over of a copy of this keyspace stands still there from now on. */
  async holdCutOver(source: string, place: Failpoint['place']): Promise<void> {
    await writeFile(join(this.directory, `${source}.CUT_OVER.${place}`), '');
  }

  async untilCutOver(source: string, place: Failpoint['place'], timeoutMs: number): Promise<void> {
    await eventually('the cut-over is reached', () => existsSync(join(this.directory, `${source}.CUT_OVER.${place}.reached`)), timeoutMs);
  }

  /** Everybody goes on. */
  async release(): Promise<void> {
    for (const name of await readdir(this.directory)) await rm(join(this.directory, name), { force: true });
  }

  async remove(): Promise<void> {
    await rm(this.directory, { recursive: true, force: true });
  }
}
