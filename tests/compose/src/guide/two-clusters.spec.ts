import { forTwoClusters, isOfTwoClusters } from './two-clusters.ts';

const ROUTERS = { east: ['10.1.0.1:7400', '10.1.0.1:7401'], west: ['10.2.0.1:7400', '10.2.0.1:7401'] };

describe('a chapter of two clusters', () => {
  it.each<[command: string, executed: string]>([
    ['atoll nodes', 'atoll nodes'],
    ['atoll keyspace list EAST', 'atoll keyspace list'],
    ['atoll backup standby promote orders WEST', 'west backup standby promote orders'],
    ['until atoll backup standby show orders WEST | grep -q FOLLOWING; do sleep 2; done', 'until west backup standby show orders | grep -q FOLLOWING; do sleep 2; done'],
    ['atoll set k v EAST && atoll get k WEST', 'atoll set k v && west get k'],
    ['atoll backup standby create --from-cluster east-router-1:7400,east-router-2:7400 --all WEST', 'west backup standby create --from-cluster 10.1.0.1:7400,10.1.0.1:7401 --all'],
    ['atoll backup standby create --from-cluster west-router-1:7400 --all EAST', 'atoll backup standby create --from-cluster 10.2.0.1:7400 --all'],
  ])('says %j for %j', (command, executed) => {
    expect(forTwoClusters(command, ROUTERS)).toBe(executed);
  });

  it('is one that speaks of the west', () => {
    expect([isOfTwoClusters('$ atoll nodes WEST'), isOfTwoClusters('$ atoll nodes')]).toEqual([true, false]);
  });
});
