import { frozenKeyspaces } from './frozen-keyspaces.ts';

const FREEZE = { id: 'f', sinceMs: 1000, note: '' };

describe('frozen keyspaces', () => {
  it('are those that clients wait for: not one whose standby was promoted, on another pool or in another cluster', () => {
    const keyspaces = [
      { name: 'open' },
      { name: 'by-hand', freeze: FREEZE },
      { name: 'being-promoted', freeze: { ...FREEZE, forStandby: 'being-promoted-standby' } },
      { name: 'promoted', freeze: { ...FREEZE, forStandby: 'promoted-standby' }, movedTo: 'promoted-standby' },
      { name: 'elsewhere', freeze: { ...FREEZE, movedTo: { cluster: 'far', keyspace: 'elsewhere', hold: '', timeMs: 0 } } },
    ];
    expect(frozenKeyspaces(keyspaces, 4000)).toEqual([{ keyspace: 'by-hand', forMs: 3000 }, { keyspace: 'being-promoted', forMs: 3000 }]);
  });
});
