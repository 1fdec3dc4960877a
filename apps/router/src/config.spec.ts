import { readFile } from 'node:fs/promises';
import { settingsTable } from '@atoll/platform-config';
import { SETTINGS, parseConfig } from './config.ts';

describe('settings', () => {
  it('stand in the README as they are', async () => {
    const readme = await readFile(new URL('../README.md', import.meta.url), 'utf8');
    expect(readme).toContain(settingsTable(SETTINGS));
  });

  it('have defaults for everything', () => {
    expect(parseConfig({})).toMatchObject({ operationsMax: 65_536, streamWindowOperations: 2048, retryBudget: { perOperation: 0.1, perSecond: 10, max: 1000 } });
  });

  it('list every mistake at once', () => {
    expect(() => parseConfig({ ROUTER_OPERATIONS_MAX: '0', ROUTER_RETRY_RATIO: 'x', ROUTER_NONSENSE: '1' })).toThrow(
      /ROUTER_OPERATIONS_MAX[^]*ROUTER_RETRY_RATIO[^]*ROUTER_NONSENSE/,
    );
    expect(() => parseConfig({ ROUTER_OPERATIONS_MAX: '10' })).toThrow(/ROUTER_STREAM_WINDOW_OPERATIONS must not be above/);
  });
});
