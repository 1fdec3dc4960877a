import { readFileSync } from 'node:fs';
import { settingsTable } from '@atoll/platform-config';
import { SETTINGS, parseConfig } from './config.ts';

describe('the settings of a coordinator', () => {
  it('have defaults that serve a local cluster', () => {
    expect(parseConfig({})).toMatchObject({
      common: { id: 'coordinator-1', listen: { host: '127.0.0.1', port: 7420 }, httpListen: { port: 8420 } },
      electionTtlMs: 3000,
      tickMs: 250,
      settleMs: 1000,
      settleMsMax: 5000,
      learnersPerNodeMax: 8,
      reReplicateAfterMs: 300_000,
    });
  });

  it('are refused together, each by name', () => {
    const env = { COORDINATOR_TICK_MS: 'soon', COORDINATOR_SETTLE_MS: '10s', COORDINATOR_SETTLE_MS_MAX: '5s', COORDINATOR_LEARNERS_MAX: '3' };
    expect(() => parseConfig(env)).toThrow(/COORDINATOR_TICK_MS must be[\s\S]*COORDINATOR_SETTLE_MS must not be above[\s\S]*COORDINATOR_LEARNERS_MAX is not a setting/);
  });

  it('know of failpoints only where tests name a directory, and never in production', () => {
    expect(parseConfig({}).failpointsDir).toBeUndefined();
    expect(parseConfig({ COORDINATOR_FAILPOINTS_DIR: '/tmp/points' }).failpointsDir).toBe('/tmp/points');
    expect(() => parseConfig({ COORDINATOR_FAILPOINTS_DIR: 'points' })).toThrow(/COORDINATOR_FAILPOINTS_DIR must be an absolute path/);
    expect(() => parseConfig({ COORDINATOR_FAILPOINTS_DIR: '/tmp/points', NODE_ENV: 'production' })).toThrow(/COORDINATOR_FAILPOINTS_DIR is for tests/);
  });

  it('stand in the README as they are', () => {
    expect(readFileSync(new URL('../README.md', import.meta.url), 'utf8')).toContain(settingsTable(SETTINGS));
  });
});
