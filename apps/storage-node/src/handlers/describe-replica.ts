import type { HeldReplica } from '@atoll/contracts/atoll/v1/replication';
import type { HostedReplica } from '../hosted-replica.ts';

/** A replica as the coordinator and tools are told of it. */
export function describeReplica(hosted: HostedReplica): HeldReplica {
  const { state, role } = hosted.replica;
  const { record } = hosted.replica.record ?? {};
  const isLearner = record !== undefined && record.learners.some(({ replica }) => replica === state.identity.self.replica);
  const roleName = role.kind === 'leader' ? 'LEADER' : role.kind === 'idle' ? 'IDLE' : isLearner ? 'LEARNER' : 'FOLLOWER';
  return {
    keyspace: hosted.keyspace,
    partition: hosted.partition,
    replicaId: state.identity.self.replica,
    generation: { ...state.generation },
    end: { ...state.log.end },
    appliedSeq: state.appliedSeq,
    role: roleName,
    entries: state.store.entryCount,
    bytes: state.store.liveBytes,
    installed: state.isInstalled,
  };
}
