/** Of this release, told in traces, metrics and logs; the top package.json has the same. */
export const VERSION = '0.1.0';
