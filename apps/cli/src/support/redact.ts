// What must not leave the house: credentials, and what users wrote. Services print neither; this is the second fence, for
// what somebody put where nobody expects it.

const REDACTED = '[redacted]';

/** Names of settings and fields whose values are secret. */
const SECRET_NAME = /(?:password|passwd|passphrase|secret|token|credential|authorization|api[_-]?key|access[_-]?key|private[_-]?key|encryption[_-]?key|cookie|headers)/i;

const isSecretName = (name: string): boolean => SECRET_NAME.test(name) && !/^token_?(?:start|end|from|to)$/i.test(name);

const PATTERNS: readonly (readonly [RegExp, string])[] = [
  // user:password@ in addresses
  [/(\b[a-z][a-z0-9+.-]*:\/\/)[^/\s"'@]+@/gi, `$1${REDACTED}@`],
  [/\b(?:Bearer|Basic)\s+[A-Za-z0-9._~+/=-]+/gi, REDACTED],
  // name=value, name: value and "name":"value"
  [/((?:password|passwd|passphrase|secret|credential|authorization|api[_-]?key|access[_-]?key|private[_-]?key|encryption[_-]?key|cookie|[a-z]+[_-]token)\w*\\?["']?\s*[:=]\s*)(?:\\?"(?:[^"\\]|\\[^"])*\\?"|'[^']*'|[^\s,;}"']+)/gi, `$1${REDACTED}`],
  [/-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)/g, REDACTED],
];

/** Text without what looks like a credential. */
export function redactText(text: string): string {
  return PATTERNS.reduce((rest, [pattern, replacement]) => rest.replace(pattern, replacement), text);
}

/** As `redactText` for every text in a value of JSON, and without the values of fields with secret names. */
export function redactJson(value: unknown, name = ''): unknown {
  if (typeof value === 'string') return isSecretName(name) && value !== '' ? REDACTED : redactText(value);
  if (Array.isArray(value)) return value.map((item) => redactJson(item, name));
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(
      Object.entries(value).map(([field, content]) => {
        const isShown = isSecretName(field) && typeof content === 'object' && content !== null && 'value' in content;
        return [field, isShown ? { ...content, value: REDACTED } : redactJson(content, field)];
      }),
    );
  }
  return value;
}
