import { credentials } from '@grpc/grpc-js';
import { CacheClient, GetRequest, GetResponse } from '@atoll/contracts/atoll/v1/cache';
import { callUnary, createChannelOptions } from '@atoll/platform-grpc';
import { atLeast, atMost, contestText, noErrors, runContest } from '../contest.ts';
import { fill, serverPids, type Section } from '../section.ts';
import { GeneratorProcess, startEchoServer } from '../workers/generator-process.ts';
import type { Round } from '../workers/generator-protocol.ts';

const CALLERS = 64;
const KEYS = 10_000;
const VALUE_BYTES = 100;
const THROUGHPUT_MIN = 0.5;
const P50_MAX = 3;

/** Router unary Get against a bare grpc-js server that answers messages of the same size. */
export const unarySection: Section = async ({ isQuick, print, sharedCluster, cleanUp, signal }) => {
  const cluster = await sharedCluster();
  const filler = await GeneratorProcess.start({ kind: 'atoll', router: cluster.router });
  cleanUp.add(() => filler.stop());
  await fill(filler, { keys: KEYS, valueBytes: VALUE_BYTES });
  await filler.stop();
  const sizes = await messageSizes(cluster.router);
  const echo = await startEchoServer(sizes.answer);
  cleanUp.add(() => echo.stop());
  const generator = await GeneratorProcess.start({ kind: 'unary', address: cluster.router });
  cleanUp.add(() => generator.stop());
  const echoGenerator = await GeneratorProcess.start({ kind: 'unary', address: echo.address });
  cleanUp.add(() => echoGenerator.stop());

  print(`${CALLERS} callers, one connection; request ${sizes.request} bytes, answer ${sizes.answer} bytes (value of ${VALUE_BYTES})`);
  const round: Round = { operation: 'get', outstanding: CALLERS, keys: KEYS, valueBytes: VALUE_BYTES, durationMs: isQuick ? 1500 : 4000 };
  const contest = await runContest({
    name: 'router unary Get',
    peerName: 'echo',
    rounds: isQuick ? 3 : 5,
    round,
    atoll: { generator, serverPids: serverPids(cluster) },
    peer: { generator: echoGenerator, serverPids: [echo.pid] },
    signal,
  });
  print(contestText(contest));
  await Promise.all([generator.stop(), echoGenerator.stop(), echo.stop()]);
  return {
    checks: [
      atLeast('router unary Get, 64 callers: throughput against a bare grpc-js echo server', contest.throughputRatio, THROUGHPUT_MIN),
      atMost('the same: p50', contest.p50Ratio, P50_MAX),
      noErrors(contest),
    ],
    details: contest,
  };
};

/** As they are on the wire, without gRPC's own five bytes. */
async function messageSizes(router: string): Promise<{ readonly request: number; readonly answer: number }> {
  const client = new CacheClient(router, credentials.createInsecure(), createChannelOptions());
  try {
    const request = GetRequest.fromPartial({ key: Buffer.from('key-1234') });
    const response = await callUnary(client, 'get', request, { deadlineMs: 5000 });
    if (!response.found) throw new Error('key-1234 was written and is not there');
    return { request: GetRequest.encode(request).finish().length, answer: GetResponse.encode(response).finish().length };
  } finally {
    client.close();
  }
}
