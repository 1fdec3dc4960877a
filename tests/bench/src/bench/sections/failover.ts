import type { Check } from '../contest.ts';
import { AtollTarget } from '../failover/atoll-target.ts';
import { cutOffRounds } from '../failover/cut-off.ts';
import { RedisCluster, hasRedisCluster } from '../failover/redis-cluster.ts';
import { pause, roundText, runRound, summarize, summaryText, type FailoverRound, type FailoverSummary } from '../failover/rounds.ts';
import { WriteProbe } from '../failover/write-probe.ts';
import type { BenchContext, Section } from '../section.ts';
import { Latencies } from '../../latencies.ts';

const WRITES_PER_SECOND = 2000;
const ROUNDS = { full: 20, quick: 3 } as const;
const ETCD_AWAY_MS = { full: 60_000, quick: 10_000 } as const;
/** About the lowest at which nodes of a busy machine do not depose each other without a fault, and the default. */
const REDIS_TIMEOUTS_MS = [1000, 15_000] as const;
const HAND_OVER_WATCH_MS = 15_000;

type Fault = 'SIGKILL' | 'SIGSTOP';
const TARGETS: Readonly<Record<Fault | 'cut-off', { readonly medianMs: number; readonly worstMs: number }>> = {
  SIGKILL: { medianMs: 1500, worstMs: 3000 },
  SIGSTOP: { medianMs: 2500, worstMs: 5000 },
  'cut-off': { medianMs: 2500, worstMs: 5000 },
};
const HAND_OVER_P99_MS = 50;

/** Leaders that die, stand still, are cut off and leave, etcd that is away: how long writes wait, and what of them is lost. */
export const failoverSection: Section = async (context) => {
  const { print, cleanUp, signal, isQuick } = context;
  const target = await AtollTarget.start(signal);
  cleanUp.add(() => target.stop());
  await target.untilRedundant(signal);
  const checks: Check[] = [];
  const summaries: [string, FailoverSummary][] = [];
  const details: Record<string, unknown> = {};
  for (const fault of ['SIGKILL', 'SIGSTOP'] as const) {
    const rounds = await atollRounds(context, target, fault);
    details[`atoll ${fault}`] = rounds;
    summaries.push([`atoll, ${fault} of a leader`, summarize(rounds)]);
    print(summaryText(summaries.slice(-1)));
    checks.push(...failoverChecks(fault, summarize(rounds)));
  }
  const pauses = await handOverRounds(context, target);
  details['hand-over'] = pauses;
  checks.push(...pauses.checks);
  checks.push(await etcdAway(context, target, ETCD_AWAY_MS[isQuick ? 'quick' : 'full']));
  await target.stop();

  const cutOff = await cutOffRounds(context, { rounds: ROUNDS[isQuick ? 'quick' : 'full'], writesPerSecond: WRITES_PER_SECOND });
  details['atoll cut-off'] = cutOff;
  summaries.push(['atoll, cut-off of a leader', summarize(cutOff)]);
  print(summaryText(summaries.slice(-1)));
  checks.push(...failoverChecks('cut-off', summarize(cutOff)));

  if (!hasRedisCluster()) print('no redis-server and redis-cli on PATH (Debian: apt-get install redis-server): Atoll alone was measured');
  else {
    for (const nodeTimeoutMs of REDIS_TIMEOUTS_MS) {
      for (const fault of ['SIGKILL', 'SIGSTOP'] as const) {
        const rounds = await redisRounds(context, nodeTimeoutMs, fault);
        details[`redis ${nodeTimeoutMs} ${fault}`] = rounds;
        summaries.push([`redis cluster, time-out ${nodeTimeoutMs / 1000} s, ${fault} of a master`, summarize(rounds)]);
        print(summaryText(summaries.slice(-1)));
      }
    }
  }
  print(`\nEvery partition of the node that failed has taken a write again (Redis: any slot of its master), ${WRITES_PER_SECOND} writes/s:`);
  print(summaryText(summaries));
  return { checks, details };
};

async function atollRounds({ signal, isQuick, print }: BenchContext, target: AtollTarget, fault: Fault): Promise<FailoverRound[]> {
  const rounds: FailoverRound[] = [];
  for (let round = 0; round < ROUNDS[isQuick ? 'quick' : 'full']; round += 1) {
    const { node, slots } = await target.busiestLeader();
    const result = await runRound({
      target,
      name: `${fault}-${round}`,
      writesPerSecond: WRITES_PER_SECOND,
      signal,
      fault: { slots, strike: () => void process.kill(node.pid, fault) },
      heal: async () => {
        if (fault === 'SIGSTOP') process.kill(node.pid, 'SIGCONT');
        else await target.cluster.startProcess(node.id);
        await target.untilRedundant(signal);
      },
    });
    rounds.push(result);
    print(`${fault} of ${node.id}, which led ${slots.size}: ${roundText(result)}`);
  }
  return rounds;
}

async function redisRounds({ signal, isQuick, cleanUp, print }: BenchContext, nodeTimeoutMs: number, fault: Fault): Promise<FailoverRound[]> {
  const cluster = await RedisCluster.start({ nodeTimeoutMs });
  cleanUp.add(() => cluster.stop());
  const rounds: FailoverRound[] = [];
  for (let round = 0; round < ROUNDS[isQuick ? 'quick' : 'full']; round += 1) {
    const { port, pid, owner } = cluster.master(round);
    const result = await runRound({
      target: cluster,
      name: `${fault}-${round}`,
      writesPerSecond: WRITES_PER_SECOND,
      signal,
      fault: { slots: new Set([owner]), strike: () => void process.kill(pid, fault) },
      heal: async () => {
        if (fault === 'SIGSTOP') process.kill(pid, 'SIGCONT');
        else cluster.restart(port);
        await cluster.untilRedundant(AbortSignal.any([signal, AbortSignal.timeout(120_000)]));
      },
    });
    rounds.push(result);
    print(`redis, time-out ${nodeTimeoutMs} ms, ${fault} of port ${port}: ${roundText(result)}`);
  }
  await cluster.stop();
  return rounds;
}

function failoverChecks(fault: Fault | 'cut-off', { medianMs, worstMs, lost }: FailoverSummary): Check[] {
  const target = TARGETS[fault];
  const time = (which: string, ms: number, max: number): Check => ({
    name: `failover: ${fault} of a leader, ${which} of the rounds`,
    value: ms,
    text: `${(ms / 1000).toFixed(2)} s`,
    target: `<= ${max / 1000} s`,
    passed: ms <= max,
  });
  return [time('median', medianMs, target.medianMs), time('worst', worstMs, target.worstMs), count(`failover: acknowledged writes lost, ${fault}`, lost)];
}

const count = (name: string, value: number): Check => ({ name, value, text: String(value), target: '0', passed: value === 0 });

/** A node that is told to stop hands everything over first (R29): the longest wait of a write, per partition. */
async function handOverRounds({ signal, isQuick, print }: BenchContext, target: AtollTarget): Promise<{ readonly longestMs: readonly number[]; readonly failed: number; readonly checks: Check[] }> {
  const longestMs: number[] = [];
  let failed = 0;
  for (let round = 0; round < ROUNDS[isQuick ? 'quick' : 'full']; round += 1) {
    const { node, slots } = await target.busiestLeader();
    const probe = new WriteProbe({ target, writesPerSecond: WRITES_PER_SECOND, prefix: `hand-over-${round}` }).start();
    await pause(1000);
    const fromMs = performance.now();
    process.kill(node.pid, 'SIGTERM');
    await untilGone(node.pid, HAND_OVER_WATCH_MS);
    const toMs = performance.now();
    await pause(200);
    await probe.stop();
    const longest = [...probe.longestBySlot(slots, fromMs, toMs).values()];
    longestMs.push(...longest);
    failed += probe.failureCount;
    print(`SIGTERM of ${node.id}, which led ${slots.size}: longest wait ${Math.max(0, ...longest).toFixed(0)} ms, failed: ${JSON.stringify(probe.failures)}`);
    await target.cluster.startProcess(node.id);
    await target.untilRedundant(signal);
  }
  const latencies = new Latencies();
  for (const ms of longestMs) latencies.add(ms);
  const p99Ms = latencies.percentile(99);
  return {
    longestMs,
    failed,
    checks: [
      { name: 'hand-over: longest wait of a write per partition, p99', value: p99Ms, text: `${p99Ms.toFixed(1)} ms`, target: `<= ${HAND_OVER_P99_MS} ms`, passed: p99Ms <= HAND_OVER_P99_MS },
      count('hand-over: failed writes', failed),
    ],
  };
}

async function etcdAway({ print, signal }: BenchContext, target: AtollTarget, awayMs: number): Promise<Check> {
  const probe = new WriteProbe({ target, writesPerSecond: WRITES_PER_SECOND, prefix: 'etcd' }).start();
  await pause(1000);
  await target.cluster.killProcess('etcd');
  await pause(awayMs);
  signal.throwIfAborted();
  await target.cluster.startProcess('etcd');
  await pause(2000);
  await probe.stop();
  print(`etcd stopped for ${awayMs / 1000} s: ${probe.acknowledged} writes acknowledged, failed: ${JSON.stringify(probe.failures)}`);
  return count(`etcd stopped for ${awayMs / 1000} s: failed writes`, probe.failureCount);
}

async function untilGone(pid: number, timeoutMs: number): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (isAlive(pid)) {
    if (performance.now() > deadline) throw new Error(`process ${pid} has not ended within ${timeoutMs / 1000} s of SIGTERM`);
    await pause(20);
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
