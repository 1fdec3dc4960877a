// What a storage node has to do with copies (R37): it takes what belongs to the partitions of copies that it leads, and stands still
// where it leads a source that is cut over.
import { sourcePartitionsOf } from '@atoll/core-placement';
import type { FreezeAnswer, Leader } from '@atoll/core-replication';
import type { BarrierPlace } from '@atoll/core-migration';
import { placeOfSlot } from '../names.ts';
import type { HostedReplica } from '../node/hosted-replica.ts';
import type { SimNode } from '../node/sim-node.ts';
import type { World } from '../world.ts';
import { CopyPuller, type CopyStatus } from './copy-puller.ts';

interface Pulled {
  readonly leader: Leader;
  readonly pullers: readonly CopyPuller[];
}

/** Of a partition that stands still. */
export interface FrozenSlot {
  readonly slot: number;
  readonly barrier: BarrierPlace;
  readonly timeMs: number;
}

export class NodeCopies {
  readonly #world: World;
  readonly #node: SimNode;
  readonly #pulled = new Map<HostedReplica, Pulled>();

  constructor(options: { world: World; node: SimNode }) {
    this.#world = options.world;
    this.#node = options.node;
  }

  tick(): void {
    const wanted = new Set<HostedReplica>();
    for (const hosted of this.#node.replicas()) {
      const { keyspaces } = this.#node.view;
      const spec = keyspaces.get(placeOfSlot(hosted.slot).keyspace);
      const { leader } = hosted.replica;
      if (spec === undefined || leader === undefined) continue;
      // As soon as it hears of it, not with the first write alone.
      if (spec.cutOver !== undefined) leader.endCopy(spec.cutOver, this.#node.moment());
      const { copyOf } = spec;
      const source = copyOf && keyspaces.get(copyOf.keyspace);
      if (copyOf === undefined || copyOf.isPaused || source?.id !== copyOf.keyspaceId || !leader.isServing || hosted.state.copies.isEnded) continue;
      wanted.add(hosted);
      if (this.#pulled.get(hosted)?.leader === leader) continue;
      this.stop(hosted);
      const { partition } = placeOfSlot(hosted.slot);
      const partitions = sourcePartitionsOf(partition, { sourceCount: source.partitionCount, targetCount: spec.partitionCount, tokens: undefined });
      this.#pulled.set(hosted, { leader, pullers: partitions.map((each) => new CopyPuller({ world: this.#world, hosted, leader, source, partition: each, target: spec })) });
    }
    for (const hosted of this.#pulled.keys()) if (!wanted.has(hosted)) this.stop(hosted);
  }

  /** It takes nothing more. */
  stop(hosted: HostedReplica): void {
    for (const puller of this.#pulled.get(hosted)?.pullers ?? []) puller.stop();
    this.#pulled.delete(hosted);
  }

  /** By slot, of the partitions of copies that it leads. */
  statuses(): ReadonlyMap<number, readonly CopyStatus[]> {
    const nowMs = this.#node.clock.monotonicMs;
    return new Map([...this.#pulled].filter(([{ replica }, { leader }]) => replica.leader === leader).map(([{ slot }, { pullers }]) => [slot, pullers.map((puller) => puller.status(nowMs))]));
  }

  /** Those of the slots that stand still for the cut-over, with all that was acknowledged committed. */
  confirmFreeze(cutOver: string, slots: readonly number[], seal: boolean): readonly FrozenSlot[] {
    return slots.flatMap((slot): FrozenSlot[] => {
      const hosted = this.#node.hosted(slot);
      const leader = hosted?.replica.leader;
      if (hosted === undefined || leader === undefined) return [];
      const { state } = hosted;
      const answer: FreezeAnswer = this.#world.mutant?.ignoresFreeze === true ? { kind: 'confirmed', position: state.appliedPosition } : leader.confirmFreeze(cutOver, seal && this.#world.mutant?.sealsNobody !== true, this.#node.moment());
      if (answer.kind !== 'confirmed') return [];
      return [{ slot, barrier: { generation: state.generation.counter, seq: answer.position.seq }, timeMs: state.clock.read(this.#node.clock.monotonicMs) }];
    });
  }
}
