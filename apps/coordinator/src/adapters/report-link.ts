// The coordinator's end of one stream of reports (Heartbeat.Report), on a connection of its own (R14).
import { credentials, type ClientDuplexStream } from '@grpc/grpc-js';
import { HeartbeatClient, type DiscardedWrites, type RecordNews, type RemovalAnswer, type ReportHello, type ReportRequest, type ReportResponse } from '@atoll/contracts/atoll/v1/heartbeat';
import type { NodeReport, ProbeOutcome } from '@atoll/core-membership';
import { callUnary, createChannelOptions, fromServiceError, probeTcp } from '@atoll/platform-grpc';
import { toNodeReport, toProbeOutcome } from './report-message.ts';

/** Beats without an answer: beyond them a stuck node is sent nothing more (I10). */
const UNANSWERED_MAX = 20;
/** Records in one beat, so that it stays small. */
const NEWS_PER_BEAT_MAX = 200;
const RETRY_MS_MIN = 50;
const RETRY_MS_MAX = 500;
/** On top of the time that the asked node itself may take, which it may need on a busy machine: an answer that comes late is an answer. */
const PROBE_CALL_MS = 1000;

export interface ReportLinkOptions {
  /** host:port of the node. */
  readonly address: string;
  readonly hello: ReportHello;
  /** Silence after which a new connection is tried, in ms: one that a cut has broken may not notice for minutes. */
  readonly renewMs: number;
  readonly nowMs: () => number;
  /** `beatMs`: from the sending of the beat to this answer. */
  readonly onReport: (report: NodeReport, beatMs: number) => void;
  /** Writes that are gone, as the node found; each once, unless another coordinator has heard of it. */
  readonly onDiscards: (discards: readonly DiscardedWrites[]) => void;
  /** The address refuses connections: evidence of a dead process (R30). */
  readonly onRefused: () => void;
  /** Why the stream ended. */
  readonly onProblem: (error: Error) => void;
}

interface News {
  readonly news: RecordNews;
  /** Beat of the present stream that has it; undefined while it is to be sent. */
  beat: number | undefined;
}

export class ReportLink {
  readonly #options: ReportLinkOptions;
  /** By record key: the newest news of a partition replaces older ones, so this is bounded by the partitions. */
  readonly #news = new Map<string, News>();
  /** By question. Answers are given again for as long as the question is asked, so they need not be kept. */
  readonly #answers = new Map<string, RemovalAnswer>();
  /** When each beat without an answer was sent. */
  readonly #sentMs = new Map<number, number>();
  #client: HeartbeatClient;
  #call: ClientDuplexStream<ReportRequest, ReportResponse> | undefined;
  /** What was taken in of the process that last told of discarded writes. */
  #discardsTaken = { incarnation: '', number: 0 };
  /** The number to answer it with; 0 until this stream knows whom it speaks with. */
  #discardsAnswer = 0;
  #isHelloDue = true;
  #beat = 0;
  /** When the node last answered, or the stream was opened. */
  #aliveMs = 0;
  #retryMs = RETRY_MS_MIN;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(options: ReportLinkOptions) {
    this.#options = options;
    this.#client = createClient(options.address);
    this.#open();
  }

  /** Asks for a report. Does nothing while the stream is down, or stuck. */
  beat(): void {
    const nowMs = this.#options.nowMs();
    if (this.#call !== undefined && nowMs - this.#aliveMs > this.#options.renewMs) this.#reopen();
    if (this.#call === undefined || this.#sentMs.size >= UNANSWERED_MAX) return;
    this.#beat += 1;
    this.#sentMs.set(this.#beat, nowMs);
    const hello = this.#isHelloDue ? this.#options.hello : undefined;
    this.#isHelloDue = false;
    const answers = [...this.#answers.values()];
    this.#answers.clear();
    this.#call.write({ hello, beat: this.#beat, records: this.#takeNews(), answers, discardsTaken: this.#discardsAnswer });
  }

  /** Records to tell with a beat that is sent at once; told again on the next stream when this one ends before the answer (R27). */
  tellRecords(records: ReadonlyMap<string, RecordNews>): void {
    for (const [key, news] of records) {
      if ((this.#news.get(key)?.news.modRevision ?? 0) < news.modRevision) this.#news.set(key, { news, beat: undefined });
    }
    this.beat();
  }

  /** Sent at once (R10). */
  answer(answer: RemovalAnswer): void {
    this.#answers.set(`${answer.keyspace}/${answer.partition}/${answer.replicaId}`, answer);
    this.beat();
  }

  /** Asks this node whether it reaches `address`. Never rejects. */
  async probe(address: string, timeoutMs: number): Promise<ProbeOutcome> {
    try {
      return toProbeOutcome(await callUnary(this.#client, 'probe', { address, timeoutMs }, { deadlineMs: timeoutMs + PROBE_CALL_MS }));
    } catch {
      return { kind: 'FAILED' };
    }
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#drop();
    this.#client.close();
  }

  #takeNews(): RecordNews[] {
    const taken: RecordNews[] = [];
    for (const each of this.#news.values()) {
      if (each.beat !== undefined) continue;
      each.beat = this.#beat;
      if (taken.push(each.news) === NEWS_PER_BEAT_MAX) break;
    }
    return taken;
  }

  #open(): void {
    if (this.#isClosed) return;
    const call = this.#client.report();
    this.#call = call;
    this.#isHelloDue = true;
    this.#discardsAnswer = 0;
    this.#aliveMs = this.#options.nowMs();
    call.on('data', (message: ReportResponse) => {
      if (this.#call === call) this.#take(message);
    });
    const onLost = (error?: Error): void => {
      if (this.#call !== call) return;
      this.#drop();
      if (error !== undefined) this.#options.onProblem(error);
      void this.#retry();
    };
    call.on('error', (error) => onLost(fromServiceError(error as Parameters<typeof fromServiceError>[0])));
    call.on('end', () => onLost());
    this.beat();
  }

  #take(message: ReportResponse): void {
    const nowMs = this.#options.nowMs();
    const sentMs = this.#sentMs.get(message.beat);
    if (sentMs === undefined) return;
    // Beats are answered in order; those that a node left out have no answer any more.
    for (const beat of this.#sentMs.keys()) if (beat <= message.beat) this.#sentMs.delete(beat);
    for (const [key, { beat }] of this.#news) if (beat !== undefined && beat <= message.beat) this.#news.delete(key);
    this.#aliveMs = nowMs;
    this.#retryMs = RETRY_MS_MIN;
    this.#options.onReport(toNodeReport(message), nowMs - sentMs);
    this.#takeDiscards(message);
    if ([...this.#news.values()].some(({ beat }) => beat === undefined)) this.beat();
  }

  /** Told until they are answered, so most come more than once. */
  #takeDiscards({ incarnation, discards }: ReportResponse): void {
    if (this.#discardsTaken.incarnation !== incarnation) this.#discardsTaken = { incarnation, number: 0 };
    const taken = this.#discardsTaken;
    const fresh = discards.filter(({ number }) => number > taken.number);
    taken.number = Math.max(taken.number, ...fresh.map(({ number }) => number));
    this.#discardsAnswer = taken.number;
    if (fresh.length > 0) this.#options.onDiscards(fresh);
  }

  /** The connection may be dead without a word: another one. */
  #reopen(): void {
    this.#drop();
    this.#client.close();
    this.#client = createClient(this.#options.address);
    this.#open();
  }

  #drop(): void {
    const call = this.#call;
    this.#call = undefined;
    this.#sentMs.clear();
    for (const each of this.#news.values()) each.beat = undefined;
    call?.on('error', () => undefined);
    call?.cancel();
  }

  /** A refused connection is news at once; whoever listens gets a new stream. */
  async #retry(): Promise<void> {
    const result = await probeTcp(this.#options.address, RETRY_MS_MAX);
    if (this.#isClosed) return;
    if (result === 'refused') this.#options.onRefused();
    this.#timer = setTimeout(() => (result === 'reached' ? this.#reopen() : void this.#retry()), this.#retryMs);
    this.#retryMs = Math.min(2 * this.#retryMs, RETRY_MS_MAX);
  }
}

function createClient(address: string): HeartbeatClient {
  return new HeartbeatClient(address, credentials.createInsecure(), createChannelOptions({ traffic: 'heartbeat' }));
}
