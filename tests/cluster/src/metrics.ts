const TIMEOUT_MS = 5000;

/** One reading of a process's /metrics. */
export class MetricsPage {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  /** Names as they stand in the TYPE lines. */
  names(): string[] {
    return Array.from(this.text.matchAll(/^# TYPE (\S+) /gm), ([, name]) => name!);
  }

  /** Sum of the samples of `name` whose labels contain `label`; 0 where there is none. */
  sum(name: string, label = ''): number {
    let total = 0;
    for (const line of this.text.split('\n')) {
      const rest = line.startsWith(name) ? line.slice(name.length) : '';
      if (!/^[ {]/.test(rest) || !rest.includes(label)) continue;
      total += Number(/ (\S+)(?: \d+)?$/.exec(rest)?.[1]);
    }
    return total;
  }
}

/** `address`: host:port of the HTTP endpoint. */
export async function readMetrics(address: string): Promise<MetricsPage> {
  const response = await fetch(`http://${address}/metrics`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
  return new MetricsPage(await response.text());
}

export interface ReadinessAnswer {
  readonly status: number;
  readonly ready: boolean;
  readonly reasons: readonly string[];
}

/** What /readyz says; undefined while nobody listens. */
export async function readReadiness(address: string): Promise<ReadinessAnswer | undefined> {
  try {
    const response = await fetch(`http://${address}/readyz`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    return { status: response.status, ...((await response.json()) as { ready: boolean; reasons: string[] }) };
  } catch {
    return undefined;
  }
}
