import type { Member, PartitionRecord } from '@atoll/core-membership';
import type { World } from '../world.ts';

/** Records and replicas in a few words: for a world that does not come together. */
export function describeWorld(world: World): string {
  const replicas = world.nodes.flatMap((node) =>
    [...node.replicas()].map(({ slot, state, replica }) => {
      const { role } = replica;
      return `${node.id}/${slot} ${role.kind} ${state.appliedSeq}/${state.appendedSeq}/${state.log.end.seq}${state.isInstalled ? '' : ' not installed'}`;
    }),
  );
  return [...world.records().map(describeRecord), ...replicas, `down: ${[...world.down.keys()].join(' ')}`, world.migrationChecker.describe()].join('; ');
}

export function describeRecord({ partition, state, epoch, generation, leader, inSync, eligible, learners, leaving, relinquished }: PartitionRecord): string {
  const names = (members: readonly Member[]) => members.map(({ node }) => node).join(' ');
  return `p${partition} ${state} g${generation.counter} e${epoch} ${leader?.node ?? '-'}${relinquished ? ' relinquished' : ''} {${names(inSync)}} eligible {${names(eligible)}} learners {${names(learners)}} leaving {${names(leaving)}}`;
}
