// Load generator: a process of its own, so that making load takes no time from what is measured but CPU. Ends when
// the process that started it does.
import { isAtollError } from '@atoll/client';
import { SeededRandom, randomBelow } from '@atoll/core-runtime';
import { Latencies } from '../../latencies.ts';
import { isValue, makeValue } from '../../value-pattern.ts';
import type { FromGenerator, Round, RoundResult, ToGenerator } from './generator-protocol.ts';
import { connect, type Connection } from './targets.ts';

const SEED = 7;
/** Every key holds what write 1 of it writes, whoever writes it. */
const WRITE_NUMBER = 1;

/** Of the round that runs. */
let stop = new AbortController();
/** Values that a timed round of sets writes in turn, made before the clock starts. */
const PREPARED_VALUES = 1024;

async function runRound(connection: Connection, round: Round): Promise<RoundResult> {
  const { operation, outstanding, keys, valueBytes, each = false, durationMs = Infinity, verify = false } = round;
  const random = new SeededRandom(SEED);
  const latencies = new Latencies();
  const errors: Record<string, number> = {};
  const prepared = operation === 'set' && !each ? Array.from({ length: PREPARED_VALUES }, (_, index) => makeValue(`key-${index}`, WRITE_NUMBER, valueBytes)) : [];
  stop = new AbortController();
  const { signal } = stop;
  const startMs = performance.now();
  const endMs = startMs + durationMs;
  let started = 0;

  const failed = (reason: string): void => {
    errors[reason] = (errors[reason] ?? 0) + 1;
  };
  const once = async (key: string): Promise<void> => {
    const beganMs = performance.now();
    try {
      if (operation === 'set') await connection.set(key, prepared[started % PREPARED_VALUES] ?? makeValue(key, WRITE_NUMBER, valueBytes));
      else {
        const value = await connection.get(key);
        if (verify && value === undefined) failed('MISSING');
        else if (verify && !isValue(value!, key, WRITE_NUMBER, valueBytes)) failed('WRONG_VALUE');
      }
      latencies.add(performance.now() - beganMs);
    } catch (error) {
      failed(isAtollError(error) ? error.reason : String(error));
    }
  };
  const caller = async (): Promise<void> => {
    while (!signal.aborted && (each ? started < keys : performance.now() < endMs)) {
      const key = `key-${each ? started : randomBelow(random, keys)}`;
      started += 1;
      await once(key);
    }
  };
  await Promise.all(Array.from({ length: outstanding }, caller));
  const elapsedMs = performance.now() - startMs;
  const { p50, p99, max } = latencies.summary();
  return { operations: latencies.count, elapsedMs, operationsPerSecond: (latencies.count / elapsedMs) * 1000, p50Ms: p50, p99Ms: p99, maxMs: max, errors };
}

const connections: Connection[] = [];

async function handle(message: ToGenerator): Promise<FromGenerator | undefined> {
  if (message.kind === 'connect') {
    connections.push(await connect(message.target));
    return { kind: 'connected' };
  }
  if (message.kind === 'round') {
    const connection = connections[message.connection];
    if (connection === undefined) throw new Error(`there is no connection ${message.connection}`);
    return { kind: 'done', result: await runRound(connection, message.round) };
  }
  stop.abort();
  return undefined;
}

process.on('message', (message: ToGenerator) => {
  void handle(message)
    .catch((error: unknown): FromGenerator => ({ kind: 'failed', message: error instanceof Error ? error.message : String(error) }))
    .then((answer) => answer !== undefined && process.send?.(answer));
});
// Ctrl-C at a terminal reaches every process of the group; the bench decides when this one ends.
process.on('SIGINT', () => undefined);
process.on('disconnect', () => process.exit());
