/** Where a process serves /metrics: its HTTP port is its gRPC port + 1000. */
export const HTTP_PORT_OFFSET = 1000;
const TIMEOUT_MS = 5000;

/** The page of metrics of the process with this gRPC address. Rejects when it does not show one. */
export async function scrape(grpcAddress: string): Promise<string> {
  const response = await fetch(urlOf(grpcAddress), { signal: AbortSignal.timeout(TIMEOUT_MS) });
  const text = await response.text();
  if (!response.ok) throw new Error(`${urlOf(grpcAddress)} answers ${response.status}`);
  return text;
}

/** Reads one sample, say `process_memory_bytes` with `kind="heap_used"`; other labels are ignored, an empty label is any. Rejects when there is none. */
export async function readMetric(grpcAddress: string, name: string, label: string): Promise<number> {
  const text = await scrape(grpcAddress);
  const line = text.split('\n').find((candidate) => (candidate.startsWith(`${name}{`) || candidate.startsWith(`${name} `)) && candidate.includes(label));
  if (line === undefined) throw new Error(`${urlOf(grpcAddress)} has no ${name} with ${label}`);
  const value = line.includes('}') ? line.slice(line.lastIndexOf('}') + 1) : line.slice(name.length);
  return Number(value.trim().split(' ')[0]);
}

function urlOf(grpcAddress: string): string {
  const [host, port] = grpcAddress.split(':');
  return `http://${host}:${Number(port) + HTTP_PORT_OFFSET}/metrics`;
}
