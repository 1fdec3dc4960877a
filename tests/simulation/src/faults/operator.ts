import type { NodeSpec } from '@atoll/core-membership';
import { recoverMetadata } from '../control/metadata-recovery.ts';
import { specKey } from '../names.ts';
import type { World } from '../world.ts';
import type { Spells } from './spells.ts';

/** What people do meanwhile: drains, nodes that join, and the recovery of an etcd that went back. */
export class Operator {
  /** Nodes that are to hold replicas in the end. */
  readonly wantedNodes = new Set<string>();
  readonly #world: World;
  readonly #spells: Spells;
  #joined = 0;
  #offCount = 0;

  constructor(options: { world: World; spells: Spells }) {
    this.#world = options.world;
    this.#spells = options.spells;
    for (const { id } of this.#world.nodes) this.wantedNodes.add(id);
    this.#lookAfterSpecs();
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
      if (this.#world.isFaulty || this.#offCount > 0) return;
      for (const id of this.wantedNodes) {
        const spec = this.#world.etcd.get(specKey(id))?.value as NodeSpec | undefined;
        if (spec?.state === 'DRAINING') this.#setState(id, 'UP');
      }
    });
  }
}
