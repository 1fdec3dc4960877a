import { ETCD } from '../base/sim-etcd.ts';
import type { SimProcess } from '../base/sim-process.ts';
import type { CopyJob } from '@atoll/core-migration';
import { SETTINGS, type CUT_OVER_FAULTS, type FaultKind } from '../plan.ts';
import { KEYSPACE } from '../names.ts';
import type { World } from '../world.ts';
import { LinkFaults } from './link-faults.ts';
import { Operator } from './operator.ts';
import { Spells } from './spells.ts';

/** Time without other faults around a loss of data. */
const CALM_MS = 4000;

const AT_CUT_OVER_MAX = 3;

interface DueAtCutOver {
  readonly kind: (typeof CUT_OVER_FAULTS)[number];
  readonly step: string;
  /** At a leader of the source, rather than of the copy. */
  readonly isAtSource: boolean;
}

/** What goes wrong, and what an operator does meanwhile. */
export class Faults {
  readonly operator: Operator;
  readonly #world: World;
  readonly #spells: Spells;
  readonly #links: LinkFaults;
  readonly #focus: string | undefined;
  /** A node that is to crash and lose its data, once nothing else is wrong: what else holds them must be well. */
  #toLose: string | undefined;
  #calmUntilMs = 0;
  /** etcd is to be set back, once nothing else is wrong. */
  #isSetBackDue = false;
  #wasSetBack = false;
  /** What strikes when the next cut-over comes to a step. */
  #atCutOver: DueAtCutOver[] = [];

  constructor(world: World) {
    this.#world = world;
    this.#spells = new Spells(world);
    this.#links = new LinkFaults({ world, spells: this.#spells });
    this.#focus = world.plan.focus ? world.dice.pick(world.nodes).id : undefined;
    this.operator = new Operator({ world, spells: this.#spells });
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

  /** One node loses its data, in peace: that any single one may is the promise; two at a time are one too many. */
  #lose(): void {
    const id = this.#toLose;
    if (id === undefined || this.#spells.areAny || this.#calmUntilMs > this.#world.events.nowMs) return;
    this.#calmUntilMs = this.#world.events.nowMs + CALM_MS;
    this.#world.events.after(CALM_MS / 2, () => {
      this.#toLose = undefined;
      if (!this.#world.isFaulty || !this.#world.mayLose(id) || this.#world.nodes.length <= 1) return;
      this.#world.crashNode(id, false);
      this.#spells.later(() => this.#restart(id));
    });
  }

  /** As after a loss of data: what nobody remembers any more, since its process died, nobody can put together again. */
  #setBack(): void {
    const { etcd, events, dice } = this.#world;
    if (!this.#isSetBackDue || this.#spells.areAny || this.#calmUntilMs > events.nowMs) return;
    this.#calmUntilMs = events.nowMs + CALM_MS / 2;
    events.after(CALM_MS / 2, () => {
      this.#isSetBackDue = false;
      const ageMs = dice.between(500, 6000);
      if (!this.#world.isFaulty || !etcd.setBack(ageMs)) return;
      this.#world.migrationChecker.setBack();
      this.#world.trace(`etcd set back by ${ageMs} ms`);
      this.operator.recoverSoon();
    });
  }

  /** A cut-over has come to a step. */
  onCutOver(step: string, { source, target }: CopyJob): void {
    const due = this.#atCutOver.filter((each) => each.step === step);
    this.#atCutOver = this.#atCutOver.filter((each) => each.step !== step);
    if (this.#world.isFaulty) for (const each of due) this.#strikeAt(each, { source, target });
  }

  #strikeAt(due: DueAtCutOver, { source, target }: { readonly source: string; readonly target: string }): void {
    const { dice, etcd, clients } = this.#world;
    this.#world.trace(`fault ${due.kind}: ${due.step}`);
    const led = this.#world.records().filter(({ keyspace, leader }) => leader !== undefined && keyspace === (due.isAtSource ? source : target));
    const leader = led.length === 0 ? undefined : this.#world.nodeOf(dice.pick(led).leader!.node);
    if (due.kind === 'clients hear late at cut-over') {
      // A node of the copy that has not heard of it either follows on, and so long the source stays.
      const late = [...clients.filter(() => dice.chance(0.6)), ...(leader !== undefined && !due.isAtSource ? [leader] : [])];
      return this.#links.cutFor(late.map(({ id }) => [ETCD, id] as const));
    }
    // Not in the midst of what is being done.
    this.#world.events.after(dice.below(8), () => {
      switch (due.kind) {
        case 'coordinator crash at cut-over':
          return this.#coordinator('coordinator crash');
        case 'etcd lossy at cut-over':
          etcd.isLossy = true;
          return this.#spells.later(() => {
            etcd.isLossy = false;
          });
        case 'etcd away at cut-over':
          etcd.isAway = true;
          return this.#spells.later(() => {
            etcd.isAway = false;
          });
        default:
          if (leader === undefined || leader.isDead) return;
          if (due.kind === 'leader crash at cut-over') this.#crash(leader.id);
          else if (due.kind === 'leader pause at cut-over') this.#pause(leader);
          else this.#links.isolate(leader.id, dice.pick([undefined, 'clients', 'clients', ETCD] as const));
      }
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
        const other = this.#links.otherThan(node.id);
        return this.#links.cutFor([
          [node.id, other],
          [other, node.id],
        ]);
      }
      case 'cut one way': {
        const other = this.#links.otherThan(node.id);
        return this.#links.cutFor(dice.chance(0.5) ? [[node.id, other]] : [[other, node.id]]);
      }
      case 'isolate leader':
      case 'isolate':
        return this.#links.isolate(node.id, dice.pick([undefined, ETCD, 'clients', 'clients', 'coordinators'] as const));
      case 'cut at swap':
        return this.#links.lurk();
      case 'isolate from clients only':
        return this.#links.cutFor(this.#world.clients.flatMap(({ id }) => [[node.id, id] as const, [id, node.id] as const]));
      case 'break':
        if (network.streams.size > 0) dice.pick([...network.streams]).break();
        return;
      case 'slow':
        network.setSlow(node.id, dice.between(5, 250));
        return this.#spells.later(() => network.setSlow(node.id, 0));
      case 'slow disk': {
        const disks = [...node.replicas()].flatMap(({ disk }) => disk ?? []);
        for (const disk of disks) disk.extraFlushMs = dice.between(20, 900);
        return this.#spells.later(() => {
          for (const disk of disks) disk.extraFlushMs = 0;
        });
      }
      case 'etcd lossy':
        etcd.isLossy = true;
        return this.#spells.later(() => {
          etcd.isLossy = false;
        });
      case 'etcd away':
        if (dice.chance(0.5)) return;
        etcd.isAway = true;
        return this.#spells.later(() => {
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
        for (const { term } of this.#world.coordinators) term?.request({ keyspace: KEYSPACE, partition: dice.below(this.#world.plan.partitionCount) });
        return;
      case 'coordinator crash at cut-over':
      case 'leader crash at cut-over':
      case 'leader pause at cut-over':
      case 'cut at cut-over':
      case 'etcd lossy at cut-over':
      case 'etcd away at cut-over':
      case 'clients hear late at cut-over':
        if (this.#atCutOver.length < AT_CUT_OVER_MAX) this.#atCutOver.push({ kind, step: kind.startsWith('clients') ? 'switch' : dice.pick(['freeze', 'drain', 'commit', 'switch']), isAtSource: dice.chance(0.5) });
        return;
      case 'drain':
        return this.operator.drain(node.id);
      default:
        return this.operator.join();
    }
  }

  #pause(process: SimProcess): void {
    process.pause();
    this.#spells.later(() => process.resume());
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
    this.#spells.later(() => this.#restart(id));
  }

  /** A leader is cut off, and who promised it a lease is back at once, as if it had promised nothing (R14). */
  #restartInsideALease(leader: string): void {
    const { dice, plan, events } = this.#world;
    if (!plan.isSync) return this.#crash(leader);
    this.#links.isolate(leader, 'clients');
    events.after(dice.between(1, 300), () => {
      const others = this.#world.nodes.filter(({ id }) => id !== leader);
      if (others.length === 0 || !this.#world.isFaulty) return;
      const { id } = dice.pick(others);
      this.#world.crashNode(id, true);
      this.#spells.later(() => this.#restart(id), dice.between(5, 150));
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
      const other = this.#links.otherThan(id);
      return this.#links.cutFor([[id, other] as const, [other, id] as const]);
    }
    this.#world.crashCoordinator(id);
    this.#spells.later(() => this.#world.startCoordinator(id));
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
