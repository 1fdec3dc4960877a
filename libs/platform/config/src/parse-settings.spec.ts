import { COMMON_RELATIONS, commonSettings, toCommonConfig } from './common-settings.ts';
import { address, boolean, bytes, choice, durationMs, integer, list, ratio, text } from './kinds.ts';
import { parseSettings, type Env } from './parse-settings.ts';
import { optional } from './setting.ts';
import { shownSettings } from './shown-settings.ts';
import { envExample, settingsTable } from './settings-table.ts';
import { ConfigError } from './startup-error.ts';

const settings = {
  ...commonSettings({ id: 'node-1', listen: '127.0.0.1:7410' }),
  STORAGE_NODE_MEMORY_BYTES_MAX: bytes({ min: 1024, max: 2 ** 40, default: '512MiB', description: 'Memory for entries.' }),
  STORAGE_NODE_HEARTBEAT_MS: durationMs({ min: 10, max: 10_000, default: '100', description: 'Heartbeat interval.' }),
  STORAGE_NODE_LEASE_MS: durationMs({ min: 100, max: 60_000, default: '1s', description: 'Lease.' }),
};
const options = {
  prefixes: ['ATOLL_', 'STORAGE_NODE_'],
  relations: [
    ...COMMON_RELATIONS,
    {
      settings: ['STORAGE_NODE_HEARTBEAT_MS', 'STORAGE_NODE_LEASE_MS'] as const,
      problem: (values: { STORAGE_NODE_HEARTBEAT_MS: number; STORAGE_NODE_LEASE_MS: number }) =>
        values.STORAGE_NODE_HEARTBEAT_MS * 3 > values.STORAGE_NODE_LEASE_MS
          ? 'STORAGE_NODE_HEARTBEAT_MS must be at most a third of STORAGE_NODE_LEASE_MS'
          : undefined,
    },
  ],
};
const parse = (env: Env) => parseSettings(settings, env, options);
const problemsOf = (env: Env): readonly string[] => {
  try {
    parse(env);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
};

describe('parseSettings', () => {
  it('fills in defaults and reads suffixes', () => {
    const values = parse({ STORAGE_NODE_MEMORY_BYTES_MAX: '64KiB', STORAGE_NODE_LEASE_MS: ' 2s ', UNRELATED: 'x' });
    expect(values.STORAGE_NODE_MEMORY_BYTES_MAX).toBe(65_536);
    expect(values.STORAGE_NODE_LEASE_MS).toBe(2000);
    expect(values.STORAGE_NODE_HEARTBEAT_MS).toBe(100);
  });

  it('takes blank for unset, as compose files write it', () => {
    expect(parse({ ATOLL_CLUSTER_ID: '', ATOLL_ID: ' ' })).toMatchObject({ ATOLL_ID: 'node-1' });
  });

  it('reports every problem at once', () => {
    expect(
      problemsOf({
        ATOLL_LISTEN: 'nowhere',
        ATOLL_LOG_LEVEL: 'loud',
        STORAGE_NODE_MEMORY_BYTES_MAX: '512MB',
        STORAGE_NODE_HEARTBEAT_MS: '900',
        STORAGE_NODE_MEMORY_BYTE_MAX: '1GiB',
        ATOLL_SHUTDOWN: '1',
      }),
    ).toEqual([
      'ATOLL_LISTEN must be host:port, got "nowhere"',
      'ATOLL_LOG_LEVEL must be trace, debug, info, warn, error or fatal, got "loud"',
      'STORAGE_NODE_MEMORY_BYTES_MAX must be 1KiB to 1024GiB (suffixes KiB, MiB, GiB), got "512MB"',
      'STORAGE_NODE_HEARTBEAT_MS must be at most a third of STORAGE_NODE_LEASE_MS',
      'STORAGE_NODE_MEMORY_BYTE_MAX is not a setting; did you mean STORAGE_NODE_MEMORY_BYTES_MAX?',
      'ATOLL_SHUTDOWN is not a setting; did you mean ATOLL_SHUTDOWN_MS?',
    ]);
  });

  it('lists every problem in the message of one error', () => {
    expect(() => parse({ ATOLL_TRACE_RATIO: '2', ATOLL_ETCD: 'localhost' })).toThrow(
      'settings are wrong:\n  - ATOLL_ETCD must be a comma-separated list of http://host:port, got "localhost"\n  - ATOLL_TRACE_RATIO must be 0 to 1, got "2"',
    );
  });

  it('names a missing required setting and hides secrets', () => {
    const own = {
      A: text({ description: 'must be there' }),
      B: text({ description: 'token', secret: true, pattern: /^[a-f]+$/, range: 'hexadecimal' }),
    };
    expect(() => parseSettings(own, { B: 'hunter2' }, { prefixes: [] })).toThrow(/A is required: text \(must be there\)[^]*B must be hexadecimal$/);
    expect(() => parseSettings(own, { B: 'hunter2' }, { prefixes: [] })).not.toThrow(/hunter2/);
  });

  it('leaves the variables of other programs alone', () => {
    expect(
      problemsOf({
        ATOLL_ETCD_BIN: '/usr/bin/etcd',
        ATOLL_ROUTER_SERVICE_HOST: '10.0.0.7',
        ATOLL_ROUTER_PORT_7400_TCP_ADDR: '10.0.0.7',
        ATOLL_ROUTER_PORT: 'tcp://10.0.0.7:7400',
      }),
    ).toEqual([]);
    expect(problemsOf({ ATOLL_PORT: '7400' })).toHaveLength(1);
  });
});

describe('kinds', () => {
  const read = <T>(setting: Parameters<typeof optional<T>>[0], raw: string): T | string => {
    const result = setting.schema.safeParse(raw);
    return result.success ? result.data : `refused: ${result.error.issues[0]?.message}`;
  };
  const description = 'x';
  it.each([
    ['address', address({ description }), '[::1]:80', { host: '::1', port: 80 }],
    ['address above the highest port', address({ description }), 'a:65536', 'refused: must be host:port'],
    ['address with a path', address({ description }), 'http://a:1', 'refused: must be host:port'],
    ['duration in minutes', durationMs({ description, min: 0, max: 1e6 }), '1.5m', 90_000],
    ['duration below a millisecond', durationMs({ description, min: 0, max: 10 }), '0.5', 'refused: must be 0 to 10 ms (suffixes ms, s, m, h)'],
    ['bytes', bytes({ description, min: 0, max: 2 ** 40 }), '1.5GiB', 1_610_612_736],
    ['integer', integer({ description, min: 1, max: 9 }), '9', 9],
    ['integer in another notation', integer({ description, min: 1, max: 99 }), '0x10', 'refused: must be whole number, 1 to 99'],
    ['ratio', ratio({ description }), '1e-3', 0.001],
    ['choice', choice(['a', 'b'], { description }), 'b', 'b'],
    ['boolean', boolean({ description }), 'yes', 'refused: must be true or false'],
    ['list', list('a word', (item) => item || undefined, { description }), 'a, b', ['a', 'b']],
    ['list with a hole', list('a word', (item) => item || undefined, { description }), 'a,,b', 'refused: must be a comma-separated list of a word'],
  ])('%s', (_name, setting, raw, expected) => {
    expect(read(setting as never, raw)).toEqual(expected);
  });
});

describe('common settings', () => {
  it('computes advertise and HTTP addresses from the gRPC address', () => {
    const config = toCommonConfig(parse({ ATOLL_LISTEN: '10.1.2.3:7410' }));
    expect(config.advertise).toEqual({ host: '10.1.2.3', port: 7410 });
    expect(config.httpListen).toEqual({ host: '10.1.2.3', port: 8410 });
    expect(config.etcdEndpoints).toEqual(['http://127.0.0.1:2379']);
    expect(config.otlpEndpoint).toBeUndefined();
    expect(config.hasMetrics).toBe(true);
  });

  it('knows metrics on and off, and nothing else', () => {
    expect(toCommonConfig(parse({ ATOLL_METRICS: 'off' })).hasMetrics).toBe(false);
    expect(() => parse({ ATOLL_METRICS: 'no' })).toThrow('ATOLL_METRICS must be on or off, got "no"');
  });

  it('asks for any HTTP port when the gRPC port is any, and knows off', () => {
    expect(toCommonConfig(parse({ ATOLL_LISTEN: '127.0.0.1:0' })).httpListen?.port).toBe(0);
    expect(toCommonConfig(parse({ ATOLL_HTTP_LISTEN: 'off' })).httpListen).toBeUndefined();
  });

  it.each([
    [{ ATOLL_LISTEN: '0.0.0.0:7410' }, /ATOLL_ADVERTISE must be an address that others can reach/],
    [{ ATOLL_LISTEN: '127.0.0.1:65000' }, /ATOLL_HTTP_LISTEN must be set/],
    [{ ATOLL_HTTP_LISTEN: '127.0.0.1:7410' }, /must differ/],
  ])('checks relations: %j', (env, expected) => {
    expect(() => parse(env)).toThrow(expected);
  });

  it('renders the README table and the example file', () => {
    const table = settingsTable(settings);
    expect(table).toContain('| `ATOLL_TRACE_RATIO` | `0.001` | 0 to 1 |');
    expect(table).toContain('| `ATOLL_ADVERTISE` | same as `ATOLL_LISTEN` | host:port |');
    expect(table.trim().split('\n')).toHaveLength(2 + Object.keys(settings).length);
    const example = envExample(settings);
    for (const name of Object.keys(settings)) expect(example).toContain(`\n# ${name}=`);
    expect(example.split('\n').every((line) => line === '' || line.startsWith('#'))).toBe(true);
  });
});

describe('settings as a process shows them', () => {
  it('have durations in ms, defaults told apart, and nothing secret', () => {
    const shown = {
      SPEC_WAIT_MS: durationMs({ min: 1, max: 60_000, default: '1s', description: 'x' }),
      SPEC_DIR: optional(text({ description: 'x' })),
      SPEC_URL: text({ default: 'none', description: 'x' }),
      SPEC_PASSWORD: text({ default: '', description: 'x', secret: true }),
    };
    expect(shownSettings(shown, { SPEC_URL: 'http://me:s3cret@host:1,http://b', SPEC_PASSWORD: 's3cret', HOME: 's3cret' })).toEqual({
      SPEC_WAIT_MS: { value: '1000', given: false },
      SPEC_DIR: { value: '', given: false },
      SPEC_URL: { value: 'http://[redacted]@host:1,http://b', given: true },
      SPEC_PASSWORD: { value: '[redacted]', given: true },
    });
  });
});
