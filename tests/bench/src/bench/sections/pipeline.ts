import { atLeast, contestText, noErrors, runContest, type Check, type Contest } from '../contest.ts';
import { fill, serverPids, type Section } from '../section.ts';
import { GeneratorProcess } from '../workers/generator-process.ts';
import type { Round } from '../workers/generator-protocol.ts';
import { startRedisServer } from '../workers/redis-server.ts';

const OUTSTANDING = 512;
const KEYS = 10_000;
const VALUE_BYTES = 100;
const TARGETS = { get: 0.5, set: 0.3 } as const;

/** The SDK through the router (replication factor 2, ack IN_SYNC) against node-redis on one redis-server. */
export const pipelineSection: Section = async ({ isQuick, print, sharedCluster, cleanUp, signal }) => {
  const redis = await startRedisServer();
  if (redis === undefined) return { checks: [], details: undefined, skipped: 'there is no redis-server on PATH (Debian: apt-get install redis-server)' };
  cleanUp.add(() => redis.stop());
  const cluster = await sharedCluster();
  const atoll = await GeneratorProcess.start({ kind: 'atoll', router: cluster.router });
  cleanUp.add(() => atoll.stop());
  const peer = await GeneratorProcess.start({ kind: 'redis', port: redis.port });
  cleanUp.add(() => peer.stop());

  print(`${OUTSTANDING} outstanding, values of ${VALUE_BYTES} bytes, ${KEYS} keys; node-redis on redis-server ${redis.version} without persistence`);
  await fill(atoll, { keys: KEYS, valueBytes: VALUE_BYTES });
  await fill(peer, { keys: KEYS, valueBytes: VALUE_BYTES });
  const contests: Contest[] = [];
  const checks: Check[] = [];
  for (const operation of ['get', 'set'] as const) {
    const round: Round = { operation, outstanding: OUTSTANDING, keys: KEYS, valueBytes: VALUE_BYTES, durationMs: isQuick ? 1500 : 4000 };
    const contest = await runContest({
      name: `SDK ${operation}`,
      peerName: 'redis',
      rounds: isQuick ? 3 : 5,
      round,
      atoll: { generator: atoll, serverPids: serverPids(cluster) },
      peer: { generator: peer, serverPids: [redis.pid] },
      signal,
    });
    print(contestText(contest));
    contests.push(contest);
    checks.push(atLeast(`SDK ${operation} through the router, RF 2, IN_SYNC, 512 outstanding: throughput against node-redis`, contest.throughputRatio, TARGETS[operation]));
    checks.push(noErrors(contest));
  }
  await Promise.all([atoll.stop(), peer.stop(), redis.stop()]);
  return { checks, details: { redis: redis.version, contests } };
};
