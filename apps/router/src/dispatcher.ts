import { AtollError, type ErrorReason } from '@atoll/core-errors';
import { failSpan, type Tracing } from '@atoll/platform-telemetry';
import { RESULT } from '@atoll/platform-wire';
import type { ClusterChange } from '@atoll/platform-etcd';
import { NodeLink, type LinkListener, type NodeLinkOptions } from './adapters/node-link.ts';
import { DeadlineWheel, TICK_MS } from './domain/deadline-wheel.ts';
import { answeredTooEarly, deadlineError, fromErrorDetail, inDoubt, isForgotten, overtaken, shuttingDown, unexpectedAnswer } from './domain/operation-errors.ts';
import { FIELDS } from './domain/operation-fields.ts';
import { PartitionProbes, isSamePartition } from './domain/partition-probes.ts';
import { mergedSessionTail } from './domain/result-session.ts';
import { RetryBudget, type RetryBudgetOptions } from './domain/retry-budget.ts';
import { REPEAT_WINDOW_MS, judgeFailure, leavesDoubt, retryPauseMs, type Loss } from './domain/retry-rules.ts';
import { OP_STATE, type RoutedOperation } from './domain/routed-operation.ts';
import type { KeyspaceRoute, PartitionRoute, RoutingTable } from './domain/routing-table.ts';
import type { KeyOrder } from './domain/key-order.ts';
import type { RouterEvents } from './events.ts';
import type { RouterMetrics } from './metrics.ts';

export interface DispatcherOptions {
  readonly table: RoutingTable;
  readonly link: Pick<NodeLinkOptions, 'inFlightOperationsMax' | 'inFlightBytesMax' | 'queuedOperationsMax' | 'queuedBytesMax'>;
  /** Operations and bytes of requests that the whole router holds at most (I10). */
  readonly operationsMax: number;
  readonly bytesMax: number;
  /** Bytes of large values that may be on their way from nodes (I10). */
  readonly resultBytesMax: number;
  readonly retryBudget: RetryBudgetOptions;
  readonly tracing: Tracing;
  readonly metrics: RouterMetrics;
  readonly events: RouterEvents;
  /** Monotonic, in milliseconds. */
  readonly nowMs: () => number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

/** How long a node that leads no more has for answers to writes that it took, in ms. A guess: far above a turn of its loop. */
const FORMER_LEADER_MS = 100;
/** Free changes of address per operation: beyond it, table and nodes contradict each other and pauses are due. */
const REDIRECTS_MAX = 5;

/**
 * Takes operations from arrival to answer: picks the node, repeats what may be repeated inside the deadline, and
 * calls `onDone` exactly once, possibly before `submit` returns. All state is in the operations and the lists that
 * they stand in.
 */
export class Dispatcher implements LinkListener {
  readonly #options: DispatcherOptions;
  readonly #table: RoutingTable;
  readonly #links = new Map<string, NodeLink>();
  readonly #wheel: DeadlineWheel;
  readonly #budget: RetryBudget;
  /** Operations without a leader to go to, or in the pause before their next try. */
  readonly #waiting = new Set<RoutedOperation>();
  readonly #probes = new PartitionProbes();
  readonly #timer: NodeJS.Timeout;
  /** When writes that are still at nodes which lead no more are sent again; Infinity: there are none. */
  #moveWritesAtMs = Infinity;
  #isDraining = false;
  #isClosed = false;
  #bytes = 0;
  #resultBytes = 0;

  constructor(options: DispatcherOptions) {
    this.#options = options;
    this.#table = options.table;
    const nowMs = options.nowMs();
    this.#wheel = new DeadlineWheel(nowMs);
    this.#budget = new RetryBudget(options.retryBudget, nowMs);
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    options.metrics.observe({
      links: () => this.#links.values(),
      underWay: () => this.#wheel.count,
      waiting: () => this.#waiting.size,
    });
  }

  /** Operations under way. */
  get count(): number {
    return this.#wheel.count;
  }

  /** Starts an operation. Throws OVERLOADED or SHUTTING_DOWN, and then `onDone` is not called. */
  submit(operation: RoutedOperation, order?: KeyOrder): void {
    if (this.#isClosed) throw shuttingDown();
    const { operationsMax, bytesMax } = this.#options;
    if (this.#wheel.count >= operationsMax || (this.#bytes > 0 && this.#bytes + operation.wholeBytes > bytesMax)) {
      this.#options.metrics.finished(operation.kind, 'OVERLOADED', 0);
      throw new AtollError('OVERLOADED', 'the router holds as many operations as it may');
    }
    this.#bytes += operation.wholeBytes;
    this.#budget.earn();
    this.#wheel.add(operation);
    if (order === undefined || order.enter(operation)) this.#start(operation);
  }

  /** A part of the operation's announced value arrived. */
  addPart(operation: RoutedOperation, data: Buffer): void {
    operation.valueParts!.push(data);
    operation.bytes += data.length;
    if (operation.state === OP_STATE.COLLECTING && !operation.isIncomplete) this.#send(operation);
  }

  /**
   * The caller does not wait any more for any operation of its stream. What is at a node already goes on there,
   * the rest never leaves. `onDone` is not called.
   */
  abandon(operations: Iterable<RoutedOperation>): void {
    for (const operation of operations) {
      if (operation.state === OP_STATE.DONE) continue;
      operation.order = undefined; // nothing may be let go by the end of its predecessor
      this.#leaveLists(operation);
      endClientSpan(operation, undefined);
      this.#probes.end(operation);
      this.#options.metrics.finished(operation.kind, 'CANCELLED', this.#options.nowMs() - operation.startedAtMs);
    }
  }

  /** An error that is the caller's: the operation ends with it. */
  fail(operation: RoutedOperation, error: AtollError): void {
    this.#finish(operation, error, false);
  }

  /** The table changed. */
  onChanges(changes: readonly ClusterChange[]): void {
    let isWide = false;
    for (const change of changes) {
      if (change.kind === 'partition') this.#table.refreshPartition(change.keyspace, change.partition);
      else if (change.kind !== 'coordinator') isWide = true;
    }
    if (isWide) this.#table.refreshAll();
    this.#dropLinks();
    this.#moveReads();
    for (const operation of this.#waiting) {
      this.#followMove(operation);
      if (this.#hasNewTarget(operation)) this.#retry(operation);
    }
  }

  /** What was asked of a keyspace whose place another one has taken goes to that one (R37). Not to be called of a probe. */
  #followMove(operation: RoutedOperation): void {
    const route = this.#movedTo(operation);
    if (route !== undefined) operation.moveTo(route);
  }

  #movedTo({ keyspaceName, keyspace }: RoutedOperation): KeyspaceRoute | undefined {
    if (!this.#table.hasMoves) return undefined;
    const route = this.#table.keyspace(keyspaceName);
    return route === undefined || route.spec.id === keyspace.spec.id ? undefined : route;
  }

  /** The link to a node, for calls beside the Execute stream. Throws SHUTTING_DOWN after `close`. */
  linkTo(address: string): NodeLink {
    if (this.#isClosed) throw shuttingDown();
    let link = this.#links.get(address);
    if (link === undefined) {
      link = new NodeLink({ ...this.#options.link, address, nowMs: this.#options.nowMs, listener: this });
      this.#links.set(address, link);
    }
    return link;
  }

  /** The node to ask for a partition: the leader, or a replica, near if there is one; empty when there is none at the moment. */
  targetOf(route: PartitionRoute, needsLeader: boolean): string {
    if (needsLeader || route.replicas.length === 0) return route.leader;
    const replicas = route.near.length > 0 ? route.near : route.replicas;
    const { random } = this.#options;
    // The less busy of two taken at random (Mitzenmacher, "The power of two choices", 1996).
    const first = replicas[Math.floor(random() * replicas.length)]!;
    const second = replicas[Math.floor(random() * replicas.length)]!;
    return (this.#links.get(second)?.load ?? 0) < (this.#links.get(first)?.load ?? 0) ? second : first;
  }

  /** From now on nothing waits for a leader or is repeated: callers hear SHUTTING_DOWN and go to another router. */
  drain(): void {
    this.#isDraining = true;
    for (const operation of this.#waiting) this.#finish(operation, shuttingDown(), false);
  }

  /** Ends what is left: reads fail, writes that a node may have are in doubt. */
  close(): void {
    this.#isClosed = true;
    this.drain();
    clearInterval(this.#timer);
    for (const link of this.#links.values()) link.close();
    this.#links.clear();
  }

  onResult(operation: RoutedOperation, kind: number, body: Buffer): void {
    if (kind === RESULT.ERROR) return this.#onRefused(operation, body);
    if (kind !== operation.kind - 1) {
      return this.#finish(operation, unexpectedAnswer(operation), operation.isWrite);
    }
    if (operation.order?.isTooEarly(operation) === true) return this.#failTry(operation, 'PARTITION_UNAVAILABLE', answeredTooEarly());
    operation.resultBody = body;
    if (operation.session.length > 0) {
      try {
        operation.resultTail = mergedSessionTail(operation, body);
      } catch {
        return this.#finish(operation, unexpectedAnswer(operation), operation.isWrite);
      }
    }
    this.#finish(operation, undefined, true);
  }

  onLargeResult(operation: RoutedOperation): void {
    this.#resultBytes += operation.resultValueBytes;
    if (this.#resultBytes <= this.#options.resultBytesMax || this.#resultBytes === operation.resultValueBytes) return;
    this.#finish(operation, new AtollError('OVERLOADED', 'too many large values are on their way at once'), false);
  }

  onLost(operation: RoutedOperation, handedOver: boolean, cause: string): void {
    const failure = new AtollError('PEER_UNAVAILABLE', `the connection to the storage node failed: ${cause}`);
    this.#failTry(operation, handedOver ? 'STREAM_LOST' : 'NOT_HANDED_OVER', failure);
  }

  onConnection(address: string, connected: boolean, cause: string): void {
    if (connected) this.#options.events.nodeConnected(address);
    else this.#options.events.nodeLost(address, cause);
  }

  onBatch(operations: number): void {
    this.#options.metrics.batchOperations.record(operations);
  }

  #start(operation: RoutedOperation): void {
    if (operation.isIncomplete) operation.state = OP_STATE.COLLECTING;
    else this.#send(operation);
  }

  #send(operation: RoutedOperation): void {
    if (this.#isClosed) return this.#finish(operation, shuttingDown(), false);
    if (operation.attempts === 0) this.#followMove(operation);
    const route = operation.keyspace.partitions[operation.partition]!;
    const target = this.targetOf(route, operation.needsLeader || operation.fallBackToLeader);
    if (target === '') return this.#wait(operation, Infinity);
    operation.attempts += 1;
    operation.target = target;
    if (operation.span !== undefined) this.#startClientSpan(operation, target);
    if (this.linkTo(target).submit(operation)) return;
    this.#finish(operation, new AtollError('OVERLOADED', 'too many operations wait for the storage node'), false);
  }

  #startClientSpan(operation: RoutedOperation, target: string): void {
    const span = this.#options.tracing.startClientSpan(`atoll.v1.Cache/Execute ${FIELDS[operation.kind]!.name}`, operation.span);
    span?.setAttributes({
      'atoll.keyspace': operation.keyspace.spec.name,
      'atoll.partition': operation.partition,
      'server.address': target,
      'atoll.attempt': operation.attempts,
    });
    operation.clientSpan = span;
  }

  #wait(operation: RoutedOperation, retryAtMs: number): void {
    if (this.#isDraining) return this.#finish(operation, shuttingDown(), false);
    operation.state = OP_STATE.WAITING;
    operation.retryAtMs = retryAtMs;
    if (retryAtMs === Infinity) operation.target = ''; // whoever leads next is new
    this.#waiting.add(operation);
  }

  #retry(operation: RoutedOperation): void {
    this.#waiting.delete(operation);
    this.#send(operation);
  }

  /** Whether another node than the one that failed is known to lead; going there adds no load to the one in trouble. */
  #hasNewTarget(operation: RoutedOperation): boolean {
    const { leader } = operation.keyspace.partitions[operation.partition]!;
    return leader !== '' && leader !== operation.target;
  }

  #onRefused(operation: RoutedOperation, body: Buffer): void {
    const failure = fromErrorDetail(body);
    let isNewsDue = false;
    const cutOver = failure.metadata['not_applied_for'];
    if (cutOver !== undefined) this.#noteFrozen(operation, cutOver);
    if (failure.reason === 'NOT_LEADER') {
      const epoch = Number(failure.metadata['epoch']);
      const leaderAddress = failure.metadata['leader_address'] ?? '';
      if (Number.isSafeInteger(epoch)) this.#table.takeHint(operation.keyspace, operation.partition, { epoch, leaderAddress });
      isNewsDue = epoch < operation.keyspace.partitions[operation.partition]!.epoch;
    }
    // The node has not heard yet that the copy has the place of its source (R37).
    const isCopyOver = failure.reason === 'KEYSPACE_COPYING' && operation.keyspace.spec.cutOver !== undefined;
    if (isCopyOver) return this.#failTry(operation, 'PARTITION_UNAVAILABLE', new AtollError('PARTITION_UNAVAILABLE', failure.message), true);
    this.#failTry(operation, failure.reason, failure, isNewsDue);
  }

  /** It is frozen for a cut-over: whoever is in doubt there asks once, since the copy will not know (R37). */
  #noteFrozen(operation: RoutedOperation, cutOver: string): void {
    operation.notAppliedFor = cutOver;
    for (const other of this.#waiting) {
      if (other.mayHaveHappened && other.notAppliedFor !== cutOver && isSamePartition(other, operation)) this.#retry(other);
    }
  }

  #failTry(operation: RoutedOperation, cause: ErrorReason | Loss, failure: AtollError, isNewsDue = false): void {
    const wasAtLeader = operation.needsLeader || operation.fallBackToLeader;
    const verdict = judgeFailure({ cause, wasAtLeader });
    // A plain failure promises that a write got no seq (R20); after these it may have.
    if (operation.isWrite && leavesDoubt(cause)) operation.noteDoubt(operation.sentAtMs);
    if (verdict === 'fail' || isForgotten(failure)) return this.#finish(operation, failure, false);
    if (operation.wasOvertaken) return this.#finish(operation, operation.mayHaveHappened ? overtaken() : failure, false);
    if (operation.mayHaveHappened && this.#options.nowMs() - operation.firstSentAtMs > REPEAT_WINDOW_MS) return this.#finish(operation, failure, false);
    if (this.#isDraining) return this.#finish(operation, shuttingDown(), false);
    this.#options.metrics.repeated(cause);
    endClientSpan(operation, failure);
    operation.lastFailure = failure;
    operation.isPartitionTrouble = failure.reason !== 'OVERLOADED';
    this.#probes.end(operation);
    this.#followMove(operation);
    if (operation.resultParts !== undefined) {
      this.#resultBytes -= operation.resultValueBytes;
      operation.resultParts = undefined;
    }
    if (verdict === 'leader') operation.fallBackToLeader = true;
    const nowMs = this.#options.nowMs();
    const goesAtOnce = operation.attempts <= REDIRECTS_MAX && (verdict === 'leader' || this.#hasNewTarget(operation));
    operation.retryAtMs = goesAtOnce ? nowMs : nowMs + retryPauseMs(operation.attempts, this.#options.random(), isNewsDue);
    const next = operation.order === undefined ? operation : operation.order.refuse(operation);
    if (next !== operation) operation.state = OP_STATE.HELD;
    if (next !== undefined) this.#resume(next, nowMs);
  }

  /** An operation's turn has come: its first try, or its next one. */
  #resume(operation: RoutedOperation, nowMs: number): void {
    if (operation.lastFailure === undefined) this.#start(operation);
    else if (operation.retryAtMs <= nowMs) this.#send(operation);
    else this.#wait(operation, operation.retryAtMs);
  }

  #tick(): void {
    const nowMs = this.#options.nowMs();
    this.#wheel.advance(nowMs, this.#expire);
    if (nowMs >= this.#moveWritesAtMs) this.#moveWrites();
    for (const operation of this.#waiting) {
      if (operation.retryAtMs <= nowMs && this.#mayRetry(operation, nowMs)) this.#retry(operation);
    }
  }

  /** At the node that refused, one operation tries for all that wait for its partition. */
  #mayRetry(operation: RoutedOperation, nowMs: number): boolean {
    if (this.#hasNewTarget(operation)) return true;
    if (operation.deadlineAtMs - nowMs < lastTryMs(operation)) return false;
    operation.isHeldByBudget = false;
    if (operation.isPartitionTrouble && this.#probes.isTaken(operation)) return false;
    if (!this.#budget.spend(nowMs)) {
      operation.isHeldByBudget = true;
      return false;
    }
    if (operation.isPartitionTrouble) this.#probes.begin(operation);
    return true;
  }

  /** An operation that tried for others is over: when it was served, so will they be. */
  #endProbe(operation: RoutedOperation): void {
    if (!this.#probes.end(operation) || operation.error !== undefined) return;
    for (const other of this.#waiting) if (other.isPartitionTrouble && isSamePartition(other, operation)) this.#retry(other);
  }

  readonly #expire = (operation: RoutedOperation): void => {
    const isAtNode = operation.state === OP_STATE.SENT;
    this.#finish(operation, deadlineError(operation, this.#links.get(operation.target)?.isConnected === true), isAtNode && operation.isWrite);
  };

  #finish(operation: RoutedOperation, failure: AtollError | undefined, tookEffect: boolean): void {
    if (operation.state === OP_STATE.DONE) return;
    // That a repeat failed says nothing about its first sending (R20).
    const isDoubt = failure !== undefined && operation.mayHaveHappened;
    const error = isDoubt && failure.reason !== 'WRITE_IN_DOUBT' ? inDoubt(failure) : failure;
    this.#leaveLists(operation);
    operation.error = error;
    endClientSpan(operation, error);
    this.#options.metrics.finished(operation.kind, error?.reason ?? 'OK', this.#options.nowMs() - operation.startedAtMs);
    operation.onDone(operation);
    this.#settle(operation, tookEffect || isDoubt);
    this.#endProbe(operation);
  }

  #leaveLists(operation: RoutedOperation): void {
    this.#wheel.remove(operation);
    if (operation.state === OP_STATE.WAITING) this.#waiting.delete(operation);
    operation.holder?.drop(operation);
    operation.state = OP_STATE.DONE;
    this.#bytes -= operation.wholeBytes;
    if (operation.resultParts !== undefined) this.#resultBytes -= operation.resultValueBytes;
  }

  /** Lets go what waited for this operation on its key (R26). */
  #settle(operation: RoutedOperation, tookEffect: boolean): void {
    if (operation.order === undefined) return;
    const { overtaken: earlierOnes, released } = operation.order.settle(operation, tookEffect);
    for (const earlier of earlierOnes) this.#finish(earlier, earlier.mayHaveHappened ? overtaken() : earlier.lastFailure, false);
    if (released.length === 0) return;
    const nowMs = this.#options.nowMs();
    for (const next of released) this.#resume(next, nowMs);
  }

  /** Whether it is at a node that leads no more, or of a keyspace whose place another one has taken. */
  #isMisplaced(operation: RoutedOperation, address: string): boolean {
    if (this.#movedTo(operation) !== undefined) return true;
    if (!operation.needsLeader && !operation.fallBackToLeader) return false;
    const { leader } = operation.keyspace.partitions[operation.partition]!;
    return leader !== '' && leader !== address;
  }

  /** Reads on their way to a node that leads no more go to the new leader; so do writes that were not sent yet. */
  #moveReads(): void {
    for (const link of this.#links.values()) {
      for (const operation of link.operations()) {
        if (!this.#isMisplaced(operation, link.address)) continue;
        if (operation.isWrite && operation.state === OP_STATE.SENT) {
          this.#moveWritesAtMs = Math.min(this.#moveWritesAtMs, this.#options.nowMs() + FORMER_LEADER_MS);
          continue;
        }
        link.drop(operation);
        this.#failTry(operation, 'NOT_HANDED_OVER', new AtollError('NOT_LEADER', 'another node leads the partition now'));
      }
    }
  }

  /** Writes without an answer from a node that leads no more go to the new leader, which tells whether they happened (R21). */
  #moveWrites(): void {
    this.#moveWritesAtMs = Infinity;
    for (const link of this.#links.values()) {
      for (const operation of link.operations()) {
        if (!operation.isWrite || operation.state !== OP_STATE.SENT || !this.#isMisplaced(operation, link.address)) continue;
        link.drop(operation);
        this.#failTry(operation, 'STREAM_LOST', new AtollError('NOT_LEADER', 'another node leads the partition now'));
      }
    }
  }

  #dropLinks(): void {
    const wanted = this.#table.addresses();
    for (const [address, link] of this.#links) {
      if (wanted.has(address) || link.load > 0) continue;
      this.#links.delete(address);
      link.close();
    }
  }
}

/**
 * Time before the deadline in which nothing is repeated any more: a plain refusal in hand is worth more than a write
 * in doubt.
 */
const lastTryMs = ({ deadlineAtMs, startedAtMs }: RoutedOperation): number => Math.min(50, (deadlineAtMs - startedAtMs) / 4);

function endClientSpan(operation: RoutedOperation, error: AtollError | undefined): void {
  const span = operation.clientSpan;
  if (span === undefined) return;
  if (error !== undefined) failSpan(span, error);
  span.end();
  operation.clientSpan = undefined;
}
