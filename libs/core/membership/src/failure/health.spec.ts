import { WatchedCluster } from '../testing/watched-cluster.ts';
import type { NodeReport } from './node-report.ts';

function createCluster(nodes: readonly string[] = ['a', 'b', 'c']): WatchedCluster {
  const cluster = new WatchedCluster(nodes);
  cluster.run(2000);
  return cluster;
}

describe('a node that is up and serves badly', () => {
  const cases: readonly { readonly title: string; readonly report: Partial<NodeReport>; readonly beatMs?: number; readonly reason: string }[] = [
    { title: 'its event loop stalls', report: { loopLagMs: 250 }, reason: 'its event loop stalls (250 ms)' },
    { title: 'it answers slowly', report: {}, beatMs: 200, reason: 'its heartbeats are slow (200 ms)' },
    { title: 'its disk is slow', report: { diskFlushMs: 2000 }, reason: 'its disk is slow (2000 ms a flush)' },
    { title: 'its memory is full while that of others is not', report: { memoryUsed: 0.99 }, reason: 'its memory is 99 % full' },
  ];

  it.each(cases)('is degraded when $title for 3 s and others do not, and no more when that has passed for 3 s', ({ report, beatMs, reason }) => {
    const cluster = createCluster();
    Object.assign(cluster.of('b'), { report, beatMs: beatMs ?? 1 });
    cluster.run(2500);
    expect(cluster.verdict('b').degraded).toEqual([]);
    cluster.run(8000);
    expect(cluster.verdict('b')).toMatchObject({ state: 'UP', degraded: [expect.stringContaining(reason.split('(')[0]!)] });
    expect(cluster.verdict('a').degraded).toEqual([]);
    Object.assign(cluster.of('b'), { report: report.diskFlushMs === undefined ? {} : { diskFlushMs: 5 }, beatMs: 1 });
    cluster.run(20_000);
    expect(cluster.verdict('b').degraded).toEqual([]);
  });

  it.each(cases)('is not degraded when $title as on all nodes: that is the load', ({ report, beatMs }) => {
    const cluster = createCluster();
    for (const node of ['a', 'b', 'c']) Object.assign(cluster.of(node), { report, beatMs: beatMs ?? 1 });
    cluster.run(10_000);
    expect(['a', 'b', 'c'].map((node) => cluster.verdict(node).degraded)).toEqual([[], [], []]);
  });

  it.each([1000, 60_000])('is not degraded by one stall of %i ms, after which it answers all beats at once', (stallMs) => {
    const cluster = createCluster();
    const b = cluster.of('b');
    b.state = 'PAUSED';
    cluster.run(stallMs);
    b.state = 'RUNNING';
    Object.assign(b, { report: { loopLagMs: stallMs }, beatMs: stallMs });
    cluster.run(100);
    Object.assign(b, { report: {}, beatMs: 1 });
    cluster.run(10_000);
    expect(cluster.changes.filter(({ verdict }) => verdict.degraded.length > 0)).toEqual([]);
  });

  it('is degraded at once by an error of the disk, also where all have one, and is trusted again 3 s after it', () => {
    const cluster = createCluster();
    for (const node of ['a', 'b', 'c']) cluster.of(node).report = { diskError: 'EIO: i/o error' };
    cluster.run(150);
    expect(cluster.verdict('b').degraded).toEqual(['its disk fails: EIO: i/o error']);
    cluster.of('b').report = {};
    cluster.run(2500);
    expect(cluster.verdict('b').degraded).toEqual(['its disk fails']);
    cluster.run(1000);
    expect(cluster.verdict('b').degraded).toEqual([]);
  });

  it('without another node is not degraded: there is nobody to hand over to', () => {
    const cluster = createCluster(['a']);
    cluster.of('a').report = { loopLagMs: 500 };
    cluster.run(10_000);
    expect(cluster.verdict('a').degraded).toEqual([]);
  });
});
