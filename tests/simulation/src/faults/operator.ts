import type { NodeSpec } from '@atoll/core-membership';
import { recoverMetadata } from '../control/metadata-recovery.ts';
import { specKey } from '../names.ts';
import type { World } from '../world.ts';
import type { Spells } from './spells.ts';

/** Times that a cut-over is asked for behind the last fault. */
const CALM_CUT_OVERS_MAX = 12;

/** What people do meanwhile: drains, nodes that join, and the recovery of an etcd that went back. */
export class Operator {
  /** Nodes that are to hold replicas in the end. */
  readonly wantedNodes = new Set<string>();
  readonly #world: World;
  readonly #spells: Spells;
  #joined = 0;
  #offCount = 0;
  #copies = 0;
  #calm = 0;

  constructor(options: { world: World; spells: Spells }) {
    this.#world = options.world;
    this.#spells = options.spells;
    for (const { id } of this.#world.nodes) this.wantedNodes.add(id);
    this.#lookAfterSpecs();
    if (this.#world.hasCopies) this.#world.events.after(this.#world.dice.between(2000, 3000), () => this.#copy());
    if (this.#world.plan.migrationGapMs > 0) this.#world.events.after(this.#world.dice.between(2500, 5000), () => this.#migrate());
  }

  drain(id: string): void {
    if (this.#offCount > 0 || this.#world.nodes.length < 3) return;
    this.#offCount += 1;
    this.#setState(id, 'DRAINING');
    this.#spells.later(() => {
      this.#offCount -= 1;
      this.#setState(id, 'UP');
    });
  }

  /** At random moments among the faults: what people ask of migrations, and what brings them about. */
  #migrate(): void {
    const { dice, plan, events, nodes, isFaulty } = this.#world;
    if (!isFaulty) return;
    if (nodes.length > 0) {
      const { id } = dice.pick(nodes);
      const roll = dice.below(20);
      if (roll < 11) this.#move(id);
      else if (roll < 14) this.#ask('cancel');
      else if (roll < 15) this.#ask('pause');
      else if (roll < 17) this.#ask('resume');
      else if (roll < 18) this.#weigh(id);
      else if (roll < 19) this.drain(id);
      else this.join();
    }
    events.after(dice.between(1, plan.migrationGapMs * 2), () => this.#migrate());
  }

  /** A request to move some partitions, or all of a node. */
  #move(from: string): void {
    const { dice, plan, nodes, coordinators } = this.#world;
    const others = nodes.filter(({ id }) => id !== from);
    if (others.length === 0) return;
    const to = dice.pick(others).id;
    const first = dice.below(plan.partitionCount);
    const partitions = dice.chance(0.5) ? [first] : Array.from({ length: plan.partitionCount }, (_, partition) => partition);
    for (const { term } of coordinators) term?.migrations.move(partitions, from, to);
  }

  /** What people ask of copies: one at a time, of whatever clients call `default`. */
  #copy(): void {
    const { dice, plan, events, coordinators, isFaulty } = this.#world;
    if (!isFaulty) return;
    const roll = dice.below(20);
    const partitionCount = dice.pick([1, 2, 4]);
    const maxPauseMs = dice.pick([100, 500, 2000, 5000]);
    if (roll < 8) this.#copies += 1;
    for (const { term } of coordinators) {
      if (roll < 8) term?.copies.begin(this.#copies, partitionCount);
      else if (roll < 16) term?.copies.cutOver(maxPauseMs);
      else if (roll < 17) term?.copies.ask('cancel');
      else if (roll < 18) term?.copies.ask('pause');
      else term?.copies.ask('resume');
    }
    events.after(dice.between(1, plan.copyGapMs * 2), () => this.#copy());
  }

  /** In the end each copy takes the place of its source, or, where it does not come to that, goes. */
  #endCopies(): void {
    const { coordinators } = this.#world;
    this.#calm += 1;
    for (const { term } of coordinators) {
      term?.copies.ask('resume');
      if (this.#calm > CALM_CUT_OVERS_MAX) term?.copies.ask('cancel');
      else term?.copies.cutOver(5000);
    }
  }

  #ask(kind: 'pause' | 'resume' | 'cancel'): void {
    const { dice, coordinators } = this.#world;
    for (const { term } of coordinators) term?.migrations.ask(kind, (ids) => dice.pick(ids));
  }

  /** A node is to hold another share from now on. */
  #weigh(id: string): void {
    this.#world.weights.set(id, this.#world.dice.pick([0.5, 1, 2, 3]));
    this.#world.nodeOf(id)?.registerAgain();
  }

  join(): void {
    if (this.#joined > 0 || !this.#world.dice.chance(0.5)) return;
    this.#joined += 1;
    const id = `n${this.#world.plan.nodeCount + this.#joined}`;
    this.wantedNodes.add(id);
    this.#world.startNode(id);
  }

  /** After etcd went back; waits for those that may know more (R13). */
  recoverSoon(): void {
    this.#world.events.after(this.#world.dice.between(500, 3000), () => {
      const risks = recoverMetadata(this.#world, this.#world.plan.mayLoseData && !this.#world.isFaulty);
      if (risks.length === 0) return this.#world.trace('metadata recovered');
      this.#world.trace(`metadata not recovered: ${risks.join('; ')}`);
      this.recoverSoon();
    });
  }

  #setState(id: string, state: NodeSpec['state']): void {
    if (this.#world.etcd.isBehind) return;
    const stored = this.#world.etcd.get(specKey(id));
    if (stored !== undefined) this.#world.etcd.seed(specKey(id), { ...(stored.value as NodeSpec), state });
  }

  /** Those that a crash in the middle, or an etcd that went back, left as they should not be. */
  #lookAfterSpecs(): void {
    this.#world.events.after(1000, () => {
      this.#lookAfterSpecs();
      if (!this.#world.isFaulty && this.#world.hasCopies) this.#endCopies();
      if (this.#world.isFaulty || this.#offCount > 0) return;
      for (const { term } of this.#world.coordinators) term?.migrations.ask('resume', (ids) => this.#world.dice.pick(ids));
      for (const id of this.wantedNodes) {
        const spec = this.#world.etcd.get(specKey(id))?.value as NodeSpec | undefined;
        if (spec?.state === 'DRAINING') this.#setState(id, 'UP');
      }
    });
  }
}
