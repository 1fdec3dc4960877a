/** Where a process serves /metrics: its HTTP port is its gRPC port + 1000. */
export const HTTP_PORT_OFFSET = 1000;
const TIMEOUT_MS = 5000;

/** Reads one sample, say `process_memory_bytes` with `kind="heap_used"`; other labels are ignored, an empty label is any. Rejects when there is none. */
export async function readMetric(grpcAddress: string, name: string, label: string): Promise<number> {
  const [host, port] = grpcAddress.split(':');
  const url = `http://${host}:${Number(port) + HTTP_PORT_OFFSET}/metrics`;
  const response = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) });
  const text = await response.text();
  const line = text.split('\n').find((candidate) => (candidate.startsWith(`${name}{`) || candidate.startsWith(`${name} `)) && candidate.includes(label));
  if (line === undefined) throw new Error(`${url} has no ${name} with ${label}`);
  const value = line.includes('}') ? line.slice(line.lastIndexOf('}') + 1) : line.slice(name.length);
  return Number(value.trim().split(' ')[0]);
}
