import type { RecordNews, ReportRequest, ReportResponse } from '@atoll/contracts/atoll/v1/heartbeat';
import { AtollError, invalidArgument } from '@atoll/core-errors';
import type { VersionedRecord } from '@atoll/core-membership';
import { parsePartitionRecord, type GuardedMetadataStore } from '@atoll/platform-etcd';
import type { BidiStreamHandler } from '@atoll/platform-grpc';
import type { ReplicaHost } from '../replica-host.ts';
import type { Discards } from '../discards/discards.ts';
import type { CoordinatorFence } from './coordinator-fence.ts';
import type { RemovalQuestions } from './removal-questions.ts';
import type { Reporter } from './reporter.ts';

export interface ReportStreamsOptions {
  readonly clusterId: string;
  readonly host: ReplicaHost;
  readonly fence: CoordinatorFence;
  readonly store: Pick<GuardedMetadataStore, 'isRegressed'>;
  readonly reporter: Reporter;
  readonly questions: RemovalQuestions;
  readonly discards: Pick<Discards, 'taken'>;
  /** A record that the coordinator has just written; the watch may be behind (R27). */
  readonly onNews: (record: VersionedRecord) => void;
}

/**
 * Handler of `Heartbeat.Report`: each beat of the elected coordinator is answered in the turn in which it is read. A
 * stream ends when a later coordinator was seen (R11). While etcd is behind every coordinator is answered, and none is
 * obeyed: the tokens of those that were elected since are lower than those of before (R13).
 */
export function createReportHandler(options: ReportStreamsOptions): BidiStreamHandler<ReportRequest, ReportResponse> {
  const { clusterId, host, fence, store, reporter, questions, discards, onNews } = options;

  const open = ({ hello }: ReportRequest): number => {
    if (hello === undefined) throw invalidArgument('hello', 'the first message must have it');
    if (hello.clusterId !== clusterId) {
      throw new AtollError('WRONG_CLUSTER', `coordinator ${hello.coordinatorId} belongs to cluster ${hello.clusterId}, this node to ${clusterId}`);
    }
    return hello.coordinatorRevision;
  };

  return (call, context) =>
    new Promise((resolve, reject) => {
      const reports = reporter.open();
      let revision: number | undefined;
      let isFenced = false;
      let isEnded = false;
      const stopListening = fence.onLater(() => {
        if (isFenced) end(new AtollError('STALE_FENCING_TOKEN', 'a later coordinator was elected'));
      });
      const end = (error?: Error): void => {
        if (isEnded) return;
        isEnded = true;
        stopListening();
        reports.close();
        if (error === undefined) resolve();
        else reject(error);
      };
      call.on('data', (request: ReportRequest) => {
        if (isEnded) return;
        try {
          if (revision === undefined) revision = open(request);
          else if (request.hello !== undefined) throw invalidArgument('hello', 'comes once, first');
          if (!store.isRegressed) {
            fence.accept(revision);
            isFenced = true;
            discards.taken(request.discardsTaken);
            for (const news of request.records) onNews(parseNews(news));
          }
          const nowMs = performance.now();
          for (const answer of request.answers) questions.onAnswer(host.replica(answer.keyspace, answer.partition), answer, nowMs);
          // A coordinator that does not read its reports gets none: nothing heaps up here (I10).
          if (!call.writableNeedDrain) call.write(reports.report(request.beat, nowMs));
        } catch (error) {
          end(error as Error);
        }
      });
      call.on('end', () => end());
      call.on('error', (error) => end(error));
      context.signal.addEventListener('abort', () => end(context.signal.reason as Error), { once: true });
    });
}

function parseNews({ record, modRevision }: RecordNews): VersionedRecord {
  const parsed = parsePartitionRecord(record);
  if (parsed.kind !== 'parsed') throw invalidArgument('records', parsed.problem);
  return { record: parsed.value, modRevision };
}
