// The heartbeats of a term with nodes that are real gRPC servers; the registrations are the spec's own.
import type { NodeRecord, RemovalQuestion, VerdictChange } from '@atoll/core-membership';
import { InMemoryEtcd, InMemoryMetadataStore, eventually } from '@atoll/platform-etcd/testing';
import { openClusterView } from '@atoll/platform-etcd';
import { NodeWatch } from './node-watch.ts';
import { ReplicationNode } from './testing/replication-node.ts';

const CONFIG = { heartbeatMs: 20, suspectAfterMs: 300, downAfterMs: 900, etcdLostMs: 3000, graceMs: 0 };
const QUESTION: RemovalQuestion = { keyspace: 'default', partition: 3, epoch: 7, replica: 'r1', node: 'b' };

let etcd: InMemoryEtcd;
let stops: (() => Promise<void> | void)[] = [];
let changes: VerdictChange[];
let newsCount: number;
let discards: string[];

beforeEach(() => {
  etcd = new InMemoryEtcd();
  etcd.transact([], [{ kind: 'put', key: 'cluster', value: JSON.stringify({ id: 'c', formatVersion: 1 }) }]);
  changes = [];
  newsCount = 0;
  discards = [];
});

afterEach(async () => {
  for (const stop of stops.reverse()) await stop();
  stops = [];
});

async function runNode(id: string, seed: number): Promise<ReplicationNode> {
  const store = new InMemoryMetadataStore({ etcd });
  const node = new ReplicationNode(id, { store, seed });
  await node.start();
  stops.push(async () => {
    await node.kill();
    await store.close();
  });
  return node;
}

async function watch(nodes: () => ReadonlyMap<string, NodeRecord>): Promise<NodeWatch> {
  const made = new NodeWatch({
    view: { clusterId: 'c', nodes, nodeSpecs: () => new Map(), connected: true },
    id: 'c1',
    revision: 42,
    config: CONFIG,
    clock: { monotonicMs: () => performance.now() },
    onVerdicts: (news) => changes.push(...news),
    onNews: () => (newsCount += 1),
    onMetadata: () => undefined,
    onDiscards: (node, found) => discards.push(...found.map((each) => `${node} ${each.number} ${each.firstKeys.join()}`)),
    onProblem: () => undefined,
  });
  stops.push(() => made.close());
  return made;
}

async function registrations(): Promise<() => ReadonlyMap<string, NodeRecord>> {
  const store = new InMemoryMetadataStore({ etcd });
  const view = await openClusterView(store, {
    onProblem: (problem) => {
      throw new Error(problem);
    },
  });
  stops.push(async () => {
    await view.close();
    await store.close();
  });
  return () => view.nodes();
}

const news = (record: string, modRevision: number) => new Map([['default/3', { record, modRevision }]]);

describe('the watch on nodes', () => {
  it('shows what nodes report, tells of new questions once, and brings the answers back (R10)', async () => {
    const a = await runNode('a', 1);
    const watching = await watch(await registrations());
    await eventually('a reports', () => watching.reports().has('a'));
    expect(newsCount).toBe(0);
    const { replica, ...rest } = QUESTION;
    a.report = { questions: [{ ...rest, replicaId: replica }] };
    await eventually('the question came', () => watching.reports().get('a')?.questions.length === 1);
    expect(watching.reports().get('a')?.questions).toEqual([QUESTION]);
    watching.answer('a', QUESTION, false);
    await eventually('the answer came', () => a.answers.length > 0);
    expect(a.answers[0]).toEqual({ keyspace: 'default', partition: 3, epoch: 7, replicaId: 'r1', mayRemove: false });
    expect(newsCount).toBe(1);
  });

  it('tells the newest record of a partition, again on the next stream as long as it was not answered (R27)', async () => {
    const a = await runNode('a', 1);
    const watching = await watch(await registrations());
    await eventually('a reports', () => watching.reports().has('a'));
    a.isReporting = false;
    watching.tellRecords('a', news('new', 9));
    watching.tellRecords('a', news('old', 8));
    watching.tellRecords('nobody', news('new', 9));
    await eventually('a was told', () => a.news.length === 1);
    a.breakStreams();
    await eventually('a was told on another stream', () => a.news.length === 2);
    a.isReporting = true;
    await eventually('a reports again', () => changes.at(-1)?.verdict.state === 'UP' && a.reportRevisions.length === 2);
    expect(a.news).toEqual([{ record: 'new', modRevision: 9 }, { record: 'new', modRevision: 9 }]);
    expect(a.reportRevisions).toEqual([42, 42]);
  });

  it('takes in what a node found to be gone once, and answers until the node has heard it', async () => {
    const a = await runNode('a', 1);
    const found = { keyspace: 'default', partitions: [3], discarded: 1, superseded: 0, kept: 0, unknown: 0, listFile: '' };
    a.report = { discards: [{ ...found, number: 1, firstKeys: ['k1'] }] };
    await watch(await registrations());
    await eventually('a heard of it', () => a.discardsTaken === 1);
    a.report = { discards: [{ ...found, number: 1, firstKeys: ['k1'] }, { ...found, number: 2, firstKeys: ['k2'] }] };
    await eventually('a heard of both', () => a.discardsTaken === 2);
    // Another stream to the same process: it tells again what it does not know to be taken.
    a.breakStreams();
    await eventually('a second stream was opened', () => a.reportRevisions.length === 2 && a.discardsTaken === 2);
    expect(discards).toEqual(['a 1 k1', 'a 2 k2']);
  });

  it('tells many records in beats that stay small', async () => {
    const a = await runNode('a', 1);
    const watching = await watch(await registrations());
    watching.tellRecords('a', new Map());
    await eventually('a reports', () => watching.reports().has('a'));
    watching.tellRecords('a', new Map(Array.from({ length: 1000 }, (_, index) => [`default/${index}`, { record: `${index}`, modRevision: index + 1 }])));
    await eventually('a was told of all', () => a.news.length === 1000);
    expect(a.newsPerBeatMax).toBe(200);
  });

  it('tries another connection when one is silent for long: a cut may have broken it without a word', async () => {
    const a = await runNode('a', 1);
    const watching = await watch(await registrations());
    await eventually('a reports', () => watching.reports().has('a'));
    a.isReporting = false;
    await eventually('a second stream was opened', () => a.reportRevisions.length >= 2);
    expect(watching.reports().has('a')).toBe(false);
  });

  it('sends no more than 20 beats to a process that answers none (I10)', async () => {
    const a = await runNode('a', 1);
    a.isReporting = false;
    await watch(await registrations());
    await eventually('a second stream was opened', () => a.reportRevisions.length === 2);
    expect(a.beatsPerStream[0]).toBe(20);
  });

  it('takes another process at the address of a registered one for the end of that one', async () => {
    const a = await runNode('a', 1);
    const b = await runNode('b', 2);
    const nodes = await registrations();
    await eventually('both are registered', () => nodes().size === 2);
    const claimed = new Map(nodes());
    claimed.set('a', { ...claimed.get('a')!, incarnation: 'before' });
    const watching = await watch(() => claimed);
    await eventually('a is down', () => watching.verdicts().get('a')?.state === 'DOWN');
    expect(watching.verdicts().get('b')?.state).toBe('UP');
    expect([a.incarnation, b.incarnation]).not.toContain('before');
  });
});
