import { WatchedCluster } from '../testing/watched-cluster.ts';

/** Nodes that have been up and heard for 2 s. */
function createCluster(nodes: readonly string[] = ['a', 'b', 'c']): WatchedCluster {
  const cluster = new WatchedCluster(nodes);
  cluster.run(2000);
  cluster.changes.length = 0;
  return cluster;
}

describe('a process that died (R30)', () => {
  it.each([{ nodes: ['a'] }, { nodes: ['a', 'b'] }, { nodes: ['a', 'b', 'c'] }])('of $nodes is DOWN within 100 ms: connections to it are refused', ({ nodes }) => {
    const cluster = createCluster(nodes);
    const diedMs = cluster.nowMs;
    cluster.of('a').state = 'DEAD';
    cluster.run(1000);
    expect(cluster.delayOf('a', 'DOWN', diedMs)).toBeLessThanOrEqual(100);
    expect(cluster.verdict('a').reason).toMatch(/refuse/);
  });

  it('is down also where the coordinator only hears nothing and two others are refused', () => {
    const cluster = createCluster();
    const diedMs = cluster.nowMs;
    cluster.cut('coordinator', 'a');
    cluster.of('a').state = 'DEAD';
    cluster.run(2000);
    expect(cluster.delayOf('a', 'DOWN', diedMs)).toBeLessThanOrEqual(500);
  });

  it('is down although its registration has lapsed, and stays so without witnesses', () => {
    const cluster = createCluster();
    cluster.of('a').state = 'DEAD';
    cluster.run(200);
    cluster.of('a').isRegistered = false;
    for (const node of ['b', 'c']) cluster.of(node).state = 'PAUSED';
    cluster.run(5000);
    expect(cluster.states()).toEqual({ a: 'DOWN', b: 'SUSPECT', c: 'SUSPECT' });
  });

  it('is followed by another one: UP at once, whatever peers still say of the old one', () => {
    const cluster = createCluster();
    cluster.of('a').state = 'DEAD';
    cluster.run(500);
    cluster.start('a');
    cluster.run(50);
    expect(cluster.verdict('a').state).toBe('UP');
    cluster.of('b').report = { peers: [{ node: 'a', silentMs: 5000, isRefused: true }] };
    cluster.run(1000);
    expect(cluster.verdict('a').state).toBe('UP');
    expect(cluster.changes.at(-1)).toMatchObject({ node: 'a', verdict: { state: 'UP' } });
  });

  it('refused to the coordinator while others hear it is SUSPECT', () => {
    const cluster = createCluster();
    cluster.cut('coordinator', 'a');
    for (let round = 0; round < 100; round += 1) {
      cluster.detector.onRefused('a', cluster.nowMs);
      cluster.run(50);
    }
    expect(cluster.verdict('a')).toMatchObject({ state: 'SUSPECT', reason: expect.stringMatching(/b, c heard it/) });
  });
});

describe('silence', () => {
  it('toward everybody for downAfterMs is DOWN; heard again, the same process is UP', () => {
    const cluster = createCluster();
    const pausedMs = cluster.nowMs;
    cluster.of('a').state = 'PAUSED';
    cluster.run(850);
    expect(cluster.states()).toEqual({ a: 'SUSPECT', b: 'UP', c: 'UP' });
    cluster.run(2000);
    expect(cluster.delayOf('a', 'DOWN', pausedMs)).toBeLessThanOrEqual(1100);
    expect(cluster.verdict('a').reason).toMatch(/neither this coordinator nor b, c heard of it for 900 ms/);
    cluster.of('a').state = 'RUNNING';
    cluster.run(150);
    expect(cluster.states()).toEqual({ a: 'UP', b: 'UP', c: 'UP' });
  });

  it('of a node cut off from everybody is DOWN, the others are not', () => {
    const cluster = createCluster(['a', 'b', 'c', 'd', 'e']);
    cluster.isolate('b');
    cluster.run(1500);
    expect(cluster.states()).toEqual({ a: 'UP', b: 'DOWN', c: 'UP', d: 'UP', e: 'UP' });
  });

  it('toward the coordinator alone is SUSPECT for ever: the leader stays (R30)', () => {
    const cluster = createCluster();
    cluster.cut('coordinator', 'a');
    cluster.run(20_000);
    expect(cluster.states()).toEqual({ a: 'SUSPECT', b: 'UP', c: 'UP' });
    expect(cluster.verdict('a').reason).toMatch(/b, c heard it/);
  });

  it('toward the coordinator, and toward peers that never exchange heartbeats with it: probes tell the difference', () => {
    const cluster = createCluster();
    for (const node of ['b', 'c']) cluster.of(node).report = { peers: [] };
    cluster.cut('coordinator', 'a');
    cluster.run(5000);
    expect(cluster.verdict('a').state).toBe('SUSPECT');
    cluster.of('a').state = 'PAUSED';
    cluster.run(2000);
    expect(cluster.verdict('a').state).toBe('DOWN');
  });

  it('of two in three, heard by one: only that one is a witness, and it is enough', () => {
    const cluster = createCluster();
    for (const node of ['a', 'b']) cluster.of(node).state = 'PAUSED';
    cluster.run(2000);
    expect(cluster.states()).toEqual({ a: 'DOWN', b: 'DOWN', c: 'UP' });
  });

  it('of everybody fells nobody: the coordinator is the one that is cut off', () => {
    const cluster = createCluster();
    cluster.isolate('coordinator');
    cluster.run(20_000);
    expect(cluster.states()).toEqual({ a: 'SUSPECT', b: 'SUSPECT', c: 'SUSPECT' });
    cluster.heal();
    cluster.run(150);
    expect(cluster.states()).toEqual({ a: 'UP', b: 'UP', c: 'UP' });
    expect(cluster.changes.some(({ verdict }) => verdict.state === 'DOWN')).toBe(false);
  });

  it('while the coordinator itself was stopped counts for nothing (R11)', () => {
    const cluster = createCluster();
    cluster.isStalled = true;
    cluster.run(30_000);
    cluster.isStalled = false;
    for (const node of ['b', 'c']) cluster.of(node).report = { peers: [{ node: 'a', silentMs: 31_000, isRefused: false }] };
    cluster.cut('coordinator', 'a');
    cluster.run(400);
    expect(cluster.verdict('a').state).not.toBe('DOWN');
  });

  it('that a peer saw while it was stalled itself counts for nothing (R11)', () => {
    const cluster = createCluster();
    cluster.cut('coordinator', 'a');
    cluster.of('b').report = { loopLagMs: 5000, peers: [{ node: 'a', silentMs: 5100, isRefused: false }] };
    cluster.of('c').report = { loopLagMs: 5000, peers: [{ node: 'a', silentMs: 5100, isRefused: false }] };
    cluster.run(1300);
    expect(cluster.verdict('a').state).toBe('SUSPECT');
  });
});

describe('a new coordinator', () => {
  it('says DOWN of nobody before its grace has passed (R11)', () => {
    const cluster = new WatchedCluster(['a', 'b', 'c']);
    cluster.of('a').state = 'DEAD';
    cluster.run(250);
    expect(cluster.verdict('a').state).toBe('SUSPECT');
    cluster.run(200);
    expect(cluster.verdict('a').state).toBe('DOWN');
  });

  it('counts silence from its own beginning, not from what was before', () => {
    const cluster = new WatchedCluster(['a', 'b', 'c']);
    cluster.of('a').state = 'PAUSED';
    cluster.run(850);
    expect(cluster.verdict('a').state).toBe('SUSPECT');
    cluster.run(500);
    expect(cluster.verdict('a').state).toBe('DOWN');
  });
});

describe('a node whose registration lapsed', () => {
  it('and that answers is UP (R11)', () => {
    const cluster = createCluster();
    cluster.of('a').isRegistered = false;
    cluster.run(5000);
    expect(cluster.verdict('a')).toMatchObject({ state: 'UP', reason: 'it answers, although its registration lapsed' });
  });
});

describe('a node that stops on purpose', () => {
  it('is LEFT from the moment that it says so, and never DOWN', () => {
    const cluster = createCluster();
    cluster.of('a').phase = 'STOPPING';
    cluster.run(300);
    expect(cluster.verdict('a').state).toBe('LEFT');
    cluster.of('a').state = 'DEAD';
    cluster.run(300);
    cluster.of('a').isRegistered = false;
    cluster.run(5000);
    expect(cluster.changes.filter(({ node }) => node === 'a').map(({ verdict }) => verdict.state)).toEqual(['LEFT']);
  });

  it('is DOWN when it dies before it has left', () => {
    const cluster = createCluster();
    cluster.of('a').phase = 'STOPPING';
    cluster.run(300);
    cluster.of('a').state = 'PAUSED';
    cluster.run(1500);
    expect(cluster.verdict('a').state).toBe('DOWN');
  });
});

describe('a node that etcd does not answer (R30)', () => {
  it('has lost it after etcdLostMs, when the coordinator has it', () => {
    const cluster = createCluster();
    cluster.run(2000);
    cluster.of('a').report = { etcdSilentMs: 2900 };
    cluster.run(100);
    expect(cluster.verdict('a').isEtcdLost).toBe(false);
    cluster.of('a').report = { etcdSilentMs: 3100 };
    cluster.run(150);
    expect(cluster.verdict('a')).toMatchObject({ state: 'UP', isEtcdLost: true });
    expect(cluster.verdict('b').isEtcdLost).toBe(false);
  });

  it('is nothing special while etcd is away, nor right after', () => {
    const cluster = createCluster();
    cluster.isEtcdConnected = false;
    for (const node of ['a', 'b', 'c']) cluster.of(node).report = { etcdSilentMs: 60_000 };
    cluster.run(5000);
    cluster.isEtcdConnected = true;
    cluster.run(2500);
    expect(cluster.changes).toEqual([]);
  });
});

describe('probes', () => {
  it('are asked of at most three nodes at a time, of each at most every suspectAfterMs, and of all in turn', () => {
    const cluster = createCluster(['a', 'b', 'c', 'd', 'e', 'f']);
    cluster.cut('coordinator', 'a');
    cluster.run(3000);
    expect(new Set(cluster.probes.map(({ via }) => via))).toEqual(new Set(['b', 'c', 'd', 'e', 'f']));
    expect(cluster.probes.every(({ target, address }) => target === 'a' && address === 'a:1')).toBe(true);
    expect(cluster.probes.length).toBeLessThanOrEqual(3 * 10);
  });

  it('are not asked while everybody is up', () => {
    expect(createCluster().probes).toEqual([]);
  });
});
