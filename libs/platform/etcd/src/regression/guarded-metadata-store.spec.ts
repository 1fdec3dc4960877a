import { ensureClusterId } from '../cluster-identity.ts';
import { CHANGE_KEY, CLUSTER_KEY, RECOVERY_KEY, REGRESSED_KEY, keyspaceKey, nodeKey, partitionKey } from '../cluster-keys.ts';
import type { ClusterView } from '../cluster-view.ts';
import type { TransactionOutcome, Watch, WatchListener } from '../metadata-store.ts';
import { openClusterView } from '../open-cluster-view.ts';
import { encodeKeyspaceSpec, encodeNodeRecord, encodePartitionRecord } from '../record-codecs.ts';
import { InMemoryEtcd, InMemoryMetadataStore, eventually } from '../testing/index.ts';
import { sampleKeyspace, sampleNode, samplePartition } from '../testing/sample-records.ts';
import { GuardedMetadataStore, type GuardOptions } from './guarded-metadata-store.ts';

/** A client whose watches begin, and then tell nothing for a while: the stream is slower than other calls. */
class SlowWatches extends InMemoryMetadataStore {
  #held: (() => void)[] | undefined;

  hold(): void {
    this.#held = [];
  }

  release(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const tell of held) tell();
  }

  override watch(prefix: string, listener: WatchListener): Promise<Watch> {
    return super.watch(prefix, {
      ...listener,
      onChanges: (changes, revision) => {
        if (this.#held === undefined) listener.onChanges(changes, revision);
        else this.#held.push(() => listener.onChanges(changes, revision));
      },
    });
  }
}

/** One process: its client of etcd, the guard, and what it was told. */
class Process {
  readonly client: SlowWatches;
  readonly guard: GuardedMetadataStore;
  readonly news: string[] = [];
  view: ClusterView | undefined;

  constructor(etcd: InMemoryEtcd, options: Pick<GuardOptions, 'beginsBehind'>) {
    this.client = new SlowWatches({ etcd });
    this.guard = new GuardedMetadataStore(this.client, {
      ...options,
      onRegressed: (reasons) => this.news.push(`regressed: ${reasons.join('; ')}`),
      onRecovered: () => this.news.push('recovered'),
    });
  }

  async open(): Promise<ClusterView> {
    this.view = await openClusterView(this.guard, { onProblem: (problem) => this.news.push(problem) });
    return this.view;
  }

  put(key: string, value: string): Promise<TransactionOutcome> {
    return this.guard.transact([], [{ kind: 'put', key, value }]);
  }
}

const keyspace = (name: string): [string, string] => [keyspaceKey(name), encodeKeyspaceSpec(sampleKeyspace(name))];
const partition = (name: string, epoch: number): [string, string] => [partitionKey(name, 0), encodePartitionRecord(samplePartition(name, 0, { epoch: epoch as never, changeId: `e${epoch}` }))];

describe('GuardedMetadataStore (R13)', () => {
  let etcd: InMemoryEtcd;
  let one: Process;
  let other: Process;
  let processes: Process[];

  const start = (options: Pick<GuardOptions, 'beginsBehind'> = {}): Process => {
    const made = new Process(etcd, options);
    processes.push(made);
    return made;
  };
  /** etcd is stopped, an older state put back, and started. */
  const goBackTo = (backup: ReturnType<InMemoryEtcd['backup']> | undefined): void => {
    for (const { client } of processes) client.goAway();
    etcd.restore(backup);
  };
  const comeBack = (): void => {
    for (const { client } of processes) client.comeBack();
  };
  /** As `recover-metadata` does: first the revision, then the records, then the word. */
  const recover = async (above: number, records: readonly [string, string][]): Promise<void> => {
    const plain = new InMemoryMetadataStore({ etcd });
    while (etcd.revision <= above) await plain.transact([], [{ kind: 'put', key: 'cluster/filler', value: '' }]);
    await plain.transact([], records.map(([key, value]) => ({ kind: 'put', key, value })));
    await plain.transact([], [{ kind: 'put', key: RECOVERY_KEY, value: '{}' }, { kind: 'put', key: CHANGE_KEY, value: RECOVERY_KEY }, { kind: 'delete', key: REGRESSED_KEY }]);
    await plain.close();
  };

  beforeEach(async () => {
    etcd = new InMemoryEtcd();
    processes = [];
    one = start();
    other = start();
    await ensureClusterId(one.guard, () => 'cluster-1');
    await one.put(...keyspace('default'));
    await one.put(...partition('default', 1));
    await one.guard.transact([], [{ kind: 'put', key: nodeKey('a'), value: encodeNodeRecord(sampleNode('a')) }]);
    await Promise.all([one.open(), other.open()]);
  });
  afterEach(async () => {
    for (const { view, guard } of processes) {
      await view?.close();
      await guard.close();
    }
  });

  it('keeps what was seen, counts as away, refuses every change of configuration, and says what went back', async () => {
    const backup = etcd.backup();
    await one.put(...keyspace('later'));
    await one.put(...partition('default', 5));
    await eventually('both have seen it', () => processes.every(({ view }) => view!.partition('default', 0)?.record.epoch === 5));
    goBackTo(backup);
    comeBack();
    await eventually('both know', () => processes.every(({ guard }) => guard.isRegressed));
    for (const { view, guard, news } of processes) {
      expect(view!.connected).toBe(false);
      expect(view!.keyspace('later')).toBeDefined();
      expect(view!.partition('default', 0)?.record.epoch).toBe(5);
      expect(news[0]).toContain(`etcd's revision went back from`);
      await expect(guard.get(keyspaceKey('later'))).rejects.toMatchObject({ reason: 'METADATA_REGRESSED', metadata: { command: 'atoll cluster recover-metadata' } });
      expect(await guard.transact([], [{ kind: 'delete', key: keyspaceKey('default') }])).toEqual({ kind: 'refused' });
    }
    expect(etcd.get(keyspaceKey('default'))).toBeDefined();
    // What is no configuration goes on, registrations among it; none vanishes meanwhile.
    expect((await one.guard.transact([], [{ kind: 'put', key: nodeKey('b'), value: encodeNodeRecord(sampleNode('b')) }])).kind).toBe('succeeded');
    await other.guard.transact([], [{ kind: 'delete', key: nodeKey('a') }]);
    await eventually('the new node is seen', () => other.view!.nodes().has('b'));
    expect(other.view!.nodes().has('a')).toBe(true);
  });

  it('an etcd that has counted on past what was seen is found out by the change that is gone', async () => {
    const backup = etcd.backup();
    await one.put(...keyspace('later'));
    await eventually('the other has seen it', () => other.view!.keyspace('later'));
    goBackTo(backup);
    for (let count = 0; count < 5; count += 1) etcd.transact([], [{ kind: 'put', key: nodeKey('z'), value: encodeNodeRecord(sampleNode('z')) }]);
    expect(etcd.revision).toBeGreaterThan(other.guard.mark.revision);
    comeBack();
    await eventually('it knows', () => other.guard.isRegressed);
    expect(other.news[0]).toContain('the last change of configuration went back');
    expect(other.view!.keyspace('later')).toBeDefined();
  });

  it('a change sent before anybody has noticed is refused by the comparison in it', async () => {
    const backup = etcd.backup();
    await one.put(...partition('default', 5));
    await one.put(...keyspace('later'));
    const { modRevision } = backup.keys.find(({ key }) => key === keyspaceKey('default'))!;
    etcd.restore(backup); // Its watches do not know.
    expect(one.guard.isRegressed).toBe(false);
    const outcome = await one.guard.transact([{ kind: 'modRevision', key: keyspaceKey('default'), equals: modRevision }], [{ kind: 'delete', key: keyspaceKey('default') }]);
    expect(outcome).toEqual({ kind: 'refused' });
    expect(etcd.get(keyspaceKey('default'))).toBeDefined();
    expect(one.guard.isRegressed).toBe(true);
  });

  it('a read before anybody has noticed does not show what is missing as deleted', async () => {
    const backup = etcd.backup();
    await one.put(...keyspace('later'));
    etcd.restore(backup);
    await expect(one.guard.get(keyspaceKey('later'))).rejects.toMatchObject({ reason: 'METADATA_REGRESSED' });
  });

  it('a keyspace that was deleted while a process did not look is deleted', async () => {
    other.client.goAway();
    await one.guard.transact([], [{ kind: 'delete', key: keyspaceKey('default') }, { kind: 'delete', key: partitionKey('default', 0) }]);
    other.client.comeBack();
    await eventually('it is gone', () => other.view!.keyspace('default') === undefined);
    expect(other.news).toEqual([]);
  });

  it('a wiped etcd is no empty cluster, and keeps its identity', async () => {
    goBackTo(undefined);
    comeBack();
    await eventually('both know', () => processes.every(({ guard }) => guard.isRegressed));
    expect(one.view!.keyspace('default')).toBeDefined();
    await eventually('the identity is back', () => etcd.get(CLUSTER_KEY)?.value.includes('cluster-1'));
  });

  it('goes on when all was recovered above what it saw, and shows exactly what stands then', async () => {
    const backup = etcd.backup();
    await one.put(...keyspace('later'));
    await one.put(...partition('later', 3));
    await eventually('both have seen it', () => processes.every(({ view }) => view!.partition('later', 0)));
    const { revision } = other.guard.mark;
    goBackTo(backup);
    comeBack();
    await eventually('both know', () => processes.every(({ guard }) => guard.isRegressed));
    await recover(revision, [keyspace('default'), partition('default', 2), keyspace('later'), partition('later', 4)]);
    await eventually('both go on', () => processes.every(({ guard, view }) => !guard.isRegressed && view!.connected && view!.partition('later', 0)?.record.epoch === 4));
    expect(one.news.at(-1)).toBe('recovered');
    expect(one.view!.partition('default', 0)!.modRevision).toBeGreaterThan(revision);
    expect((await one.put(...keyspace('next'))).kind).toBe('succeeded');
    await eventually('the other sees changes again', () => other.view!.keyspace('next'));
  });

  it('a snapshot of before a recovery that was noticed only behind it raises no alarm: it is read again', async () => {
    const backup = etcd.backup();
    await one.put(...partition('default', 5));
    await eventually('both have seen it', () => processes.every(({ view }) => view!.partition('default', 0)?.record.epoch === 5));
    const { revision } = other.guard.mark;
    goBackTo(backup);
    // 1. the other's watches show what stands there, and it asks what that is worth
    other.client.hold();
    for (let call = 0; call < 8; call += 1) other.client.delayNext(100);
    other.client.comeBack();
    // 2. it is recovered before that question arrives
    await recover(revision, [keyspace('default'), partition('default', 6)]);
    // 3. what the watches tell comes later still
    await eventually('it knows of the recovery', () => other.guard.recoveryRevision > 0);
    await eventually('it shows what was recovered', () => other.view!.connected && other.view!.partition('default', 0)?.record.epoch === 6);
    other.client.release();
    expect(other.guard.isRegressed).toBe(false);
    expect(other.news).toEqual([]);
  });

  it('a process that began on the old state is told by one that remembers', async () => {
    const backup = etcd.backup();
    await one.put(...keyspace('later'));
    goBackTo(backup);
    comeBack();
    await eventually('it knows', () => one.guard.isRegressed);
    for (const { client } of [one, other]) client.goAway(); // As before anybody could leave the note.
    etcd.transact([], [{ kind: 'delete', key: REGRESSED_KEY }]);
    const late = start();
    await late.open();
    await late.guard.hear({ source: 'one', mark: one.guard.mark, reasons: one.guard.reasons });
    expect(late.guard.isRegressed).toBe(true);
    expect(late.view!.connected).toBe(false);
    expect(await late.put(...keyspace('x'))).toEqual({ kind: 'refused' });
  });

  it('the first who notices leaves a note: whoever remembers less changes nothing either, and begins with the note', async () => {
    const behind = start();
    await behind.open();
    behind.client.goAway();
    const backup = etcd.backup();
    await one.put(...keyspace('later'));
    for (const { client } of [one, other]) client.goAway();
    etcd.restore(backup);
    one.client.comeBack();
    await eventually('the note stands', () => etcd.get(REGRESSED_KEY));
    // It saw nothing that is gone, and its stream is not back yet.
    behind.client.comeBack();
    expect(await behind.put(...keyspace('x'))).toEqual({ kind: 'refused' });
    await eventually('it knows', () => behind.guard.isRegressed);
    await expect(start().open()).rejects.toMatchObject({ reason: 'METADATA_REGRESSED' });
    expect(etcd.get(keyspaceKey('x'))).toBeUndefined();
    await recover(one.guard.mark.revision, [keyspace('default'), partition('default', 2), keyspace('later')]);
    await eventually('both go on', () => [one, behind].every(({ guard }) => !guard.isRegressed));
  });

  it('who can recover it begins on an etcd with a note: it sees what stands there, disconnected, and goes on after the recovery', async () => {
    const { revision } = etcd;
    etcd.transact([], [{ kind: 'put', key: REGRESSED_KEY, value: '{"reasons":["etcd went back"]}' }]);
    const late = start({ beginsBehind: true });
    const view = await late.open();
    expect(late.guard.reasons).toEqual(['etcd went back']);
    expect([view.connected, view.partition('default', 0)?.record.epoch, view.nodes().has('a')]).toEqual([false, 1, true]);
    await recover(revision + 10, [keyspace('default'), partition('default', 2)]);
    await eventually('it goes on', () => view.connected && view.partition('default', 0)?.record.epoch === 2);
  });

  it('leaves no note in the etcd of another cluster', async () => {
    goBackTo({ revision: 900, keys: [{ key: CLUSTER_KEY, value: JSON.stringify({ id: 'x', formatVersion: 1 }), createRevision: 2, modRevision: 2, leaseId: undefined }] });
    comeBack();
    await eventually('both know', () => processes.every(({ guard }) => guard.isRegressed));
    await one.guard.look();
    expect(etcd.get(REGRESSED_KEY)).toBeUndefined();
  });

  it('one that remembers more than a recovery covered is believed: it asks for another', async () => {
    const late = start();
    await late.open();
    await recover(etcd.revision, []);
    await late.guard.look();
    await late.guard.hear({ source: 'node-9', mark: { revision: etcd.revision + 50, changeRevision: 1 }, reasons: ['etcd went back'] });
    expect(late.guard.isRegressed).toBe(true);
    expect(late.guard.reasons.join()).toContain('node-9: etcd went back');
  });

  it('one whose word is older than the recovery has only not looked yet', async () => {
    const late = start();
    await late.open();
    const { mark } = late.guard;
    await recover(mark.revision, []);
    await late.guard.hear({ source: 'node-9', mark, reasons: ['etcd went back'] });
    expect(late.guard.isRegressed).toBe(false);
  });

  it('what a process remembers from its disk keeps it from starting on less', async () => {
    const guard = new GuardedMetadataStore(new InMemoryMetadataStore({ etcd }), { seen: { clusterId: 'cluster-1', mark: { revision: etcd.revision + 10, changeRevision: 1 } } });
    await expect(openClusterView(guard, { onProblem: () => undefined })).rejects.toMatchObject({ reason: 'METADATA_REGRESSED' });
    await guard.close();
  });
});
