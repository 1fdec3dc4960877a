/** A TCP address. `host` is a name, an IPv4 address or an IPv6 address without brackets. */
export interface Address {
  readonly host: string;
  /** 0 to 65535; 0 asks the system for a free port. */
  readonly port: number;
}

const ADDRESS = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:[\]/]+)):(\d{1,5})$/;

/** `host:port` or `[ipv6]:port`; undefined when malformed. */
export function parseAddress(text: string): Address | undefined {
  const match = ADDRESS.exec(text);
  if (match === null) return undefined;
  const host = match[1] ?? match[2];
  const port = Number(match[3]);
  return host === undefined || port > 65_535 ? undefined : { host, port };
}

export function formatAddress({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** True for addresses that say "every interface": good to listen on, useless to tell to others. */
export function isWildcard({ host }: Address): boolean {
  return host === '0.0.0.0' || host === '::' || host === '*';
}

/** Where others reach what listens at `address` on a machine that they know as `host`: 0.0.0.0 is an address of nobody. */
export function reachableAt(address: Address, host: string): Address {
  return isWildcard(address) ? { host, port: address.port } : address;
}
