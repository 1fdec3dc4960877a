import type { World } from '../world.ts';

/** Troubles that last for a while, and how many do at this moment. */
export class Spells {
  readonly #world: World;
  #count = 0;

  constructor(world: World) {
    this.#world = world;
  }

  get areAny(): boolean {
    return this.#count > 0;
  }

  /** Ends a trouble that has just begun. Default: after as long as the plan lets one last. */
  later(end: () => void, afterMs = this.#lengthMs()): void {
    this.#count += 1;
    this.#world.events.after(afterMs, () => {
      this.#count -= 1;
      end();
    });
  }

  #lengthMs(): number {
    const [low, high] = this.#world.dice.pick(this.#world.plan.spells);
    return this.#world.dice.between(low, high);
  }
}
