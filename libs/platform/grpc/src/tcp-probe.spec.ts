import { createServer, type AddressInfo } from 'node:net';
import { probeTcp } from './tcp-probe.ts';

describe('a probe of an address', () => {
  it('tells a listening process from a dead one (R30)', async () => {
    const server = createServer((socket) => socket.destroy());
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    expect(await probeTcp(address, 2000)).toBe('reached');
    await new Promise((resolve) => server.close(resolve));
    expect(await probeTcp(address, 2000)).toBe('refused');
  });

  it.each(['nowhere', 'host.invalid:1'])('says nothing of %s', async (address) => {
    expect(await probeTcp(address, 2000)).toBe('silent');
  });
});
