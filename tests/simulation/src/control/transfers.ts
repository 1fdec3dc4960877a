// Planned transfers as the coordinator carries them out (R29): the leader gives its office up and names the record's
// revision, the promotion compares it.
import { LeaderCounts, hasReplica, isReachable, nameOf, promote, type HandOver } from '@atoll/core-membership';
import { partitionKey, slotOf } from '../names.ts';
import type { SimNode } from '../node/sim-node.ts';
import type { World } from '../world.ts';
import type { Term } from './term.ts';

const TRANSFERS_MAX = 4;
const HOLD_MS = 300;
const TIMEOUT_MS = 2000;

export class Transfers {
  readonly #world: World;
  readonly #term: Term;
  /** What operators asked for; each is tried once. */
  readonly #requested: Map<string, string>;
  readonly #busy = new Set<string>();

  constructor(options: { world: World; term: Term; requested: Map<string, string> }) {
    this.#world = options.world;
    this.#term = options.term;
    this.#requested = options.requested;
  }

  /** Partitions in transfer, by `partitionName`. */
  get handingOver(): ReadonlySet<string> {
    return new Set(this.#busy);
  }

  begin(handOver: HandOver): void {
    const { record } = handOver;
    const { coordinator } = this.#term;
    const name = nameOf(record);
    if (this.#busy.size >= TRANSFERS_MAX || this.#busy.has(name)) return;
    this.#requested.delete(name);
    const node = this.#world.nodeOf(record.leader!.node);
    if (node === undefined) return;
    this.#busy.add(name);
    let isOver = false;
    const end = (): void => {
      if (isOver) return;
      isOver = true;
      this.#busy.delete(name);
    };
    coordinator.after(TIMEOUT_MS, end);
    const { network } = this.#world;
    network.send(coordinator, node, () =>
      this.#askToGiveUp(node, handOver, (modRevision) => {
        network.send(node, coordinator, () => {
          if (isOver || modRevision === undefined || !this.#term.isActing) return end();
          this.#promote(handOver, modRevision, end);
        });
      }),
    );
  }

  #askToGiveUp(node: SimNode, { record, target }: HandOver, answer: (modRevision: number | undefined) => void): void {
    if (!node.reports.accepts(this.#term.revision)) return answer(undefined);
    const leader = node.hosted(slotOf(record))?.replica.leader;
    if (leader?.epoch !== record.epoch) return answer(undefined);
    leader.handOver({ target: target.replica, holdMs: HOLD_MS }, node.moment(), (outcome) => answer(outcome.kind === 'given-up' ? outcome.modRevision : undefined));
  }

  /** The record as it stands at the revision that the leader named. */
  #promote({ record, target }: HandOver, modRevision: number, end: () => void): void {
    const state = this.#term.state();
    const leaders = LeaderCounts.count(state.partitions.values());
    const current = this.#term.coordinator.view.partitions.get(partitionKey(slotOf(record)));
    if (current === undefined || current.modRevision !== modRevision || current.record.epoch !== record.epoch) return end();
    if (!hasReplica(current.record.inSync, target.replica) || !isReachable(state, target.node)) return end();
    const { minInSync } = this.#world.plan;
    const next = promote(current.record, target, { state, random: this.#world.dice.random, minInSync, leaders, isRelinquished: true });
    this.#term.write(slotOf(record), { record: next, modRevision }, end);
  }
}
