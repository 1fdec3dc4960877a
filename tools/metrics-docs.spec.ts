// docs/metrics.md names every metric that the code registers, with its type and labels, and no other.
import { globSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

const TYPES: Readonly<Record<string, string>> = {
  counter: 'counter',
  counterFamily: 'counter',
  observedCounter: 'counter',
  histogram: 'histogram',
  histogramFamily: 'histogram',
  gauge: 'gauge',
  gaugeFamily: 'gauge',
};

const REGISTRATION = new RegExp(`\\b(${Object.keys(TYPES).join('|')})\\(\\s*'([a-z][a-z0-9_]*)',\\s*(\\[[^\\]]*\\])?`, 'g');

/** By name: its type, and the labels of counters and histograms; those of gauges come with each reading. */
function registered(): Map<string, { type: string; labels: string | undefined }> {
  const metrics = new Map<string, { type: string; labels: string | undefined }>();
  for (const file of globSync('{apps,libs}/**/src/**/*.ts', { cwd: root, exclude: (path) => path.includes('node_modules') || path.includes('/gen') })) {
    if (file.endsWith('.spec.ts')) continue;
    for (const [, method = '', name = '', list] of readFileSync(`${root}${file}`, 'utf8').matchAll(REGISTRATION)) {
      metrics.set(name, { type: TYPES[method]!, labels: list === undefined ? undefined : [...list.matchAll(/'([^']+)'/g)].map(([, label]) => label).join(', ') });
    }
  }
  return metrics;
}

/** By name: type and labels, from the tables. */
function documented(): Map<string, { type: string; labels: string }> {
  const rows = readFileSync(`${root}docs/metrics.md`, 'utf8').matchAll(/^\| `([a-z][a-z0-9_]*)` \| (\w+) \|[^|]*\|([^|]*)\|/gm);
  return new Map([...rows].map(([, name = '', type = '', labels = '']) => [name, { type, labels: labels.replaceAll('`', '').trim() }]));
}

describe('docs/metrics.md', () => {
  const code = registered();
  const doc = documented();

  it('names the metrics of the code, and no others', () => {
    expect(code.size).toBeGreaterThan(40);
    expect([...doc.keys()].toSorted()).toEqual([...code.keys()].toSorted());
  });

  it('gives their types', () => {
    const typesOf = (metrics: ReadonlyMap<string, { type: string }>): unknown => Object.fromEntries([...metrics].map(([name, { type }]) => [name, type]));
    expect(typesOf(doc)).toEqual(typesOf(code));
  });

  it('gives the labels of counters and histograms', () => {
    const labelled = [...code].filter(([, { labels }]) => labels !== undefined);
    expect(labelled.map(([name]) => [name, doc.get(name)?.labels])).toEqual(labelled.map(([name, { labels }]) => [name, labels]));
  });
});
