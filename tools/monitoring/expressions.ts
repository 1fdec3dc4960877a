// What an expression of PromQL asks for: names of series and labels. Enough for our own expressions; Prometheus itself
// checks their grammar where it is installed.

export interface AskedSeries {
  readonly name: string;
  /** Labels that are compared. */
  readonly labels: readonly string[];
}

const SERIES = /(?<![\w:$])((?:atoll|process|nodejs|etcd|cluster|operation|keyspace)(?:_|:)[a-zA-Z0-9_:]+|up|ALERTS)(?![\w:(])(?:\{([^}]*)\})?/g;
const BY = /\b(?:by|on|without|ignoring)\s*\(([^)]*)\)/g;

const withoutTexts = (expr: string): string => expr.replace(/"(?:[^"\\]|\\.)*"/g, '""');
const names = (list: string): string[] => list.split(',').map((name) => name.trim()).filter((name) => name !== '');

/** Series that the expression reads; lists of labels, as after `by`, are none. */
export function seriesIn(expr: string): AskedSeries[] {
  const plain = withoutTexts(expr).replace(BY, '');
  return Array.from(plain.matchAll(SERIES), ([, name = '', matchers = '']) => ({ name, labels: Array.from(matchers.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g), ([, label = '']) => label) }));
}

/** Labels by which the expression groups or joins. */
export const groupingsIn = (expr: string): string[] => Array.from(withoutTexts(expr).matchAll(BY), ([, list = '']) => names(list)).flat();
