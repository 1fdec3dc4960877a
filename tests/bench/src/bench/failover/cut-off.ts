import type { GateMode } from '../../cluster/network-gate.ts';
import { OwnNode } from '../../cluster/own-node.ts';
import type { BenchContext } from '../section.ts';
import { AtollTarget, type Leaderships } from './atoll-target.ts';
import { pause, roundText, runRound, type FailoverRound } from './rounds.ts';

/**
 * How a leader is cut off, in turn. Its process lives on, and nothing passes in either direction between it and
 * clients, peers, the coordinator and etcd: a network that drops everything, so that connections stay and are silent,
 * and one that ends every connection and refuses new ones.
 */
const CUTS: readonly { readonly name: string; readonly mode: GateMode }[] = [
  { name: 'silence', mode: { kind: 'silent' } },
  { name: 'ended connections', mode: { kind: 'cut' } },
];
const GATED_NODES = 2;
/** A round needs a leader that is worth being cut off: this share of all partitions. */
const LED_SHARE_MIN = 1 / 4;
const SETTLE_MS = 60_000;
const POLL_MS = 50;

/** Three nodes, two of them behind gates; of these the one that leads more is cut off until others serve what it led. */
export async function cutOffRounds({ signal, print, cleanUp }: BenchContext, options: { readonly rounds: number; readonly writesPerSecond: number }): Promise<FailoverRound[]> {
  const target = await AtollTarget.start(signal, 1);
  cleanUp.add(() => target.stop());
  const nodes = new Map<string, OwnNode>();
  for (let number = 1; number <= GATED_NODES; number += 1) {
    const node = await OwnNode.start({ id: `gated-${number}`, etcd: target.cluster.etcd, isGated: true });
    cleanUp.add(() => node.stop());
    nodes.set(node.id, node);
  }
  const rounds: FailoverRound[] = [];
  for (let round = 0; round < options.rounds; round += 1) {
    const { name, mode } = CUTS[round % CUTS.length]!;
    await target.untilRedundant(signal);
    const { node, slots } = await untilLeading(target, [...nodes.keys()], signal);
    const struck = nodes.get(node)!;
    const result = await runRound({
      target,
      name: `cut-off-${round}`,
      writesPerSecond: options.writesPerSecond,
      signal,
      fault: { slots, strike: () => struck.setNetwork(mode) },
      heal: async () => {
        struck.setNetwork({ kind: 'open' });
        await target.untilRedundant(signal);
      },
    });
    rounds.push(result);
    print(`cut-off (${name}) of ${node}, which led ${slots.size}: ${roundText(result)}`);
  }
  await target.stop();
  for (const node of nodes.values()) await node.stop();
  return rounds;
}

async function untilLeading(target: AtollTarget, nodes: readonly string[], signal: AbortSignal): Promise<Leaderships> {
  const deadlineMs = performance.now() + SETTLE_MS;
  const { partitions } = await target.topology();
  for (;;) {
    signal.throwIfAborted();
    const busiest = await target.busiestOf(nodes);
    if (busiest.slots.size >= partitions.length * LED_SHARE_MIN) return busiest;
    if (performance.now() > deadlineMs) throw new Error(`none of ${nodes.join(', ')} leads enough after ${SETTLE_MS / 1000} s`);
    await pause(POLL_MS);
  }
}
