// A real Prometheus beside a cluster, with the rules of this repository. Times are cut: it asks every second, an alert
// fires after two, a migration counts as stuck after ten, and what is behind need not be it for long.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually, freePort } from '@atoll/platform-etcd/testing';
import { ROOT } from './run-command.ts';
import { endChild } from './service-process.ts';

const BINARY = process.env['PROMETHEUS_BIN'] ?? 'prometheus';
const START_MS = 20_000;
/** Seconds behind, where those of life would take too long. */
const LAGS: readonly (readonly [inLife: RegExp, here: string])[] = [
  [/(atoll_copy_lag_seconds\) >) 30/, '$1 5'],
  [/(atoll_standby_lag_seconds\) >) 10/, '$1 3'],
  [/(atoll_backup_recovery_point_lag_seconds\) >) 60/, '$1 10'],
];
const STUCK_MIGRATION = /^.*increase\(atoll_sync_sent_bytes_total\[30m\]\).*$/m;
const CALL_MS = 10_000;

export const hasPrometheus = spawnSync(BINARY, ['--version']).status === 0;

/** host:port of a /metrics, and the labels that Prometheus gives its series. */
export interface Target {
  readonly address: string;
  readonly job: string;
  readonly instance: string;
}

interface Processes {
  readonly [job: string]: readonly { readonly id: string; readonly httpAddress: string }[];
}

/** Each process by its id, under the name of its job: `{ router: cluster.up.routers }`. */
export const targetsOf = (processes: Processes): Target[] =>
  Object.entries(processes).flatMap(([job, each]) => each.map(({ id, httpAddress }) => ({ job, instance: id, address: httpAddress })));

export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export class Prometheus {
  readonly #child: ChildProcess;
  readonly #directory: string;
  /** http://host:port. */
  readonly url: string;

  private constructor(child: ChildProcess, directory: string, url: string) {
    this.#child = child;
    this.#directory = directory;
    this.url = url;
  }

  /** Resolves when it answers. */
  static async start(targets: readonly Target[]): Promise<Prometheus> {
    const directory = await mkdtemp(join(tmpdir(), 'atoll-prometheus-'));
    const rules = await readFile(join(ROOT, 'infra/prometheus/rules/atoll.rules.yml'), 'utf8');
    const soon = rules.replace(/^( +for:) .*$/gm, '$1 2s').replace(STUCK_MIGRATION, (rule) => rule.replaceAll('[30m]', '[10s]'));
    await writeFile(join(directory, 'rules.yml'), LAGS.reduce((text, [inLife, here]) => text.replace(inLife, here), soon));
    const jobs = targets.map(({ address, job, instance }, index) => ({ job_name: `target-${index}`, static_configs: [{ targets: [address], labels: { job, instance } }] }));
    // JSON is YAML.
    await writeFile(join(directory, 'prometheus.yml'), JSON.stringify({ global: { scrape_interval: '1s', scrape_timeout: '900ms', evaluation_interval: '1s' }, rule_files: ['rules.yml'], scrape_configs: jobs }));
    const port = await freePort();
    const args = [`--config.file=${join(directory, 'prometheus.yml')}`, `--storage.tsdb.path=${join(directory, 'data')}`, `--web.listen-address=127.0.0.1:${port}`, '--log.level=warn'];
    const child = spawn(BINARY, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    let complaints = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (complaints += text));
    const started = new Prometheus(child, directory, `http://127.0.0.1:${port}`);
    try {
      await eventually('Prometheus is ready', async () => (await fetch(`${started.url}/-/ready`).catch(() => undefined))?.ok === true, START_MS);
    } catch (error) {
      await started.stop();
      throw new Error(`Prometheus does not start: ${complaints}`, { cause: error });
    }
    return started;
  }

  async stop(): Promise<void> {
    await endChild(this.#child);
    await rm(this.#directory, { recursive: true, force: true });
  }

  /** Throws with what Prometheus says of a bad expression. */
  async query(expr: string): Promise<Sample[]> {
    const response = await fetch(`${this.url}/api/v1/query?${new URLSearchParams({ query: expr }).toString()}`, { signal: AbortSignal.timeout(CALL_MS) });
    const answer = (await response.json()) as { status: string; error?: string; data: { resultType: string; result: { metric: Record<string, string>; value: [number, string] }[] } };
    if (answer.status !== 'success') throw new Error(`${expr}: ${answer.error}`);
    return answer.data.result.map(({ metric, value }) => ({ labels: metric, value: Number(value[1]) }));
  }

  /** Names of the alerts that fire now. */
  async firing(): Promise<string[]> {
    return [...new Set((await this.query('ALERTS{alertstate="firing"}')).map(({ labels }) => labels['alertname']!))].toSorted();
  }

  /** Names of the alerts that fired at any time so far. */
  async fired(): Promise<Set<string>> {
    return new Set((await this.query('last_over_time(ALERTS{alertstate="firing"}[1h])')).map(({ labels }) => labels['alertname']!));
  }
}
