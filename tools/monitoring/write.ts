// node tools/monitoring/write.ts [--check]   writes the rules of Prometheus, their tests and the dashboards of Grafana.
// With --check it writes nothing, names what is out of date, and ends with 1.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { DASHBOARDS } from './dashboards.ts';
import { dashboardJson } from './grafana.ts';
import { rulesTestYaml, rulesYaml } from './rules-yaml.ts';

export interface MonitoringFile {
  /** Path from the repository's top. */
  readonly path: string;
  readonly present: string;
  readonly wanted: string;
}

/** What stands in the generated files, and what should. */
export function monitoringFiles(root: string): MonitoringFile[] {
  const wanted: Readonly<Record<string, string>> = {
    'infra/prometheus/rules/atoll.rules.yml': rulesYaml(),
    'infra/prometheus/tests/atoll.rules.test.yml': rulesTestYaml(),
    ...Object.fromEntries(DASHBOARDS.map((dashboard) => [`infra/grafana/dashboards/${dashboard.name}.json`, dashboardJson(dashboard)])),
  };
  return Object.entries(wanted).map(([path, content]) => ({ path, present: existsSync(`${root}${path}`) ? readFileSync(`${root}${path}`, 'utf8') : '', wanted: content }));
}

function main(): void {
  const { values } = parseArgs({ options: { check: { type: 'boolean', default: false } } });
  const root = fileURLToPath(new URL('../..', import.meta.url));
  const stale = monitoringFiles(root).filter(({ present, wanted }) => present !== wanted);
  for (const { path, wanted } of stale) {
    if (!values.check) {
      mkdirSync(dirname(`${root}${path}`), { recursive: true });
      writeFileSync(`${root}${path}`, wanted);
    }
    console.log(values.check ? `${path} is out of date: run node tools/monitoring/write.ts` : `${path} written`);
  }
  if (values.check && stale.length > 0) process.exitCode = 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main();
