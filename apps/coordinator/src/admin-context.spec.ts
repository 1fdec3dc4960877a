import { SeededRandom } from '@atoll/core-runtime';
import { GuardedMetadataStore, ensureClusterId, openClusterView, type ClusterView } from '@atoll/platform-etcd';
import { InMemoryMetadataStore } from '@atoll/platform-etcd/testing';
import { requireTerm, type AdminContext } from './admin-context.ts';

describe('a coordinator that is not elected', () => {
  let store: GuardedMetadataStore;
  let view: ClusterView;

  beforeEach(async () => {
    store = new GuardedMetadataStore(new InMemoryMetadataStore());
    await ensureClusterId(store, () => 'c1');
    await store.transact([], [{ kind: 'put', key: 'coordinator/1', value: JSON.stringify({ id: 'coordinator-1', address: '127.0.0.1:7420' }) }]);
    view = await openClusterView(store, {
      onProblem: (problem) => {
        throw new Error(problem);
      },
    });
  });

  afterEach(async () => {
    await view.close();
    await store.close();
  });

  const contextOf = (id: string): AdminContext => ({
    id,
    store,
    random: new SeededRandom(1),
    view: () => view,
    term: () => undefined,
    judge: () => ({ state: 'UP', stateMs: 0, degraded: [], isEtcdLost: false, reason: '' }),
  });

  it('names the one that is', () => {
    expect(() => requireTerm(contextOf('coordinator-2'))).toThrow(
      expect.objectContaining({ reason: 'NOT_COORDINATOR', metadata: { coordinator: 'coordinator-1', address: '127.0.0.1:7420' } }),
    );
  });

  it('does not send callers to itself while the key of its lost office still stands', () => {
    expect(() => requireTerm(contextOf('coordinator-1'))).toThrow(
      expect.objectContaining({ reason: 'NOT_COORDINATOR', metadata: { coordinator: '', address: '' } }),
    );
  });
});
