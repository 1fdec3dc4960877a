// Rebuilds the configuration in an etcd that went back, from what the nodes remember (R13):
//
//   1. every node is asked; the plan says what was, and what may be lost (plan-recovery.ts)
//   2. etcd's revision is raised above the highest that anybody saw, by writes that mean nothing: from then on no
//      modification revision and no fencing token is one that was seen before
//   3. everything is written anew, compared with what etcd showed when the plan was made
//   4. the word of recovery is written, by which everybody believes etcd again; in the same transaction this coordinator
//      gives its office up, whose token is lower than those of before: its successor, perhaps itself, has one above
//
// Whatever breaks it off, it can be run again: until 4 nobody has believed any of it.
import type { MetadataMark, MetadataRecovery, StoredConfiguration, Testimony } from '@atoll/core-membership';
import { planMetadataRecovery } from '@atoll/core-membership';
import { AtollError, isAtollError } from '@atoll/core-errors';
import { randomHex, type Random } from '@atoll/core-runtime';
import { readClusterIdentity, type ClusterView, type Comparison, type GuardedMetadataStore } from '@atoll/platform-etcd';
import { askRecords, type NodeTestimony } from '../adapters/records-peer.ts';
import { raiseRevision } from './raise-revision.ts';
import { readConfiguration, type ReadConfiguration } from './read-configuration.ts';
import { writeConfiguration } from './write-configuration.ts';

/** Routers are not asked: they may have seen a little more than all others, when etcd ended. */
const UNHEARD_REVISIONS = 1000;

export interface MetadataRecoveryOptions {
  /** Of this coordinator. */
  readonly id: string;
  readonly store: GuardedMetadataStore;
  readonly view: ClusterView;
  readonly random: Random;
  /** Of this coordinator's office (R11). */
  readonly election: Comparison;
  /** For a node to tell all that it knows. */
  readonly askMs: number;
}

export interface PreparedRecovery {
  readonly plan: MetadataRecovery;
  readonly stored: ReadConfiguration;
  /** Nodes that told what they know, and those that did not; by id. */
  readonly asked: readonly string[];
  readonly unreachable: readonly string[];
  /** The highest that anybody saw. */
  readonly revisionSeen: number;
}

/** Throws NOTHING_TO_RECOVER while etcd shows all that anybody saw, WRONG_CLUSTER, METADATA_UNAVAILABLE. */
export async function prepareRecovery(options: MetadataRecoveryOptions): Promise<PreparedRecovery> {
  const { id, store, view, random, askMs } = options;
  await store.look();
  const { testimonies, unreachable } = await askNodes(view, askMs);
  for (const { source, mark, reasons } of testimonies) await store.hear({ source: `node ${source}`, mark, reasons });
  if (!store.isRegressed) throw new AtollError('NOTHING_TO_RECOVER', 'etcd shows everything that this coordinator and the nodes saw: there is nothing to recover');
  const identity = await readClusterIdentity(store.unguarded);
  if (identity !== undefined && identity.id !== view.clusterId) {
    throw new AtollError('WRONG_CLUSTER', `etcd belongs to cluster ${identity.id} now, this coordinator and its nodes to ${view.clusterId}: point them at their own etcd; or, where a process that began in the wiped one founded a new cluster, stop it and delete the key /atoll/v1/cluster`);
  }
  const stored = await readConfiguration(store.unguarded);
  const own = remembered({ id, view, mark: store.ownMark });
  const plan = planMetadataRecovery({ stored: current(stored), testimonies: [...testimonies, own], unreachable: new Set(unreachable), random });
  const revisionSeen = Math.max(store.mark.revision, ...testimonies.map(({ mark }) => mark.revision));
  return { plan, stored, asked: testimonies.map(({ source }) => source).toSorted(), unreachable: unreachable.toSorted(), revisionSeen };
}

/** Throws METADATA_CONFLICT when something else was written meanwhile, or this coordinator is not elected any more: to be run again. */
export async function executeRecovery({ store, election, random }: MetadataRecoveryOptions, prepared: PreparedRecovery, signal: AbortSignal): Promise<void> {
  const { plan, stored, revisionSeen } = prepared;
  await raiseRevision(store.unguarded, { above: revisionSeen + UNHEARD_REVISIONS, election, signal });
  await writeConfiguration(store.unguarded, { plan, stored, election, identity: store.identity, recoveryId: randomHex(random, 8) });
}

/** Nodes that are registered, and those that are only specified, as far as anybody who answers knows of them. */
async function askNodes(view: ClusterView, askMs: number): Promise<{ readonly testimonies: readonly NodeTestimony[]; readonly unreachable: readonly string[] }> {
  const testimonies = new Map<string, NodeTestimony>();
  const tried = new Map<string, string>();
  for (;;) {
    const due = [...knownNodes(view, testimonies.values())].filter(([id, address]) => !testimonies.has(id) && tried.get(id) !== address);
    if (due.length === 0) break;
    await Promise.all(
      due.map(async ([id, address]) => {
        tried.set(id, address);
        const testimony = await askRecords({ id, address }, view.clusterId, askMs).catch((error: unknown) => {
          if (isAtollError(error) && error.reason === 'WRONG_CLUSTER') throw error;
          return undefined;
        });
        if (testimony !== undefined) testimonies.set(id, testimony);
      }),
    );
  }
  return { testimonies: [...testimonies.values()], unreachable: [...tried.keys()].filter((id) => !testimonies.has(id)) };
}

/** Address by node id. A registration is newer than any specification. */
function knownNodes(view: ClusterView, testimonies: Iterable<Testimony>): Map<string, string> {
  const known = new Map<string, string>();
  const specs = [...view.nodeSpecs().values(), ...Array.from(testimonies, ({ nodeSpecs }) => nodeSpecs).flat()];
  for (const { id, state, address } of specs) if (state !== 'REMOVED' && address !== '') known.set(id, address);
  for (const { id, address } of view.nodes().values()) known.set(id, address);
  return known;
}

/** What this coordinator itself remembers: all that its watches showed before it noticed. */
function remembered({ id, view, mark }: { readonly id: string; readonly view: ClusterView; readonly mark: MetadataMark }): Testimony {
  const records = [...view.keyspaces().keys()].flatMap((name) => view.partitions(name)).map((versioned) => ({ ...versioned, leads: false, heardEpoch: 0, held: undefined }));
  return { source: id, mark, keyspaces: [...view.keyspaces().values()], nodeSpecs: [...view.nodeSpecs().values()], records };
}

function current({ keyspaces, nodeSpecs, records }: ReadConfiguration): StoredConfiguration {
  return {
    keyspaces: new Map(keyspaces.map(({ value }) => [value.name, value])),
    nodeSpecs: new Map(nodeSpecs.map(({ value }) => [value.id, value])),
    records: records.map(({ value, modRevision }) => ({ record: value, modRevision })),
  };
}
