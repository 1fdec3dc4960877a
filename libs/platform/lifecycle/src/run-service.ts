import type { CommonConfig } from '@atoll/platform-config';
import { createLogger, startTelemetry, type Logger, type Telemetry } from '@atoll/platform-telemetry';
import { EXIT, classifyStartFailure, type ExitCode } from './exit-codes.ts';
import { StopHooks, type StopHook } from './stop-hooks.ts';
import { waitFor, type WaitForOptions } from './wait-for.ts';

/** What a starting service gets. */
export interface ServiceContext {
  readonly logger: Logger;
  readonly telemetry: Telemetry;
  /** Aborts at SIGTERM and SIGINT; ends waits during the start. */
  readonly signal: AbortSignal;
  /** Registers what must be ended, right after it was started. The last registered is ended first. */
  onStop(name: string, hook: StopHook): void;
  /** `waitFor` that logs, and ends with the process. */
  waitFor<T>(what: string, attempt: (signal: AbortSignal) => Promise<T>, options?: Partial<WaitForOptions>): Promise<T>;
  /** Asks for an orderly stop from within: the process lost its node id, its disk failed. Told to the operator. */
  fail(message: string, code?: ExitCode, cause?: unknown): void;
}

export interface ServiceOptions<Config extends { readonly common: CommonConfig }> {
  /** `router`, `storage-node`. */
  readonly name: string;
  readonly version: string;
  /** Parses the environment; throws ConfigError. */
  readonly config: () => Config;
  /** Settles when the service serves. */
  readonly start: (config: Config, context: ServiceContext) => Promise<void>;
}

/**
 * The life of a service process: settings, start, wait for a signal, stop. Ends the process:
 * - 0 after SIGTERM or SIGINT, within ATOLL_SHUTDOWN_MS
 * - 1 when the start failed for a reason outside, a stop hook failed or did not end, or at a second signal
 * - 2 when settings or a port are wrong, with one message that lists everything
 * - 70 at a bug: unhandled rejections and uncaught exceptions included, logged once
 */
export async function runService<Config extends { readonly common: CommonConfig }>(options: ServiceOptions<Config>): Promise<void> {
  const config = parseOrExit(options);
  const { id, log, shutdownMs, otlpEndpoint, traceRatio, tracesPerSecond, hasMetrics } = config.common;
  const logger = createLogger({ service: options.name, instanceId: id, ...log });
  const stopping = new AbortController();
  const hooks = new StopHooks();
  let exitCode: ExitCode = EXIT.OK;
  const beginStop = (code: ExitCode, why: string): void => {
    if (stopping.signal.aborted) return;
    exitCode = code;
    stopping.abort(new Error(why));
  };
  listenToSignals(logger, beginStop);
  listenToBugs(options.name, logger);

  const telemetry = await startTelemetry({ service: options.name, instanceId: id, version: options.version, otlpEndpoint, traceRatio, tracesPerSecond, hasMetrics });
  hooks.add('telemetry', () => telemetry.shutdown());
  const { signal } = stopping;
  try {
    await options.start(config, {
      logger,
      telemetry,
      signal,
      onStop: (name, hook) => hooks.add(name, hook),
      waitFor: (what, attempt, waitOptions) => waitFor(what, attempt, { signal, onWaiting: (message, error) => logger.warn({ cause: messageOf(error) }, message), ...waitOptions }),
      fail: (message, code = EXIT.FAILED, cause) => {
        logger.fatal({ err: cause }, message);
        beginStop(code, message);
      },
    });
    if (!signal.aborted) logger.info({ version: options.version, pid: process.pid }, `${options.name} started`);
    await aborted(signal);
  } catch (error) {
    // A start that was broken off by a signal is a stop as asked, not a failure.
    if (!signal.aborted) {
      const { code, isExpected } = classifyStartFailure(error);
      exitCode = code;
      if (isExpected) tellOperator(options.name, messageOf(error));
      else logger.fatal({ err: error }, 'the start failed in an unexpected way');
    }
  }
  const isClean = await hooks.run({ boundMs: shutdownMs, logger });
  if (!isClean && exitCode === EXIT.OK) exitCode = EXIT.FAILED;
  logger.info({ code: exitCode }, `${options.name} stopped`);
  // Everything is drained; timers of libraries (etcd3 keeps one per lease) must not hold the process up.
  process.exit(exitCode);
}

function parseOrExit<Config extends { readonly common: CommonConfig }>({ name, config }: ServiceOptions<Config>): Config {
  try {
    return config();
  } catch (error) {
    const { code, isExpected } = classifyStartFailure(error);
    tellOperator(name, isExpected || !(error instanceof Error) ? messageOf(error) : (error.stack ?? error.message));
    return process.exit(code);
  }
}

function listenToSignals(logger: Logger, beginStop: (code: ExitCode, why: string) => void): void {
  let first: NodeJS.Signals | undefined;
  const onSignal = (name: NodeJS.Signals): void => {
    if (first !== undefined) {
      logger.warn({ signal: name }, 'second signal: ending at once');
      process.exit(EXIT.FAILED);
    }
    first = name;
    logger.info({ signal: name }, 'stopping');
    beginStop(EXIT.OK, `received ${name}`);
  };
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.on(name, onSignal);
}

/** A process with a bug in it may hold wrong state: it is ended at once, and its peers take over. */
function listenToBugs(name: string, logger: Logger): void {
  const onBug = (error: unknown): void => {
    logger.fatal({ err: error }, `${name} ends because of an unexpected error`);
    process.exit(EXIT.BUG);
  };
  process.on('uncaughtException', onBug);
  process.on('unhandledRejection', onBug);
}

/** Plain text on standard error, for whoever typed the command. */
function tellOperator(name: string, message: string): void {
  process.stderr.write(`${name}: ${message}\n`);
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
