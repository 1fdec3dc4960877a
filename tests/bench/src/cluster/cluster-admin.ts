import { credentials } from '@grpc/grpc-js';
import { AdminClient } from '@atoll/contracts/atoll/v1/admin';
import { StartMigrationRequest, type Migration, type PartitionMigration } from '@atoll/contracts/atoll/v1/migration';
import { callUnary, createChannelOptions } from '@atoll/platform-grpc';
import type { DevCluster } from './dev-cluster.ts';

const DEADLINE_MS = 10_000;
const PATIENCE_MS = 30_000;
const AGAIN_MS = 50;

/** What a bench asks of the elected coordinator. */
export class ClusterAdmin {
  readonly #clients: readonly AdminClient[];

  constructor({ coordinators }: DevCluster) {
    this.#clients = coordinators.map(({ address }) => new AdminClient(address, credentials.createInsecure(), createChannelOptions()));
  }

  /** Id of the elected coordinator. */
  async elected(): Promise<string> {
    return (await this.#ask((admin) => callUnary(admin, 'getCluster', {}, { deadlineMs: DEADLINE_MS }))).coordinator;
  }

  async migrations(): Promise<readonly Migration[]> {
    return (await this.#ask((admin) => callUnary(admin, 'listMigrations', { limit: 200, active: false }, { deadlineMs: DEADLINE_MS }))).migrations;
  }

  async partitionsOf(migration: string): Promise<readonly PartitionMigration[]> {
    return (await this.#ask((admin) => callUnary(admin, 'getMigration', { id: migration }, { deadlineMs: DEADLINE_MS }))).partitions;
  }

  /** Replicas of `from` go to `to`, but for partitions that it has. */
  async move(from: string, to: string): Promise<void> {
    const request = StartMigrationRequest.fromPartial({ from, to, id: `${from}-to-${to}-${Date.now()}` });
    await this.#ask((admin) => callUnary(admin, 'startMigration', request, { deadlineMs: DEADLINE_MS }));
  }

  /** `undo`: the node is wanted again. */
  async drain(node: string, undo: boolean): Promise<void> {
    await this.#ask((admin) => callUnary(admin, 'drainNode', { node, undo }, { deadlineMs: DEADLINE_MS }));
  }

  close(): void {
    for (const client of this.#clients) client.close();
  }

  /** Whichever answers; again while nobody is elected, or etcd is slow. All that is asked can be asked twice. */
  async #ask<T>(call: (admin: AdminClient) => Promise<T>): Promise<T> {
    const deadlineMs = performance.now() + PATIENCE_MS;
    for (;;) {
      let failure: unknown;
      for (const client of this.#clients) {
        try {
          return await call(client);
        } catch (error) {
          failure = error;
        }
      }
      if (performance.now() > deadlineMs) throw failure;
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  }
}
