// What a storage node makes of a client's request: the two ways into the core that clients have.
import type { WriteOutcome, WriteRequest } from '@atoll/core-replication';
import { isExpired, type EntryVersion, type StoredEntry } from '@atoll/core-store';
import type { Hash64 } from '@atoll/core-runtime';
import { placeOfSlot } from '../names.ts';
import type { SimNode } from '../node/sim-node.ts';
import type { World } from '../world.ts';

const notLeader: WriteOutcome = { kind: 'failed', reason: 'NOT_LEADER', message: '' };
const copying: WriteOutcome = { kind: 'failed', reason: 'KEYSPACE_COPYING', message: '' };

export function serveWrite(world: World, node: SimNode, options: { slot: number; writeId: number; request: WriteRequest }, answer: (outcome: WriteOutcome) => void): void {
  const { slot, writeId } = options;
  const request = world.mutant?.writeRequest?.(options.request) ?? options.request;
  const hosted = node.hosted(slot);
  const leader = hosted?.replica.leader;
  if (hosted === undefined || leader === undefined) return answer(notLeader);
  if (world.hasCopies) {
    const spec = node.view.keyspaces.get(placeOfSlot(slot).keyspace);
    if (spec?.copyOf !== undefined) return answer(copying);
    if (spec?.cutOver !== undefined) leader.endCopy(spec.cutOver, node.moment());
  }
  leader.write(request, node.moment(), (honest) => {
    const outcome = world.mutant?.writeOutcome?.(honest) ?? honest;
    if (outcome.kind === 'done') {
      world.checker.acted(slot, leader.epoch, node.id);
      world.checker.answered(hosted.state, writeId, request, outcome);
    }
    answer(outcome);
  });
}

export type ReadOutcome = { readonly kind: 'done'; readonly value: Uint8Array | undefined; readonly version: EntryVersion | undefined } | { readonly kind: 'failed' };

export function serveRead(world: World, node: SimNode, options: { slot: number; key: Uint8Array; hash: Hash64 }, answer: (outcome: ReadOutcome) => void): void {
  const { slot, key, hash } = options;
  const hosted = node.hosted(slot);
  const leader = hosted?.replica.leader;
  // Check and read in one turn (R16).
  const { monotonicMs } = node.moment();
  if (hosted === undefined || leader === undefined || leader.refusalOfReads(monotonicMs) !== undefined) return answer({ kind: 'failed' });
  const found = leader.read(key, hash);
  const tell = (entry: StoredEntry | undefined): void => {
    world.checker.acted(slot, leader.epoch, node.id);
    const timeMs = hosted.state.clock.read(node.moment().monotonicMs);
    const isThere = entry !== undefined && !isExpired(entry.expiresAtMs, timeMs);
    answer({ kind: 'done', value: isThere ? Buffer.from(entry.value) : undefined, version: isThere ? entry.version : undefined });
  };
  if (found === undefined || !('kind' in found)) return tell(found);
  found.write.onSettled((committed) => (committed ? tell(found.entry) : answer({ kind: 'failed' })));
}
