import type { PartitionReplica } from '../partition-replica.ts';
import type { LeaseItem } from './peer-lease.ts';

/** What a node asks of one peer, and the replicas that lead on the strength of it, in the same order. */
export interface LeaseList<Hosted> {
  readonly items: LeaseItem[];
  readonly led: Hosted[];
}

/** The leases that the leaders among `hosted` need, by the node that is to grant them (R14). */
export function leaseLists<Hosted extends { readonly replica: PartitionReplica }>(hosted: Iterable<Hosted>): Map<string, LeaseList<Hosted>> {
  const lists = new Map<string, LeaseList<Hosted>>();
  for (const each of hosted) {
    const { leader, state } = each.replica;
    if (leader === undefined) continue;
    const { keyspace, partition } = state.identity;
    for (const { node, replica } of leader.leaseMembers()) {
      const list = lists.get(node) ?? { items: [], led: [] };
      lists.set(node, list);
      // A node that lost its data may be named twice, under two replica ids. The one that counts comes first.
      if (list.led.at(-1) === each) continue;
      list.items.push({ keyspace, partition, epoch: leader.epoch, replica });
      list.led.push(each);
    }
  }
  return lists;
}
