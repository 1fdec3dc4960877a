import type { NodeSpec } from '@atoll/core-membership';
import { ETCD, type Put } from './base/sim-etcd.ts';
import type { SimProcess } from './base/sim-process.ts';
import { recoverMetadata } from './control/metadata-recovery.ts';
import { PARTITIONS, specKey } from './names.ts';
import { SETTINGS, type FaultKind } from './plan.ts';
import type { World } from './world.ts';

type Link = readonly [from: string, to: string];

/** Time without other faults around a loss of data. */
const CALM_MS = 4000;

/** What goes wrong, and what an operator does meanwhile. */
export class Faults {
  /** Nodes that are to hold replicas in the end. */
  readonly wantedNodes = new Set<string>();
  readonly #world: World;
  readonly #focus: string | undefined;
  #joined = 0;
  /** Troubles that last at this moment. */
  #spells = 0;
  /** A node that is to crash and lose its data, once nothing else is wrong: what else holds them must be well. */
  #toLose: string | undefined;
  #calmUntilMs = 0;
  /** etcd is to be set back, once nothing else is wrong. */
  #isSetBackDue = false;
  #wasSetBack = false;
  #offCount = 0;
  /** The node that writes the next record is cut off with it. */
  #isLurking = false;

  constructor(world: World) {
    this.#world = world;
    for (const { id } of world.nodes) this.wantedNodes.add(id);
    this.#focus = world.plan.focus ? world.dice.pick(world.nodes).id : undefined;
    this.#operator();
    world.etcd.onApplied = (from, puts) => this.#onSwap(from, puts);
    world.events.after(world.dice.between(2500, 4000), () => this.#disturb());
  }

  #disturb(): void {
    const { dice, plan, events } = this.#world;
    if (!this.#world.isFaulty) return;
    this.#lose();
    this.#setBack();
    if (this.#toLose === undefined && !this.#isSetBackDue && this.#calmUntilMs <= this.#world.events.nowMs) this.#strike();
    // Troubles like company.
    events.after(dice.chance(0.25) ? dice.between(1, 60) : dice.between(1, plan.faultGapMs * 2), () => this.#disturb());
  }

  #spellMs(): number {
    const [low, high] = this.#world.dice.pick(this.#world.plan.spells);
    return this.#world.dice.between(low, high);
  }

  #later(action: () => void, afterMs = this.#spellMs()): void {
    this.#spells += 1;
    this.#world.events.after(afterMs, () => {
      this.#spells -= 1;
      action();
    });
  }

  /** One node loses its data, in peace: that any single one may is the promise; two at a time are one too many. */
  #lose(): void {
    const id = this.#toLose;
    if (id === undefined || this.#spells > 0 || this.#calmUntilMs > this.#world.events.nowMs) return;
    this.#calmUntilMs = this.#world.events.nowMs + CALM_MS;
    this.#world.events.after(CALM_MS / 2, () => {
      this.#toLose = undefined;
      if (!this.#world.isFaulty || !this.#world.mayLose(id) || this.#world.nodes.length <= 1) return;
      this.#world.crashNode(id, false);
      this.#later(() => this.#restart(id));
    });
  }

  /** As after a loss of data: what nobody remembers any more, since its process died, nobody can put together again. */
  #setBack(): void {
    const { etcd, events, dice } = this.#world;
    if (!this.#isSetBackDue || this.#spells > 0 || this.#calmUntilMs > events.nowMs) return;
    this.#calmUntilMs = events.nowMs + CALM_MS / 2;
    events.after(CALM_MS / 2, () => {
      this.#isSetBackDue = false;
      const ageMs = dice.between(500, 6000);
      if (!this.#world.isFaulty || !etcd.setBack(ageMs)) return;
      this.#world.trace(`etcd set back by ${ageMs} ms`);
      this.#recoverSoon();
    });
  }

  /** The operator, who waits for those that may know more. */
  #recoverSoon(): void {
    this.#world.events.after(this.#world.dice.between(500, 3000), () => {
      const risks = recoverMetadata(this.#world, this.#world.plan.mayLoseData && !this.#world.isFaulty);
      if (risks.length === 0) return this.#world.trace('metadata recovered');
      this.#world.trace(`metadata not recovered: ${risks.join('; ')}`);
      this.#recoverSoon();
    });
  }

  #strike(): void {
    const { dice, network, etcd, nodes } = this.#world;
    const kind = dice.pick(this.#world.plan.faults);
    // Who dies now takes with it what it remembers.
    if (etcd.isBehind && (kind.includes('crash') || kind.includes('restart'))) return;
    const leaders = nodes.filter((node) => [...node.replicas()].some(({ replica }) => replica.leader !== undefined));
    const pool = (kind.includes('leader') || kind === 'restart inside a lease') && leaders.length > 0 ? leaders : nodes;
    if (pool.length === 0) return;
    const focused = this.#focus !== undefined && dice.chance(0.5) ? this.#world.nodeOf(this.#focus) : undefined;
    const node = focused ?? dice.pick(pool);
    this.#world.trace(`fault ${kind} ${node.id}`);
    switch (kind) {
      case 'crash':
      case 'crash leader':
        return this.#crash(node.id);
      case 'restart inside a lease':
        return this.#restartInsideALease(node.id);
      case 'pause':
      case 'pause leader':
        return this.#pause(node);
      case 'suspend':
      case 'suspend leader':
        node.clock.suspend();
        return this.#pause(node);
      case 'cut': {
        const other = this.#otherThan(node.id);
        return this.#cutFor([
          [node.id, other],
          [other, node.id],
        ]);
      }
      case 'cut one way': {
        const other = this.#otherThan(node.id);
        return this.#cutFor(dice.chance(0.5) ? [[node.id, other]] : [[other, node.id]]);
      }
      case 'isolate leader':
      case 'isolate':
        return this.#isolate(node.id, dice.pick([undefined, ETCD, 'clients', 'clients', 'coordinators'] as const));
      case 'cut at swap':
        this.#isLurking = true;
        return;
      case 'isolate from clients only':
        return this.#cutFor(this.#world.clients.flatMap(({ id }) => [[node.id, id] as const, [id, node.id] as const]));
      case 'break':
        if (network.streams.size > 0) dice.pick([...network.streams]).break();
        return;
      case 'slow':
        network.setSlow(node.id, dice.between(5, 250));
        return this.#later(() => network.setSlow(node.id, 0));
      case 'slow disk': {
        const disks = [...node.replicas()].flatMap(({ disk }) => disk ?? []);
        for (const disk of disks) disk.extraFlushMs = dice.between(20, 900);
        return this.#later(() => {
          for (const disk of disks) disk.extraFlushMs = 0;
        });
      }
      case 'etcd lossy':
        etcd.isLossy = true;
        return this.#later(() => {
          etcd.isLossy = false;
        });
      case 'etcd away':
        if (dice.chance(0.5)) return;
        etcd.isAway = true;
        return this.#later(() => {
          etcd.isAway = false;
        });
      case 'etcd set back':
        this.#isSetBackDue = !this.#wasSetBack;
        this.#wasSetBack = true;
        return;
      case 'wall':
        node.clock.wallOffsetMs += dice.between(-this.#world.plan.wallSkewMs, this.#world.plan.wallSkewMs);
        return;
      case 'coordinator crash':
      case 'coordinator pause':
      case 'coordinator cut':
      case 'coordinator clings':
        return this.#coordinator(kind);
      case 'transfer':
        for (const { term } of this.#world.coordinators) term?.request(dice.below(this.#world.plan.partitionCount));
        return;
      case 'drain':
        return this.#drain(node.id);
      default:
        return this.#join();
    }
  }

  #machines(): string[] {
    const { nodes, coordinators, clients } = this.#world;
    return [...nodes.map(({ id }) => id), ...coordinators.map(({ id }) => id), ...clients.map(({ id }) => id), ETCD];
  }

  #otherThan(id: string): string {
    return this.#world.dice.pick(this.#machines().filter((other) => other !== id));
  }

  /** What a leader is in doubt about: its change of the record is applied, the answer is lost, and so is the leader (R7). */
  #onSwap(from: SimProcess, puts: readonly Put[]): void {
    if (!this.#isLurking || !this.#world.isFaulty || this.#world.nodeOf(from.id) !== from || !puts.some(({ key }) => key.startsWith(PARTITIONS))) return;
    this.#isLurking = false;
    this.#world.trace(`fault cut at swap ${from.id}`);
    this.#isolate(from.id, this.#world.dice.pick([undefined, 'clients', 'clients'] as const));
  }

  #isolate(node: string, spared: typeof ETCD | 'clients' | 'coordinators' | undefined): void {
    const isSpared = (id: string): boolean => id === spared || (spared === 'clients' && id.startsWith('x')) || (spared === 'coordinators' && id.startsWith('c'));
    const others = this.#machines().filter((id) => id !== node && !isSpared(id));
    this.#cutFor(others.flatMap((id) => [[node, id] as const, [id, node] as const]));
  }

  /** Links come back together, each at its time, or those between storage nodes first. */
  #cutFor(pairs: readonly Link[]): void {
    const { network, dice } = this.#world;
    for (const [from, to] of pairs) network.cut(from, to);
    const heal = (links: readonly Link[]): void => {
      for (const [from, to] of links) network.heal(from, to);
    };
    const roll = dice.below(10);
    if (roll < 3) {
      for (const pair of pairs) this.#later(() => heal([pair]));
    } else if (roll < 6) {
      this.#later(() => {
        heal(pairs.filter(([from, to]) => from.startsWith('n') && to.startsWith('n')));
        this.#later(() => heal(pairs));
      });
    } else this.#later(() => heal(pairs));
  }

  #pause(process: SimProcess): void {
    process.pause();
    this.#later(() => process.resume());
  }

  #crash(id: string): void {
    const { dice, plan } = this.#world;
    if (this.#world.nodes.length <= 1) return;
    const keepsData = plan.isSync && dice.chance(0.8);
    if (!keepsData && !plan.mayLoseData) {
      this.#toLose = id;
      return;
    }
    this.#world.crashNode(id, keepsData);
    this.#later(() => this.#restart(id));
  }

  /** A leader is cut off, and who promised it a lease is back at once, as if it had promised nothing (R14). */
  #restartInsideALease(leader: string): void {
    const { dice, plan, events } = this.#world;
    if (!plan.isSync) return this.#crash(leader);
    this.#isolate(leader, 'clients');
    events.after(dice.between(1, 300), () => {
      const others = this.#world.nodes.filter(({ id }) => id !== leader);
      if (others.length === 0 || !this.#world.isFaulty) return;
      const { id } = dice.pick(others);
      this.#world.crashNode(id, true);
      this.#later(() => this.#restart(id), dice.between(5, 150));
    });
  }

  #restart(id: string): void {
    if (this.#world.down.has(id)) this.#world.startNode(id);
  }

  #coordinator(kind: Extract<FaultKind, `coordinator ${string}`>): void {
    const { coordinators, dice } = this.#world;
    const elected = coordinators.filter(({ term }) => term !== undefined);
    const coordinator = elected.length > 0 && dice.chance(0.7) ? dice.pick(elected) : coordinators[0];
    if (coordinator === undefined) return;
    const { id } = coordinator;
    if (kind === 'coordinator pause') return this.#pause(coordinator);
    if (kind === 'coordinator clings') return coordinator.cling(2 * SETTINGS.electionTtlMs);
    if (kind === 'coordinator cut') {
      const other = this.#otherThan(id);
      return this.#cutFor([[id, other] as const, [other, id] as const]);
    }
    this.#world.crashCoordinator(id);
    this.#later(() => this.#world.startCoordinator(id));
  }

  // --- the operator -----------------------------------------------------------------------------------------------

  #setState(id: string, state: NodeSpec['state']): void {
    if (this.#world.etcd.isBehind) return;
    const stored = this.#world.etcd.get(specKey(id));
    if (stored !== undefined) this.#world.etcd.seed(specKey(id), { ...(stored.value as NodeSpec), state });
  }

  #drain(id: string): void {
    if (this.#offCount > 0 || this.#world.nodes.length < 3) return;
    this.#offCount += 1;
    this.#setState(id, 'DRAINING');
    this.#later(() => {
      this.#offCount -= 1;
      this.#setState(id, 'UP');
    });
  }

  #join(): void {
    if (this.#joined > 0 || !this.#world.dice.chance(0.5)) return;
    this.#joined += 1;
    const id = `n${this.#world.plan.nodeCount + this.#joined}`;
    this.wantedNodes.add(id);
    this.#world.startNode(id);
  }

  /** Somebody looks after specs that were set back by a crash in the middle. */
  #operator(): void {
    this.#world.events.after(1000, () => {
      this.#operator();
      if (this.#world.isFaulty || this.#offCount > 0) return;
      for (const id of this.wantedNodes) {
        const spec = this.#world.etcd.get(specKey(id))?.value as NodeSpec | undefined;
        if (spec?.state === 'DRAINING') this.#setState(id, 'UP');
      }
    });
  }

  makePeace(): void {
    const { network, etcd, nodes, coordinators, down } = this.#world;
    network.healAll();
    network.isRough = false;
    etcd.isAway = false;
    etcd.isLossy = false;
    for (const process of [...nodes, ...coordinators]) process.resume();
    for (const id of down.keys()) this.#world.startNode(id);
  }
}
