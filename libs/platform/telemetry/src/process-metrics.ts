import { PerformanceObserver, constants, monitorEventLoopDelay, performance, type PerformanceEntry } from 'node:perf_hooks';
import type { Metrics, Reading } from './metrics.ts';

/** The event-loop probe's timer interval, in ms: the shortest delay that it sees. */
const LAG_RESOLUTION_MS = 10;

const GC_KINDS = new Map<number, string>([
  [constants.NODE_PERFORMANCE_GC_MAJOR, 'major'],
  [constants.NODE_PERFORMANCE_GC_MINOR, 'minor'],
  [constants.NODE_PERFORMANCE_GC_INCREMENTAL, 'incremental'],
  [constants.NODE_PERFORMANCE_GC_WEAKCB, 'weakcb'],
]);

/** Metrics that every process has: memory, CPU, event loop, garbage collection, build. Returns how to stop them. */
export function addProcessMetrics(metrics: Metrics, build: { readonly service: string; readonly version: string }): () => void {
  metrics.gaugeFamily('atoll_build_info', { description: 'What runs here; the value is always 1.' }, () => [
    { labels: { service: build.service, version: build.version, node: process.version }, value: 1 },
  ]);
  metrics.gauge('process_start_time_seconds', { description: 'Start of the process, seconds since the epoch.', unit: 's' }, () => performance.timeOrigin / 1000);
  metrics.gauge('process_wall_clock_seconds', { description: 'Wall clock of the process, seconds since the epoch.', unit: 's' }, () => Date.now() / 1000);
  metrics.observedCounter('process_cpu_seconds_total', { description: 'CPU time used.', unit: 's' }, () => {
    const { user, system } = process.cpuUsage();
    return [
      { labels: { mode: 'user' }, value: user / 1e6 },
      { labels: { mode: 'system' }, value: system / 1e6 },
    ];
  });
  metrics.gaugeFamily('process_memory_bytes', { description: 'Memory by kind: rss (whole process), heap used and total, external and array_buffers (off the heap).', unit: 'By' }, () => {
    const { rss, heapUsed, heapTotal, external, arrayBuffers } = process.memoryUsage();
    const kinds = { rss, heap_used: heapUsed, heap_total: heapTotal, external, array_buffers: arrayBuffers };
    return Object.entries(kinds).map(([kind, value]) => ({ labels: { kind }, value }));
  });
  const stopLag = addEventLoopMetrics(metrics);
  const stopGc = addGcMetrics(metrics);
  return () => {
    stopLag();
    stopGc();
  };
}

function addEventLoopMetrics(metrics: Metrics): () => void {
  const delay = monitorEventLoopDelay({ resolution: LAG_RESOLUTION_MS });
  delay.enable();
  const lagSeconds = (nanoseconds: number): number => Math.max(0, nanoseconds / 1e6 - LAG_RESOLUTION_MS) / 1000;
  metrics.gaugeFamily('nodejs_eventloop_lag_seconds', { description: 'How late timers ran since the metrics were last read.', unit: 's' }, () => {
    const readings: Reading[] =
      delay.count === 0
        ? []
        : [50, 99, 100].map((percent) => ({ labels: { quantile: String(percent / 100) }, value: lagSeconds(delay.percentile(percent)) }));
    delay.reset();
    return readings;
  });
  let last = performance.eventLoopUtilization();
  metrics.gauge('nodejs_eventloop_utilization_ratio', { description: 'Busy share of the event loop since the metrics were last read.', unit: '1' }, () => {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, last);
    last = now;
    return utilization;
  });
  return () => {
    delay.disable();
  };
}

function addGcMetrics(metrics: Metrics): () => void {
  const pauses = metrics.histogramFamily('nodejs_gc_pause_seconds', ['kind'], { description: 'Garbage collection pauses.', unit: 's' });
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries() as (PerformanceEntry & { detail?: { kind?: number } })[]) {
      pauses.with(GC_KINDS.get(entry.detail?.kind ?? -1) ?? 'other').record(entry.duration);
    }
  });
  observer.observe({ entryTypes: ['gc'] });
  return () => observer.disconnect();
}
