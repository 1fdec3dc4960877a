import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { FromGenerator, Round, RoundResult, Target, ToGenerator } from './generator-protocol.ts';

const pathOf = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** Ends a child by its pid and waits for it. */
export async function endChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}

/** A load generator in a process of its own. */
export class GeneratorProcess {
  readonly #child: ChildProcess;
  #connectionCount = 0;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  /** With a first connection where a target is named. */
  static async start(target?: Target): Promise<GeneratorProcess> {
    const generator = new GeneratorProcess(fork(pathOf('generator.ts'), { serialization: 'advanced' }));
    try {
      if (target !== undefined) await generator.connect(target);
      return generator;
    } catch (error) {
      await generator.stop();
      throw error;
    }
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** One more connection. Answers its number, 0 for the first; one at a time. */
  async connect(target: Target): Promise<number> {
    await this.#ask({ kind: 'connect', target });
    this.#connectionCount += 1;
    return this.#connectionCount - 1;
  }

  /** One round at a time. */
  async run(round: Round, connection = 0): Promise<RoundResult> {
    const answer = await this.#ask({ kind: 'round', round, connection });
    if (answer.kind !== 'done') throw new Error(`the generator answered ${answer.kind}`);
    return answer.result;
  }

  /** Lets the round that runs end now. */
  finishRound(): void {
    this.#child.send({ kind: 'stop' } satisfies ToGenerator);
  }

  stop(): Promise<void> {
    return endChild(this.#child);
  }

  async #ask(message: ToGenerator): Promise<FromGenerator> {
    const answered = new Promise<FromGenerator>((resolve, reject) => {
      const onExit = (code: number | null): void => reject(new Error(`a load generator ended with code ${code}`));
      this.#child.once('exit', onExit);
      this.#child.once('message', (answer) => {
        this.#child.off('exit', onExit);
        resolve(answer as FromGenerator);
      });
    });
    this.#child.send(message);
    const answer = await answered;
    if (answer.kind === 'failed') throw new Error(`a load generator failed: ${answer.message}`);
    return answer;
  }
}

export interface EchoServer {
  readonly address: string;
  readonly pid: number;
  stop(): Promise<void>;
}

export async function startEchoServer(answerBytes: number): Promise<EchoServer> {
  const child = fork(pathOf('echo-server.ts'), [String(answerBytes)]);
  try {
    const [{ port }] = (await once(child, 'message')) as [{ port: number }];
    return { address: `127.0.0.1:${port}`, pid: child.pid!, stop: () => endChild(child) };
  } catch (error) {
    await endChild(child);
    throw error;
  }
}

export interface OtlpReceiver {
  /** For OTEL_EXPORTER_OTLP_ENDPOINT. */
  readonly endpoint: string;
  /** Spans of client requests that came so far. One call at a time. */
  requestSpans(): Promise<number>;
  stop(): Promise<void>;
}

export async function startOtlpReceiver(): Promise<OtlpReceiver> {
  const child = fork(pathOf('otlp-receiver.ts'));
  try {
    const [{ port }] = (await once(child, 'message')) as [{ port: number }];
    const requestSpans = async (): Promise<number> => {
      const answered = once(child, 'message') as Promise<[{ requestSpans: number }]>;
      child.send({});
      return (await answered)[0].requestSpans;
    };
    return { endpoint: `http://127.0.0.1:${port}`, requestSpans, stop: () => endChild(child) };
  } catch (error) {
    await endChild(child);
    throw error;
  }
}
