import { PeersByAddress } from './peers-by-address.ts';

describe('connections by address', () => {
  const closed: string[] = [];
  const connect = (address: string) => ({ address, close: () => void closed.push(address) });

  it('are made once, kept as long as somebody has the address, and closed with the rest', () => {
    const peers = new PeersByAddress(connect);
    const first = peers.at('a:1');
    expect(peers.at('a:1')).toBe(first);
    peers.at('b:1');
    peers.at('c:1');
    peers.retain(new Set(['a:1', 'c:1', 'd:1']));
    expect(closed).toEqual(['b:1']);
    expect(peers.at('a:1')).toBe(first);
    peers.close();
    expect(closed).toEqual(['b:1', 'a:1', 'c:1']);
    expect(peers.at('a:1')).not.toBe(first);
  });
});
