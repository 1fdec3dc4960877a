// The comparison of targets with their leaders at a marker (R34), as a term of the coordinator asks for it.
import { judgeLeaves, nameOf, partitionName, type PartitionRecord } from '@atoll/core-membership';
import { targetsOf, type MigrationOperator, type MigrationProof } from '@atoll/core-migration';
import type { MarkedDigest } from '@atoll/core-replication';
import { slotOf } from '../names.ts';
import type { SimNode } from '../node/sim-node.ts';
import type { World } from '../world.ts';
import type { Term } from './term.ts';

/** A comparison that came to nothing is tried again after so long. */
const RETRY_MS = 500;
const TIMEOUT_MS = 2500;
const AT_ONCE = 2;
/** How long a replica waits for a marker. */
const WAIT_MS = 2000;

interface Attempt {
  readonly job: string;
  readonly stepSinceMs: number;
  verdict: MigrationProof | undefined;
  isRunning: boolean;
  atMs: number;
}

export class Proofs {
  readonly #world: World;
  readonly #term: Term;
  readonly #attempts = new Map<string, Attempt>();

  constructor(options: { world: World; term: Term }) {
    this.#world = options.world;
    this.#term = options.term;
  }

  verdictOf(operator: MigrationOperator): MigrationProof | undefined {
    return this.#attemptOf(operator)?.verdict;
  }

  isInQueue(operator: MigrationOperator): boolean {
    return operator.step === 'VERIFY' && this.#attemptOf(operator) === undefined;
  }

  tick(verifying: readonly { readonly operator: MigrationOperator; readonly record: PartitionRecord }[]): void {
    const names = new Set(verifying.map(({ record }) => nameOf(record)));
    for (const [name, { isRunning }] of this.#attempts) if (!names.has(name) && !isRunning) this.#attempts.delete(name);
    let running = [...this.#attempts.values()].filter(({ isRunning }) => isRunning).length;
    for (const { operator, record } of verifying) {
      if (running >= AT_ONCE) return;
      const known = this.#attempts.get(nameOf(record));
      const isOwn = known === this.#attemptOf(operator);
      if (known?.isRunning === true || (isOwn && known !== undefined && (known.verdict !== undefined || this.#term.nowMs - known.atMs < RETRY_MS))) continue;
      running += 1;
      this.#compare(operator, record);
    }
  }

  #attemptOf({ keyspace, partition, job, stepSinceMs }: MigrationOperator): Attempt | undefined {
    const attempt = this.#attempts.get(partitionName(keyspace, partition));
    return attempt?.job === job && attempt.stepSinceMs === stepSinceMs ? attempt : undefined;
  }

  #compare(operator: MigrationOperator, record: PartitionRecord): void {
    const { coordinator } = this.#term;
    const attempt: Attempt = { job: operator.job, stepSinceMs: operator.stepSinceMs, verdict: undefined, isRunning: true, atMs: this.#term.nowMs };
    this.#attempts.set(nameOf(record), attempt);
    const end = (verdict?: MigrationProof): void => {
      if (!attempt.isRunning) return;
      Object.assign(attempt, { verdict, isRunning: false, atMs: this.#term.nowMs });
      this.#term.wake();
    };
    coordinator.after(TIMEOUT_MS, () => end());
    this.#mark(record, (leader) => {
      const targets = record.inSync.filter(({ replica, node }) => replica !== record.leader!.replica && targetsOf(operator).includes(node));
      // A target that leads is what the others are compared with.
      const awaited = new Set(targetsOf(operator).filter((node) => node !== record.leader!.node));
      let equal = 64;
      const done = (): void => {
        const { epoch, seq } = leader.position;
        this.#world.migrationChecker.proved(record, { epoch, seq });
        end({ epoch, seq, entries: leader.count, equal, repaired: 0, comparedEntries: 0, replicas: record.inSync.filter(({ node }) => targetsOf(operator).includes(node)).map(({ replica }) => replica) });
      };
      if (awaited.size === 0) return done();
      for (const { node, replica } of targets) {
        this.#digestAt(node, { record, replica }, leader, (digest) => {
          const [judged] = judgeLeaves({ node: '', leaves: [...leader.leaves] }, [{ node, leaves: [...digest.leaves] }]);
          if (judged!.outdated.length + judged!.contested.length > 0) this.#world.checker.compared(record, node, judged!.outdated);
          equal = Math.min(equal, 64 - judged!.outdated.length);
          awaited.delete(node);
          if (awaited.size === 0) done();
        });
      }
    });
  }

  #mark(record: PartitionRecord, answer: (digest: MarkedDigest) => void): void {
    const { coordinator, revision } = this.#term;
    const { network } = this.#world;
    const node = record.leader && this.#world.nodeOf(record.leader.node);
    if (node === undefined) return;
    network.send(coordinator, node, () => {
      const hosted = node.hosted(slotOf(record));
      const leader = hosted?.replica.leader;
      if (hosted === undefined || !node.reports.accepts(revision) || leader?.epoch !== record.epoch) return;
      const marked = leader.putMarker(node.moment());
      if (marked.kind === 'marked') this.#tell(node, slotOf(record), marked.position, answer);
    });
  }

  #digestAt(id: string, { record, replica }: { record: PartitionRecord; replica: string }, { position }: MarkedDigest, answer: (digest: MarkedDigest) => void): void {
    const node = this.#world.nodeOf(id);
    if (node === undefined) return;
    this.#world.network.send(this.#term.coordinator, node, () => {
      const hosted = node.hosted(slotOf(record));
      if (hosted?.member.replica !== replica || hosted.state.generation.id !== record.generation.id) return;
      this.#tell(node, slotOf(record), position, answer);
    });
  }

  /** The replica's digest at the marker, when it has it. */
  #tell(node: SimNode, slot: number, position: MarkedDigest['position'], answer: (digest: MarkedDigest) => void): void {
    const { state } = node.hosted(slot)!;
    const tell = (digest: MarkedDigest | undefined): void => {
      if (digest !== undefined) this.#world.network.send(node, this.#term.coordinator, () => answer(digest));
    };
    const present = state.marks.get(position);
    if (present !== undefined || state.appliedSeq >= position.seq) return tell(present);
    const callOff = state.marks.wait(position, tell);
    if (callOff !== undefined) node.after(WAIT_MS, callOff);
  }
}

