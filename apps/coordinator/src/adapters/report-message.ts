// Reports between the contract and the core.
import type { ProbeResponse, ReportResponse } from '@atoll/contracts/atoll/v1/heartbeat';
import type { MetadataMark as MetadataMarkMessage } from '@atoll/contracts/atoll/v1/replication';
import type { NodeReport, ProbeOutcome, ReportedMark } from '@atoll/core-membership';

export function toReportedMark({ revision, changeRevision, regressed }: MetadataMarkMessage): ReportedMark {
  return { mark: { revision, changeRevision }, reasons: regressed };
}

export function toNodeReport(message: ReportResponse): NodeReport {
  const { incarnation, loopLagMs, memoryUsed, diskError, diskFlushMs, etcdSilentMs, stuckOffices, stopped } = message;
  return {
    incarnation,
    loopLagMs,
    memoryUsed,
    diskError,
    diskFlushMs,
    etcdSilentMs,
    peers: message.peers.map(({ node, silentMs, refused }) => ({ node, silentMs, isRefused: refused })),
    stuckOffices,
    questions: message.questions.map(({ keyspace, partition, epoch, replicaId, node }) => ({ keyspace, partition, epoch, replica: replicaId, node })),
    stopped,
    metadata: message.metadata && toReportedMark(message.metadata),
  };
}

export function toProbeOutcome({ reached, refused, incarnation }: ProbeResponse): ProbeOutcome {
  if (reached) return { kind: 'ANSWERED', incarnation };
  return { kind: refused ? 'REFUSED' : 'SILENT' };
}
