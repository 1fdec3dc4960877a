import { ETCD, type Put } from '../base/sim-etcd.ts';
import type { SimProcess } from '../base/sim-process.ts';
import { PARTITIONS } from '../names.ts';
import type { World } from '../world.ts';
import type { Spells } from './spells.ts';

export type Link = readonly [from: string, to: string];

/** Links that carry nothing for a while, one way or both. */
export class LinkFaults {
  readonly #world: World;
  readonly #spells: Spells;
  /** The node that writes the next record is cut off with it. */
  #isLurking = false;

  constructor(options: { world: World; spells: Spells }) {
    this.#world = options.world;
    this.#spells = options.spells;
    this.#world.etcd.onApplied = (from, puts) => this.#onSwap(from, puts);
  }

  /** Whoever is next to change a record finds itself cut off. */
  lurk(): void {
    this.#isLurking = true;
  }

  /** What a leader is in doubt about: its change of the record is applied, the answer is lost, and so is the leader (R7). */
  #onSwap(from: SimProcess, puts: readonly Put[]): void {
    if (!this.#isLurking || !this.#world.isFaulty || this.#world.nodeOf(from.id) !== from || !puts.some(({ key }) => key.startsWith(PARTITIONS))) return;
    this.#isLurking = false;
    this.#world.trace(`fault cut at swap ${from.id}`);
    this.isolate(from.id, this.#world.dice.pick([undefined, 'clients', 'clients'] as const));
  }

  isolate(node: string, spared: typeof ETCD | 'clients' | 'coordinators' | undefined): void {
    const isSpared = (id: string): boolean => id === spared || (spared === 'clients' && id.startsWith('x')) || (spared === 'coordinators' && id.startsWith('c'));
    const others = this.#machines().filter((id) => id !== node && !isSpared(id));
    this.cutFor(others.flatMap((id) => [[node, id] as const, [id, node] as const]));
  }

  otherThan(id: string): string {
    return this.#world.dice.pick(this.#machines().filter((other) => other !== id));
  }

  #machines(): string[] {
    const { nodes, coordinators, clients } = this.#world;
    return [...nodes.map(({ id }) => id), ...coordinators.map(({ id }) => id), ...clients.map(({ id }) => id), ETCD];
  }

  /** They come back together, each at its time, or those between storage nodes first. */
  cutFor(pairs: readonly Link[]): void {
    const { network, dice } = this.#world;
    for (const [from, to] of pairs) network.cut(from, to);
    const heal = (links: readonly Link[]): void => {
      for (const [from, to] of links) network.heal(from, to);
    };
    const roll = dice.below(10);
    if (roll < 3) {
      for (const pair of pairs) this.#spells.later(() => heal([pair]));
    } else if (roll < 6) {
      this.#spells.later(() => {
        heal(pairs.filter(([from, to]) => from.startsWith('n') && to.startsWith('n')));
        this.#spells.later(() => heal(pairs));
      });
    } else this.#spells.later(() => heal(pairs));
  }
}
