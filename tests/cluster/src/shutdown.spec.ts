// SIGTERM under load: exit code 0 within 10 s, and clients notice nothing.
import { jest } from '@jest/globals';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';
import { Load } from './load.ts';

jest.setTimeout(180_000);

const SEED = 8001;
/** A command of the CLI takes a moment of its own beside the service's 10 s. */
const STOPPED_MS = 12_000;

let cluster: DevCluster;

beforeAll(async () => {
  cluster = await DevCluster.start({ nodes: 3, routers: 2 });
}, START_MS);

afterAll(() => cluster?.stop(), STOP_MS);

describe('SIGTERM under load', () => {
  it.each(['backup-1', 'coordinator-1', 'router-1', 'router-2', 'node-1', 'node-2'])('%s ends with 0 in time; no call fails and no acknowledged write is lost', async (id) => {
    await cluster.untilRedundant();
    const seed = SEED + cluster.services.findIndex((process) => process.id === id);
    const load = new Load({ client: cluster.client(), seed }).start();
    await load.progress();
    const startMs = performance.now();
    const ended = await cluster.terminate(id);
    const tookMs = performance.now() - startMs;
    await load.progress();
    await cluster.startProcess(id);
    await load.progress();
    const { failures, wrong } = await load.stop();
    expect({ state: ended.state, exit: ended.exit }).toEqual({ state: 'stopped', exit: 'exit code 0' });
    expect(tookMs).toBeLessThan(STOPPED_MS);
    expect({ failures, wrong }).toEqual({ failures: {}, wrong: [] });
    expect(await load.verify()).toEqual([]);
  });

  it('leaves equal replicas', async () => {
    await cluster.untilRedundant();
    expect(await cluster.compareReplicas()).toMatchObject({ problems: [], replicasFewest: 2 });
  });
});
