import { readFileSync } from 'node:fs';
import { settingsTable } from '@atoll/platform-config';
import { STORAGE_NODE_SETTINGS, readConfig } from './config.ts';

describe('the settings of a storage node', () => {
  it('have defaults that serve a local cluster', () => {
    expect(readConfig({})).toMatchObject({
      id: 'node-1',
      listen: { host: '127.0.0.1', port: 7410 },
      httpListen: { port: 8410 },
      zone: 'default',
      pool: 'main',
      weight: 1,
      dataDir: undefined,
      heartbeatMs: 100,
      followerAckTimeoutMs: 600,
      leaseMs: 1000,
      clockDriftMs: 50,
      registrationTtlMs: 10_000,
    });
  });

  it('are refused together, each by name', () => {
    const env = { STORAGE_NODE_WEIGHT: '0', STORAGE_NODE_HEARTBEAT_MS: '400', STORAGE_NODE_ZONES: 'a' };
    expect(() => readConfig(env)).toThrow(/STORAGE_NODE_WEIGHT must be[\s\S]*at least twice STORAGE_NODE_HEARTBEAT_MS \(R24\)[\s\S]*STORAGE_NODE_ZONES is not a setting/);
  });

  it.each([
    [{ STORAGE_NODE_FOLLOWER_ACK_TIMEOUT_MS: '1000' }, 'STORAGE_NODE_FOLLOWER_ACK_TIMEOUT_MS must be below STORAGE_NODE_LEASE_MS (R24)'],
    [{ STORAGE_NODE_LEASE_MS: '600' }, 'STORAGE_NODE_FOLLOWER_ACK_TIMEOUT_MS must be below STORAGE_NODE_LEASE_MS (R24)'],
    [{ STORAGE_NODE_CLOCK_DRIFT_MS: '251' }, 'STORAGE_NODE_CLOCK_DRIFT_MS must be at most a quarter of STORAGE_NODE_LEASE_MS (R14)'],
  ])('must fit together: %j', (env, problem) => {
    expect(() => readConfig(env)).toThrow(problem);
  });

  it('stand in the README as they are', () => {
    expect(readFileSync(new URL('../README.md', import.meta.url), 'utf8')).toContain(settingsTable(STORAGE_NODE_SETTINGS));
  });
});
