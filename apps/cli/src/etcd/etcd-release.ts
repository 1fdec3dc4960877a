// The etcd that is downloaded where the machine has none. Checksums are those of SHA256SUMS of the release;
// raise the version and both sums together.

/** Oldest etcd that Atoll works with. */
export const ETCD_VERSION_MIN: readonly [number, number] = [3, 4];

export const ETCD_RELEASE = {
  version: '3.5.21',
  baseUrl: 'https://github.com/etcd-io/etcd/releases/download',
  sha256: {
    'linux-amd64': 'adddda4b06718e68671ffabff2f8cee48488ba61ad82900e639d108f2148501c',
    'linux-arm64': '95bf6918623a097c0385b96f139d90248614485e781ec9bee4768dbb6c79c53f',
  },
} as const;

/** A release: where it lies and what its archives' SHA-256 are, by `os-arch` as etcd names them. */
export interface EtcdRelease {
  readonly version: string;
  readonly baseUrl: string;
  readonly sha256: Readonly<Record<string, string>>;
}

/** etcd's name for this machine, or undefined where no pinned archive exists. */
export function etcdTarget(release: EtcdRelease, platform: string, arch: string): string | undefined {
  const target = `${platform}-${arch === 'x64' ? 'amd64' : arch}`;
  return target in release.sha256 ? target : undefined;
}

/** `3.4.23` out of the text of `etcd --version`; undefined when it is not etcd's. */
export function parseEtcdVersion(output: string): string | undefined {
  return /etcd Version:\s*(\d+\.\d+\.\d+\S*)/.exec(output)?.[1];
}

export function isSupportedEtcd(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [majorMin, minorMin] = ETCD_VERSION_MIN;
  return major > majorMin || (major === majorMin && minor >= minorMin);
}
