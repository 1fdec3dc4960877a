// Alerts, runbooks and dashboards belong together: files are what the tool writes, every alert has a runbook and worlds
// in which it fires, every metric that is asked for is documented, with its labels. promtool.process.spec.ts asks promtool.
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { ALERTS } from './alerts.ts';
import { DASHBOARDS } from './dashboards.ts';
import { groupingsIn, seriesIn } from './expressions.ts';
import { RECORDING_RULES } from './recording-rules.ts';
import { runbookPath } from './rules-yaml.ts';
import { monitoringFiles } from './write.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (path: string): string => readFileSync(`${root}${path}`, 'utf8');

/** What Prometheus adds to every series. */
const TARGET_LABELS = ['job', 'instance'];
/** Not ours: of Prometheus, of etcd. */
const FOREIGN: Readonly<Record<string, readonly string[]>> = { up: TARGET_LABELS, etcd_server_has_leader: TARGET_LABELS };

/** Labels by name of series: those of docs/metrics.md, and what our rules record. */
function knownSeries(): Map<string, readonly string[]> {
  const known = new Map<string, readonly string[]>(Object.entries(FOREIGN));
  for (const [, name = '', type = '', list = ''] of read('docs/metrics.md').matchAll(/^\| `([a-z][a-z0-9_]*)` \| (\w+) \|[^|]*\|([^|]*)\|/gm)) {
    const labels = [...TARGET_LABELS, ...Array.from(list.matchAll(/`(\w+)`/g), ([, label = '']) => label)];
    if (type !== 'histogram') known.set(name, labels);
    else for (const [suffix, more] of [['bucket', ['le']], ['sum', []], ['count', []]] as const) known.set(`${name}_${suffix}`, [...labels, ...more]);
  }
  for (const { record, expr } of RECORDING_RULES) known.set(record, groupingsIn(expr).filter((label) => label !== 'le' && label !== 'instance'));
  return known;
}

const known = knownSeries();

/** What is asked for and not there, for people. */
function unknownIn(expr: string, legend = ''): string[] {
  const asked = seriesIn(expr);
  const problems = asked.flatMap(({ name, labels }) => {
    const has = known.get(name);
    return has === undefined ? [`${name} is not in docs/metrics.md`] : labels.filter((label) => !has.includes(label)).map((label) => `${name} has no label ${label}`);
  });
  const all = asked.flatMap(({ name }) => known.get(name) ?? []);
  const legendLabels = Array.from(legend.matchAll(/\{\{(\w+)\}\}/g), ([, label = '']) => label);
  return [...problems, ...[...groupingsIn(expr), ...legendLabels].filter((label) => !all.includes(label)).map((label) => `nothing in ${expr} has the label ${label}`)];
}

describe('generated files', () => {
  it.each(monitoringFiles(root))('$path is what node tools/monitoring/write.ts writes', ({ present, wanted }) => {
    expect(present).toBe(wanted);
  });

  it('are all that lies beside them', () => {
    const lying = ['infra/grafana/dashboards', 'infra/prometheus/rules', 'infra/prometheus/tests'].flatMap((directory) => readdirSync(`${root}${directory}`).map((file) => `${directory}/${file}`));
    expect(lying.toSorted()).toEqual(monitoringFiles(root).map(({ path }) => path).toSorted());
  });
});

describe('expressions', () => {
  it('are read as series, with labels that are compared, and groupings', () => {
    const expr = 'sum by (instance, le) (rate(atoll_x_bucket{rpc=~"by (a)|up",job="b"}[5m])) / on (job) cluster:atoll_y:max > up';
    expect(seriesIn(expr)).toEqual([{ name: 'atoll_x_bucket', labels: ['rpc', 'job'] }, { name: 'cluster:atoll_y:max', labels: [] }, { name: 'up', labels: [] }]);
    expect(groupingsIn(expr)).toEqual(['instance', 'le', 'job']);
  });
});

describe('alerts', () => {
  it.each(ALERTS)('$name asks for documented metrics, also in its worlds', ({ expr, cases }) => {
    const worlds = cases.flatMap(({ series }) => Object.keys(series));
    expect(seriesIn(expr).length).toBeGreaterThan(0);
    expect([expr, ...worlds].flatMap((each) => unknownIn(each))).toEqual([]);
  });

  it.each(RECORDING_RULES)('$record asks for documented metrics', ({ expr }) => {
    expect(unknownIn(expr)).toEqual([]);
  });

  it.each(ALERTS)('$name has a world in which it fires', ({ cases }) => {
    expect(cases.some(({ firing }) => Object.values(firing).some((count) => count > 0))).toBe(true);
  });

  it('have a moment of silence each, but for those that fire for good', () => {
    const isQuietSometime = ALERTS.filter(({ cases }) => cases.some(({ firing }) => Object.values(firing).includes(0)));
    expect(isQuietSometime).toHaveLength(ALERTS.length);
  });

  it.each(ALERTS)('$name has a runbook: meaning, impact, diagnosis, mitigation', ({ name }) => {
    const sections = read(runbookPath(name)).split(/^## /m);
    expect(sections.slice(1).map((section) => section.split('\n', 1)[0])).toEqual(['Meaning', 'Impact', 'Diagnosis', 'Mitigation']);
    for (const section of sections.slice(1)) expect(section.trim().length).toBeGreaterThan(40);
    expect(sections[0]).toBe(`# ${name}\n\n`);
  });

  it('have all the runbooks there are', () => {
    expect(readdirSync(`${root}docs/operating/runbooks`).toSorted()).toEqual(ALERTS.map(({ name }) => `${name}.md`).toSorted());
  });

  it('are all in the list of docs/operating/monitoring.md, with those that are played', () => {
    const listed = Array.from(read('docs/operating/monitoring.md').matchAll(/^\| \[(Atoll\w+)\]\(runbooks\/\1\.md\) \| (\w+) \| (\w+) \|.*\| (yes|no) \|$/gm), ([, ...columns]) => columns.join(' '));
    const [, , faults = ''] = read('tests/cluster/src/monitoring.spec.ts').split(/^describe\(/m);
    const [, ofStandbys = ''] = read('tests/cluster/src/standby.spec.ts').split(/^describe\(/m);
    const isPlayed = (alert: string): boolean => `${faults}${ofStandbys}`.includes(`'${alert}'`);
    expect(listed).toEqual(ALERTS.map(({ name, severity, for: lasting }) => `${name} ${severity} ${lasting} ${isPlayed(name) ? 'yes' : 'no'}`));
  });
});

describe('prometheus.yml', () => {
  it('asks each service at the port of .env.example + 1000', () => {
    const text = read('infra/prometheus/prometheus.yml');
    const ports = Object.fromEntries(Array.from(text.matchAll(/"([a-z]+(?:-[a-z]+)?)-\d:(\d+)"/g), ([, service, port]) => [service, Number(port)]));
    expect(ports).toEqual({ router: 8400, 'storage-node': 8410, coordinator: 8420, backup: 8430, etcd: 2379 });
    for (const service of ['router', 'storage-node', 'coordinator', 'backup']) {
      expect(read(`apps/${service}/src/config.ts`)).toContain(`listen: '127.0.0.1:${ports[service]! - 1000}'`);
    }
  });
});

describe.each(DASHBOARDS)('the dashboard $name', ({ name, rows, variables }) => {
  const panels = rows.flatMap((row) => row.panels);

  it('asks for documented metrics, by labels that they have', () => {
    const problems = panels.flatMap(({ title, queries }) => queries.flatMap(({ expr, legend }) => unknownIn(expr, legend).map((problem) => `${title}: ${problem}`)));
    expect(problems).toEqual([]);
    expect(variables.flatMap(({ metric, of }) => (known.get(metric)?.includes(of) === true ? [] : [`${metric} ${of}`]))).toEqual([]);
  });

  it('has panels that lie beside each other, with ids, titles and descriptions of their own', () => {
    const model = JSON.parse(read(`infra/grafana/dashboards/${name}.json`)) as { uid: string; panels: { id: number; title: string; gridPos: { x: number; y: number; w: number; h: number } }[] };
    expect(model.uid).toBe(`atoll-${name}`);
    expect(new Set(model.panels.map(({ id }) => id)).size).toBe(model.panels.length);
    expect(new Set(panels.map(({ title }) => title)).size).toBe(panels.length);
    for (const { description } of panels) expect(description).not.toBe('');
    const cells = model.panels.flatMap(({ gridPos: { x, y, w, h } }) => Array.from({ length: w * h }, (_, index) => `${x + (index % w)} ${y + Math.floor(index / w)}`));
    expect(new Set(cells).size).toBe(cells.length);
    expect(Math.max(...model.panels.map(({ gridPos: { x, w } }) => x + w))).toBeLessThanOrEqual(24);
  });

  it('reads from the data source that is provisioned', () => {
    const uids = new Set(Array.from(read(`infra/grafana/dashboards/${name}.json`).matchAll(/"type": "prometheus",\s+"uid": "(\w+)"/g), ([, uid]) => uid));
    expect([...uids]).toEqual(['prometheus']);
    expect(read('infra/grafana/provisioning/datasources/prometheus.yml')).toContain('uid: prometheus');
    expect(existsSync(`${root}infra/grafana/provisioning/dashboards/atoll.yml`)).toBe(true);
  });
});
