import { leastUsedZone, planPools, planStorageNodes, type StorageNodeLayout } from './layout.ts';
import { BASE_PORT_DEFAULT, BASE_PORT_MAX, PORT_BLOCK, PROCESS_COUNT_MAX, etcdPorts, findFreeBasePort, servicePort, type ServiceRole } from './ports.ts';
import { restartDelayMs } from './restart-policy.ts';

const zones = (nodes: readonly StorageNodeLayout[]): string => nodes.map(({ number, zone }) => `${number}${zone}`).join(' ');

describe('planStorageNodes', () => {
  it.each([
    ['zones go round', 5, ['a', 'b'], [], '1a 2b 3a 4b 5a'],
    ['known nodes keep theirs, new ones go where there are fewest', 4, undefined, planStorageNodes(2, ['a', 'b']), '1a 2b 3a 4b'],
    ['fewer than known: the first ones', 1, undefined, planStorageNodes(3, ['a', 'b']), '1a'],
    ['named zones win', 2, ['x'], planStorageNodes(2, ['a', 'b']), '1x 2x'],
    ['no zones at all', 2, undefined, [], '1default 2default'],
  ])('%s', (_case, count, named, known, expected) => {
    expect(zones(planStorageNodes(count, named, known))).toBe(expected);
  });

  it('prefers the zone named first among equals', () => {
    expect(leastUsedZone(planStorageNodes(2, ['b', 'a']))).toBe('b');
  });
});

describe('planPools', () => {
  const shown = (nodes: readonly StorageNodeLayout[]): string => nodes.map(({ number, pool = 'main' }) => `${number}${pool}`).join(' ');
  const known = planPools({ nodes: 2, standbyNodes: 2, zones: undefined });

  it('counts each pool for itself; no node gets the number of another one, and nodes that were added to other pools stay', () => {
    expect(shown(known)).toBe('1main 2main 3standby 4standby');
    expect(shown(planPools({ nodes: 3, standbyNodes: 1, zones: undefined }, known))).toBe('1main 2main 5main 3standby');
    expect(shown(planPools({ nodes: 2, standbyNodes: 0, zones: undefined }, [...known, { number: 5, zone: 'default', weight: 1, pool: 'other' }]))).toBe('1main 2main 5other');
    expect(planPools({ nodes: 2, standbyNodes: 0, zones: undefined })).toEqual(planStorageNodes(2));
  });
});

describe('ports', () => {
  it('gives every process of the largest cluster a port of its own, inside the block', () => {
    const { client, peer } = etcdPorts(BASE_PORT_DEFAULT);
    const ports = [client, peer];
    for (const [role, count] of Object.entries(PROCESS_COUNT_MAX)) {
      for (let number = 1; number <= count; number += 1) ports.push(servicePort(BASE_PORT_DEFAULT, role as ServiceRole, number));
    }
    expect(new Set(ports).size).toBe(ports.length);
    expect(Math.min(...ports)).toBe(7400);
    expect(Math.max(...ports)).toBeLessThan(BASE_PORT_DEFAULT + PORT_BLOCK);
    expect(BASE_PORT_MAX + PORT_BLOCK + 1000).toBeLessThanOrEqual(65_535);
  });

  it('keeps the ports that the design names', () => {
    expect([servicePort(7400, 'router', 1), servicePort(7400, 'storage-node', 1), servicePort(7400, 'coordinator', 1), servicePort(7400, 'backup', 1)]).toEqual([7400, 7410, 7420, 7430]);
  });

  it('finds a free block', async () => {
    expect((await findFreeBasePort(12_345)) % PORT_BLOCK).toBe(0);
  });

  it('waits longer before each start in a row', () => {
    expect([1, 2, 3, 6, 60].map(restartDelayMs)).toEqual([1000, 2000, 4000, 30_000, 30_000]);
  });
});
