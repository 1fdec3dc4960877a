// What jobs ask of the cluster: of the elected coordinator, and of the nodes that lead a keyspace. What changes something there
// belongs to the trace of the job.
import { credentials } from '@grpc/grpc-js';
import { AdminClient } from '@atoll/contracts/atoll/v1/admin';
import { CopyClient } from '@atoll/contracts/atoll/v1/copy';
import type { GetMigrationResponse, Migration, StartMigrationRequest } from '@atoll/contracts/atoll/v1/migration';
import { AtollError, isAtollError } from '@atoll/core-errors';
import { resolveKeyspace, type KeyspaceSpec } from '@atoll/core-membership';
import type { ClusterView } from '@atoll/platform-etcd';
import { callUnary, createChannelOptions } from '@atoll/platform-grpc';
import { traceparentOf } from '@atoll/platform-telemetry';
import { mayPass } from './patience.ts';

const CALL_MS = 5000;
/** For what waits for leaders, or asks other services. */
const LONG_CALL_MS = 20_000;

/** Failures that pass when a coordinator is elected, and those that pass anyway. */
export const mayPassInCluster = (error: unknown): boolean => mayPass(error) || (isAtollError(error) && (error.reason === 'NOT_COORDINATOR' || error.reason === 'SOURCE_UNREACHABLE'));

export class ClusterCalls {
  readonly #view: ClusterView;
  readonly #signal: AbortSignal;
  #admin: { readonly address: string; readonly client: AdminClient } | undefined;

  constructor(view: ClusterView, signal: AbortSignal) {
    this.#view = view;
    this.#signal = signal;
  }

  /** By its name or another one that it has; undefined: there is none. */
  keyspace(name: string): KeyspaceSpec | undefined {
    return resolveKeyspace(this.#view.keyspaces(), name);
  }

  async start(request: StartMigrationRequest): Promise<Migration> {
    const { migration } = await callUnary(this.#client(), 'startMigration', request, { deadlineMs: LONG_CALL_MS, signal: this.#signal, traceparent: traceparentOf() });
    return migration!;
  }

  /** Undefined: there is none of that id. */
  async get(id: string): Promise<GetMigrationResponse | undefined> {
    try {
      return await callUnary(this.#client(), 'getMigration', { id }, { deadlineMs: CALL_MS, signal: this.#signal });
    } catch (error) {
      if (isAtollError(error) && error.reason === 'MIGRATION_NOT_FOUND') return undefined;
      throw error;
    }
  }

  async cancel(id: string): Promise<void> {
    await callUnary(this.#client(), 'cancelMigration', { id }, { deadlineMs: CALL_MS, signal: this.#signal, traceparent: traceparentOf() });
  }

  async cutOver(id: string, maxPauseMs: number): Promise<Migration> {
    const { migration } = await callUnary(this.#client(), 'cutOverMigration', { id, maxPauseMs }, { deadlineMs: maxPauseMs + CALL_MS, signal: this.#signal, traceparent: traceparentOf() });
    return migration!;
  }

  async freeze(name: string, note: string): Promise<void> {
    await callUnary(this.#client(), 'freezeKeyspace', { name, note }, { deadlineMs: LONG_CALL_MS, signal: this.#signal, traceparent: traceparentOf() });
  }

  /** As the coordinator has it. Throws KEYSPACE_NOT_FOUND. */
  async freezeNote(name: string): Promise<string | undefined> {
    const { keyspace } = await callUnary(this.#client(), 'getKeyspace', { name }, { deadlineMs: CALL_MS, signal: this.#signal });
    return keyspace?.freeze?.note;
  }

  async unfreeze(name: string): Promise<void> {
    await callUnary(this.#client(), 'unfreezeKeyspace', { name, reopenMoved: false }, { deadlineMs: LONG_CALL_MS, signal: this.#signal, traceparent: traceparentOf() });
  }

  /** Nothing to do where there is none. */
  async remove(name: string): Promise<void> {
    if (this.keyspace(name) !== undefined) await callUnary(this.#client(), 'deleteKeyspace', { name }, { deadlineMs: LONG_CALL_MS, signal: this.#signal, traceparent: traceparentOf() });
  }

  /** Entries of a keyspace, expired ones that were not swept yet included. Throws PARTITION_UNAVAILABLE while a leader does not say. */
  async entriesOf({ name, partitionCount, id }: KeyspaceSpec): Promise<number> {
    const entries = new Map<number, number>();
    for (const { address } of this.#view.nodes().values()) {
      const client = new CopyClient(address, credentials.createInsecure(), createChannelOptions());
      try {
        const answer = await callUnary(client, 'describeSource', { keyspace: name }, { deadlineMs: CALL_MS, signal: this.#signal });
        if (answer.keyspaceId === id) for (const told of answer.partitions) entries.set(told.partition, told.entries);
      } catch (error) {
        if (!isAtollError(error)) throw error;
      } finally {
        client.close();
      }
    }
    if (entries.size < partitionCount) throw new AtollError('PARTITION_UNAVAILABLE', `${partitionCount - entries.size} partitions of ${name} do not say what they hold`);
    return [...entries.values()].reduce((sum, count) => sum + count, 0);
  }

  close(): void {
    this.#admin?.client.close();
  }

  #client(): AdminClient {
    const address = this.#view.coordinator()?.address;
    if (address === undefined) throw new AtollError('PEER_UNAVAILABLE', 'no coordinator is elected');
    if (this.#admin?.address !== address) {
      this.#admin?.client.close();
      this.#admin = { address, client: new AdminClient(address, credentials.createInsecure(), createChannelOptions()) };
    }
    return this.#admin.client;
  }
}
