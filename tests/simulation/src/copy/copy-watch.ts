// How far copies are, as the nodes say that lead their partitions.
import type { CopyJob } from '@atoll/core-migration';
import type { RecordView } from '../control/record-view.ts';
import type { Term } from '../control/term.ts';
import { partitionKey } from '../names.ts';
import type { World } from '../world.ts';
import type { CopyStatus } from './copy-puller.ts';

interface Answer {
  readonly incarnation: string;
  readonly statuses: ReadonlyMap<number, readonly CopyStatus[]>;
}

export class CopyWatch {
  readonly #world: World;
  readonly #term: Term;
  readonly #answers = new Map<string, Answer>();

  constructor(options: { world: World; term: Term }) {
    this.#world = options.world;
    this.#term = options.term;
  }

  /** What the node that leads the partition last said of it. */
  of(view: RecordView, slot: number): readonly CopyStatus[] {
    const leader = view.partitions.get(partitionKey(slot))?.record.leader;
    const answer = leader && this.#answers.get(leader.node);
    // A process that is registered no more said nothing that counts.
    return answer !== undefined && answer.incarnation === view.nodes.get(leader!.node)?.incarnation ? (answer.statuses.get(slot) ?? []) : [];
  }

  hasAnswered(node: string): boolean {
    return this.#answers.has(node);
  }

  leadersOf(view: RecordView, { target }: CopyJob): ReadonlySet<string> {
    return new Set(view.records().flatMap(({ record }) => (record.keyspace === target && record.leader !== undefined ? [record.leader.node] : [])));
  }

  /** Asks those that lead partitions of the copy; `done` when each has answered, or has not in so many ms. */
  ask(view: RecordView, job: CopyJob, timeoutMs: number, done: () => void): void {
    const { coordinator } = this.#term;
    const { network } = this.#world;
    const nodes = this.leadersOf(view, job);
    const missing = new Set(nodes);
    let isOver = false;
    const end = (): void => {
      if (isOver) return;
      isOver = true;
      // What it said before grows old.
      for (const id of missing) this.#answers.delete(id);
      done();
    };
    coordinator.after(timeoutMs, end);
    for (const id of nodes) {
      const node = this.#world.nodeOf(id);
      if (node === undefined) continue;
      network.send(coordinator, node, () => {
        const answer: Answer = { incarnation: node.incarnation, statuses: node.copies.statuses() };
        network.send(node, coordinator, () => {
          if (isOver) return;
          this.#answers.set(id, answer);
          missing.delete(id);
          if (missing.size === 0) end();
        });
      });
    }
    if (nodes.size === 0) end();
  }
}
