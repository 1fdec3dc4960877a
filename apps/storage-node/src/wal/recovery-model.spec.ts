// Random histories against a model: whatever was done, a crash right after a flush loses nothing of it.
import { SeededRandom, randomBelow } from '@atoll/core-runtime';
import { ObservedFileSystem } from './testing/observed-file-system.ts';
import { WalFixture, batch, describeReplicas, flush, identity, replicaId } from './testing/wal-fixture.ts';
import type { OpenedWal, ReplicaGeneration, Wal } from './wal.ts';

const fixture = new WalFixture();
afterEach(() => fixture.cleanUp());

interface ModelReplica {
  generation: ReplicaGeneration;
  checkpoint: { applied: { epoch: number; seq: number }; timeMs: number; chunks: string[] } | undefined;
  /** [first, last] of each batch, also of those below the checkpoint. */
  entries: [number, number][];
  durability: 'ASYNC' | 'SYNC';
}

class Model {
  readonly replicas = new Map<number, ModelReplica>();
  readonly random: SeededRandom;
  #created = 0;

  constructor(seed: number) {
    this.random = new SeededRandom(seed);
  }

  below(bound: number): number {
    return randomBelow(this.random, bound);
  }

  /** One random step, done to both. */
  async step(wal: Wal): Promise<void> {
    const numbers = [...this.replicas.keys()];
    const n = numbers[this.below(Math.max(1, numbers.length))];
    const choice = this.below(100);
    if (n === undefined || (choice < 10 && numbers.length < 4)) return this.#create(wal);
    const replica = this.replicas.get(n) as ModelReplica;
    const last = lastSeq(replica);
    if (choice < 70) {
      const end = last + 1 + this.below(5);
      wal.append(replicaId(n), batch(last + 1, end, { bytes: this.below(600) }));
      replica.entries.push([last + 1, end]);
      return undefined;
    }
    if (choice < 80) return this.#truncate(wal, n, replica);
    if (choice < 90) return this.#checkpoint(wal, n, replica);
    if (choice < 92) {
      this.replicas.delete(n);
      return wal.dropReplica(replicaId(n));
    }
    if (choice < 94) {
      const generation = { counter: replica.generation.counter + 1, id: String(choice) };
      Object.assign(replica, { generation, checkpoint: undefined, entries: [] });
      return wal.setGeneration(replicaId(n), generation);
    }
    return flush(wal);
  }

  /** What a stop leaves (R1). */
  stop(options: { clean: boolean }): void {
    for (const [n, replica] of this.replicas) if (!options.clean && replica.durability === 'ASYNC') this.replicas.delete(n);
  }

  /** In the form of `describeReplicas`. */
  describe() {
    return [...this.replicas].map(([n, { generation, checkpoint, entries }]) => ({
      replicaId: replicaId(n),
      generation,
      checkpoint,
      entries: entries.filter(([, last]) => last > (checkpoint?.applied.seq ?? 0)),
    }));
  }

  #create(wal: Wal): void {
    this.#created += 1;
    const durability = this.below(3) === 0 ? 'ASYNC' : 'SYNC';
    const generation = { counter: 1, id: 'first' };
    wal.createReplica(identity(this.#created, durability), generation);
    this.replicas.set(this.#created, { generation, checkpoint: undefined, entries: [], durability });
  }

  #truncate(wal: Wal, n: number, replica: ModelReplica): void {
    const applied = replica.checkpoint?.applied.seq ?? 0;
    const toSeq = applied + this.below(lastSeq(replica) - applied + 1);
    wal.truncate(replicaId(n), toSeq);
    replica.entries = replica.entries
      .filter(([first]) => first <= toSeq)
      .map(([first, last]) => [first, Math.min(last, toSeq)]);
  }

  async #checkpoint(wal: Wal, n: number, replica: ModelReplica): Promise<void> {
    const seqMin = replica.checkpoint?.applied.seq ?? 0;
    const applied = { epoch: 1, seq: seqMin + this.below(lastSeq(replica) - seqMin + 1) };
    const chunks = Array.from({ length: this.below(3) }, (_, index) => `chunk ${index} at ${applied.seq}`);
    await wal.checkpoint(replicaId(n), applied, 1000 + applied.seq, chunks.map((chunk) => Buffer.from(chunk)));
    replica.checkpoint = { applied, timeMs: 1000 + applied.seq, chunks };
  }
}

const lastSeq = (replica: ModelReplica): number => Math.max(replica.checkpoint?.applied.seq ?? 0, replica.entries.at(-1)?.[1] ?? 0);

async function describeWithoutHints(opened: OpenedWal) {
  const states = await describeReplicas(opened);
  return states.map(({ committedSeq: _committedSeq, clean: _clean, ...state }) => state);
}

describe('a log and its model', () => {
  it.each([1, 2, 3, 4, 5, 6])('agree after every restart, seed %i', async (seed) => {
    const model = new Model(seed);
    const options = { fileSystem: new ObservedFileSystem({ isSynced: false }), segmentBytes: 6000 };
    let directory = await fixture.directory();
    let opened = await fixture.open(directory, options);
    for (let life = 0; life < 8; life += 1) {
      for (let count = 20 + model.below(60); count > 0; count -= 1) await model.step(opened.wal);
      const clean = model.below(2) === 0;
      if (clean) await opened.wal.close({ clean });
      else {
        await flush(opened.wal);
        directory = await fixture.crashCopy(directory);
      }
      model.stop({ clean });
      opened = await fixture.open(directory, options);
      expect(opened.report).toMatchObject({ clean, tornTail: undefined });
      expect(await describeWithoutHints(opened)).toEqual(model.describe());
    }
  });
});
