import { waitFor } from './wait-for.ts';

const quick = { pauseMsMin: 1, pauseMsMax: 2 };

describe('waitFor', () => {
  it('tries until it succeeds and tells once', async () => {
    const told: string[] = [];
    let attempts = 0;
    const attempt = () => ((attempts += 1) < 4 ? Promise.reject(new Error('refused')) : Promise.resolve('there'));
    await expect(waitFor('etcd at x', attempt, { ...quick, signal: new AbortController().signal, onWaiting: (message) => told.push(message) })).resolves.toBe('there');
    expect(attempts).toBe(4);
    expect(told).toEqual(['waiting for etcd at x']);
  });

  it('ends with the reason of its signal, also in the middle of a pause', async () => {
    const abort = new AbortController();
    const reason = new Error('stopping');
    const waiting = waitFor('x', () => Promise.reject(new Error('refused')), { signal: abort.signal, pauseMsMin: 60_000, pauseMsMax: 60_000, onWaiting: () => setImmediate(() => abort.abort(reason)) });
    await expect(waiting).rejects.toBe(reason);
  });

  it('gives up at once where trying again cannot help', async () => {
    const wrong = new Error('wrong cluster');
    const options = { ...quick, signal: new AbortController().signal, onWaiting: () => undefined, isRetryable: (error: unknown) => error !== wrong };
    await expect(waitFor('x', () => Promise.reject(wrong), options)).rejects.toBe(wrong);
  });

  it('bounds one attempt', async () => {
    let attempts = 0;
    const attempt = (signal: AbortSignal) =>
      (attempts += 1) > 1 ? Promise.resolve(attempts) : new Promise<number>((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true }));
    await expect(waitFor('x', attempt, { ...quick, attemptMs: 20, signal: new AbortController().signal, onWaiting: () => undefined })).resolves.toBe(2);
  });
});
