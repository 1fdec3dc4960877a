import { startHttpEndpoint, type HttpEndpoint, type Readiness } from './http-endpoint.ts';
import { Family, Histogram, SERIES_MAX } from './instruments.ts';
import { Metrics } from './metrics.ts';
import { startTelemetry, type Telemetry } from './start-telemetry.ts';

describe('Histogram', () => {
  it.each([
    [-1, 0],
    [1, 0],
    [1.1, 1],
    [5, 1],
    [10, 2],
    [11, 3],
  ])('puts %d into bucket %d of <= 1, <= 5, <= 10, rest', (value, bucket) => {
    const histogram = new Histogram([1, 5, 10]);
    histogram.record(value);
    expect(histogram.counts.indexOf(1)).toBe(bucket);
    expect(histogram.sum).toBe(value);
  });
});

describe('Family', () => {
  it('has a bound: further label sets share one (I10)', () => {
    const family = new Family(['rpc', 'status'], () => ({ count: 0 }));
    for (let index = 0; index < SERIES_MAX * 2; index += 1) family.with(`rpc-${index}`, 'OK').count += 1;
    const series = [...family.series()];
    expect(series).toHaveLength(SERIES_MAX + 1);
    expect(series.at(-1)).toEqual({ labels: { rpc: 'other', status: 'other' }, instrument: { count: SERIES_MAX } });
  });
});

describe('Metrics', () => {
  it('refuses a name twice', () => {
    const metrics = new Metrics();
    metrics.counter('a_total', { description: 'a' });
    expect(() => metrics.counter('a_total', { description: 'a' })).toThrow('registered twice');
  });

  it('goes on when one reading fails', async () => {
    const metrics = new Metrics();
    metrics.gauge('broken', { description: 'x' }, () => {
      throw new Error('no');
    });
    metrics.gauge('fine', { description: 'x' }, () => 1);
    const { resourceMetrics, errors } = await metrics.collect();
    expect(errors).toHaveLength(1);
    expect(resourceMetrics.scopeMetrics[0]?.metrics.map(({ descriptor }) => descriptor.name)).toEqual(['fine']);
  });
});

describe('HTTP endpoint', () => {
  let telemetry: Telemetry;
  let http: HttpEndpoint;
  let live = true;
  let readiness: Readiness = { ready: true, reasons: [] };
  const fetchText = async (path: string, method = 'GET'): Promise<[number, string]> => {
    const response = await fetch(`http://127.0.0.1:${http.address.port}${path}`, { method });
    return [response.status, await response.text()];
  };
  beforeAll(async () => {
    telemetry = await startTelemetry({ service: 'spec', instanceId: 'spec-1', version: '1.2.3', traceRatio: 0 });
    http = await startHttpEndpoint({
      listen: { host: '127.0.0.1', port: 0 },
      metrics: telemetry.handleMetricsRequest,
      isLive: () => live,
      readiness: () => readiness,
      settings: { SPEC_SIZE: { value: '7', given: true } },
    });
  });
  afterAll(async () => {
    await http.close();
    await telemetry.shutdown();
  });

  it('shows counters, histograms in seconds, gauges and meters as Prometheus text', async () => {
    telemetry.metrics.counterFamily('spec_requests_total', ['rpc'], { description: 'Requests.' }).with('Get').add(3);
    const durations = telemetry.metrics.histogram('spec_duration_seconds', { description: 'Durations.', unit: 's' });
    for (const ms of [0.2, 0.3, 4]) durations.record(ms);
    telemetry.metrics.gauge('spec_size_bytes', { description: 'Size.', unit: 'By' }, () => 7);
    telemetry.createMeter('spec').createCounter('spec.rare').add(2);
    const [status, text] = await fetchText('/metrics');
    expect(status).toBe(200);
    expect(text).toContain('# TYPE spec_requests_total counter\nspec_requests_total{rpc="Get"} 3\n');
    expect(text).toContain('spec_duration_seconds_bucket{le="0.0002"} 1\n');
    expect(text).toContain('spec_duration_seconds_bucket{le="0.0003"} 2\n');
    expect(text).toContain('spec_duration_seconds_bucket{le="+Inf"} 3\n');
    expect(text).toContain('spec_duration_seconds_count 3\n');
    expect(text).toMatch(/spec_duration_seconds_sum 0\.0045\d*\n/);
    expect(text).toContain('spec_size_bytes 7\n');
    expect(text).toContain('spec_rare_total 2\n');
  });

  it('shows the process: build, memory, CPU, event loop, garbage collection', async () => {
    const [, text] = await fetchText('/metrics');
    expect(text).toContain(`atoll_build_info{service="spec",version="1.2.3",node="${process.version}"} 1`);
    for (const name of ['process_memory_bytes{kind="rss"}', 'process_cpu_seconds_total{mode="user"}', 'nodejs_eventloop_utilization_ratio', '# TYPE nodejs_gc_pause_seconds histogram']) {
      expect(text).toContain(name);
    }
  });

  it('tells life and readiness, with reasons', async () => {
    expect(await fetchText('/healthz')).toEqual([200, 'ok\n']);
    expect((await fetchText('/readyz'))[0]).toBe(200);
    live = false;
    readiness = { ready: false, reasons: ['waiting for etcd'] };
    expect((await fetchText('/healthz'))[0]).toBe(503);
    expect(await fetchText('/readyz')).toEqual([503, '{"ready":false,"reasons":["waiting for etcd"]}\n']);
  });

  it('tells its settings', async () => {
    expect(await fetchText('/settings')).toEqual([200, '{"SPEC_SIZE":{"value":"7","given":true}}\n']);
  });

  it('answers anything else with an error', async () => {
    expect((await fetchText('/nothing'))[0]).toBe(404);
    expect((await fetchText('/metrics', 'POST'))[0]).toBe(405);
  });

  it('counts nothing and says so where metrics are off', async () => {
    const off = await startTelemetry({ service: 'spec', instanceId: 'spec-2', version: '1.2.3', traceRatio: 0, hasMetrics: false });
    const endpoint = await startHttpEndpoint({ listen: { host: '127.0.0.1', port: 0 }, metrics: off.handleMetricsRequest, readiness: () => readiness });
    try {
      const counter = off.metrics.counterFamily('spec_requests_total', ['rpc'], { description: 'Requests.' }).with('Get');
      const durations = off.metrics.histogram('spec_duration_seconds', { description: 'Durations.', unit: 's' });
      off.metrics.gauge('spec_size_bytes', { description: 'Size.', unit: 'By' }, () => {
        throw new Error('must not be read');
      });
      counter.add(3);
      durations.record(2);
      expect([counter.value, durations.sum, Math.max(...durations.counts)]).toEqual([0, 0, 0]);
      expect(await off.metrics.collect()).toMatchObject({ resourceMetrics: { scopeMetrics: [{ metrics: [] }] }, errors: [] });
      const response = await fetch(`http://127.0.0.1:${endpoint.address.port}/metrics`);
      expect([response.status, await response.text()]).toEqual([404, 'metrics are off here (ATOLL_METRICS)\n']);
    } finally {
      await endpoint.close();
      await off.shutdown();
    }
  });

  it('says which address is busy', async () => {
    const again = startHttpEndpoint({ listen: http.address, metrics: telemetry.handleMetricsRequest, readiness: () => readiness });
    await expect(again).rejects.toThrow(`HTTP endpoint: address 127.0.0.1:${http.address.port} is in use by another process; set ATOLL_HTTP_LISTEN`);
  });
});
