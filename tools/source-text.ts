/**
 * The source with the insides of comments, strings, templates and regular expressions replaced by blanks; every
 * position stays. A `/` begins a regular expression where an operand is due, which a look at the last token
 * decides; that is right for all code that a formatter leaves behind.
 */
export function blankCommentsAndStrings(source: string): string {
  const out = source.split('');
  /** Braces open inside each template's `${...}`. */
  const templates: number[] = [];
  let last = '';
  let at = 0;
  const blank = (from: number, to: number): void => {
    for (let index = from; index < to; index += 1) if (out[index] !== '\n') out[index] = ' ';
  };
  /** Blanks a template's text from `from` to its end or to the next `${`, and goes on behind it. */
  const template = (from: number): void => {
    let index = from;
    while (index < source.length && source[index] !== '`' && !source.startsWith('${', index)) index += source[index] === '\\' ? 2 : 1;
    blank(from, Math.min(index, source.length));
    if (source[index] === '`') {
      at = index + 1;
      last = '`';
    } else {
      templates.push(0);
      at = index + 2;
      last = '{';
    }
  };
  while (at < source.length) {
    const char = source[at] ?? '';
    const rest = source.slice(at, at + 2);
    if (rest === '//' || rest === '/*') {
      const close = rest === '//' ? source.indexOf('\n', at) : source.indexOf('*/', at + 2) + 2;
      const end = close < at + 2 ? source.length : close;
      blank(at, end);
      at = end;
    } else if (char === "'" || char === '"' || (char === '/' && operandIsDue(last, source, at))) {
      const end = endOfLiteral(source, at, char);
      blank(at + 1, source[end - 1] === char ? end - 1 : end);
      at = end;
      last = char;
    } else if (char === '`') {
      template(at + 1);
    } else if (char === '}' && templates.at(-1) === 0) {
      templates.pop();
      template(at + 1);
    } else {
      if (templates.length > 0 && (char === '{' || char === '}')) templates[templates.length - 1] = (templates.at(-1) ?? 0) + (char === '{' ? 1 : -1);
      if (!/\s/.test(char)) last = char;
      at += 1;
    }
  }
  return out.join('');
}

/** Behind the closing quote or slash; at the line's end when there is none. */
function endOfLiteral(source: string, from: number, quote: string): number {
  let inClass = false;
  for (let index = from + 1; index < source.length; index += 1) {
    const char = source[index];
    if (char === '\n') return index;
    if (char === '\\') index += 1;
    else if (quote === '/' && char === '[') inClass = true;
    else if (quote === '/' && char === ']') inClass = false;
    else if (char === quote && !inClass) return index + 1;
  }
  return source.length;
}

function operandIsDue(last: string, source: string, at: number): boolean {
  if (last === '' || '(,=:[!&|?{};+-*%<>~^'.includes(last)) return true;
  return /\b(?:return|typeof|case|in|of|void|yield|await)\s*$/.test(source.slice(Math.max(0, at - 12), at));
}
