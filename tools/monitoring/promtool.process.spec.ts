// What Prometheus itself says of the configuration and the rules, where its promtool is installed.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { itWith } from '@atoll/platform-etcd/testing';

const root = fileURLToPath(new URL('../..', import.meta.url));
const itWithTool = itWith(spawnSync('promtool', ['--version']).status === 0, 'promtool is not installed (it comes with Prometheus)');

function promtool(...args: readonly string[]): { code: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync('promtool', args, { cwd: `${root}infra/prometheus`, encoding: 'utf8' });
  return { code: status, output: `${stdout}${stderr}` };
}

describe('alerts', () => {
  itWithTool('are accepted by promtool, with the configuration', () => {
    expect(promtool('check', 'config', 'prometheus.yml')).toMatchObject({ code: 0 });
    expect(promtool('check', 'rules', 'rules/atoll.rules.yml')).toMatchObject({ code: 0 });
  });

  itWithTool('fire and stay silent in their worlds (promtool test rules)', () => {
    const { code, output } = promtool('test', 'rules', 'tests/atoll.rules.test.yml');
    expect({ code, output }).toMatchObject({ code: 0, output: expect.stringContaining('SUCCESS') });
  });
});
