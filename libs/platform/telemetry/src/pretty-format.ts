const COLORS: Readonly<Record<string, string>> = { trace: '90', debug: '90', info: '32', warn: '33', error: '31', fatal: '31' };

/** One JSON log line for people: `12:01:02.345 INFO  node-1 message field=value`, an error's stack below it. */
export function formatPretty(line: string, colors = process.stdout.isTTY): string {
  const { time, level, service, instance, msg, err, ...fields } = JSON.parse(line) as { msg?: string } & Record<string, unknown>;
  const label = String(level).toUpperCase().padEnd(5);
  const shown = colors ? `\u001b[${COLORS[String(level)] ?? '0'}m${label}\u001b[0m` : label;
  const rest = Object.entries(fields).map(([name, value]) => ` ${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`);
  const stack = (err as { stack?: string } | undefined)?.stack;
  return `${String(time).slice(11, 23)} ${shown} ${String(instance ?? service)} ${msg ?? ''}${rest.join('')}\n${stack === undefined ? '' : `${stack}\n`}`;
}
