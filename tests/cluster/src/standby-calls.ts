// The service of standbys of a cluster's coordinator.
import { credentials } from '@grpc/grpc-js';
import { CreateStandbyRequest, PromoteStandbyRequest, StandbyClient, StandbyState, type StandbyStatus } from '@atoll/contracts/atoll/v1/standby';
import { eventually } from '@atoll/platform-etcd/testing';
import { callUnary, createChannelOptions } from '@atoll/platform-grpc';
import type { DevCluster } from './dev-cluster.ts';

const CALL_MS = 30_000;
const ASK_MS = 5000;
const FOLLOW_MS = 60_000;

export class StandbyCalls {
  readonly #client: StandbyClient;

  constructor(cluster: DevCluster) {
    this.#client = new StandbyClient(cluster.up.coordinators[0]!.address, credentials.createInsecure(), createChannelOptions());
  }

  async create(request: Partial<CreateStandbyRequest>): Promise<StandbyStatus[]> {
    return (await callUnary(this.#client, 'createStandby', CreateStandbyRequest.fromPartial(request), { deadlineMs: CALL_MS })).standbys;
  }

  async list(): Promise<StandbyStatus[]> {
    return (await callUnary(this.#client, 'listStandbys', { keyspace: '' }, { deadlineMs: ASK_MS })).standbys;
  }

  async show(keyspace: string): Promise<StandbyStatus> {
    return (await callUnary(this.#client, 'listStandbys', { keyspace }, { deadlineMs: ASK_MS })).standbys[0]!;
  }

  async promote(request: Partial<PromoteStandbyRequest>): Promise<StandbyStatus> {
    return (await callUnary(this.#client, 'promoteStandby', PromoteStandbyRequest.fromPartial(request), { deadlineMs: CALL_MS })).standby!;
  }

  async remove(keyspace: string): Promise<void> {
    await callUnary(this.#client, 'removeStandby', { keyspace }, { deadlineMs: CALL_MS });
  }

  /** It has all keys, is near its primary, and was found equal. */
  untilFollowing(keyspace: string): Promise<StandbyStatus> {
    return eventually(
      `${keyspace} follows its primary`,
      async () => {
        const standby = await this.show(keyspace);
        const { state, comparedEntries, differing, lagMs = Infinity, lagSeq } = standby;
        return state === StandbyState.STANDBY_STATE_FOLLOWING && comparedEntries !== undefined && differing === 0 && lagMs < 500 && lagSeq === 0 ? standby : undefined;
      },
      FOLLOW_MS,
    );
  }

  close(): void {
    this.#client.close();
  }
}
