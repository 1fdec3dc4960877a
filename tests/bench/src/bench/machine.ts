import { availableParallelism, cpus, loadavg, platform, release, totalmem } from 'node:os';
import { bytesText } from '../output/text.ts';

/** What figures depend on. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly system: string;
  readonly node: string;
  /** Runnable processes over the last minute when the bench began: other work makes figures smaller. */
  readonly loadAverage: number;
}

export function describeMachine(): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    system: `${platform()} ${release()}`,
    node: process.version,
    loadAverage: loadavg()[0] ?? 0,
  };
}

export const machineText = ({ cpu, cores, memoryBytes, system, node, loadAverage }: Machine): string =>
  `${cpu}, ${cores} cores, ${bytesText(memoryBytes)}, ${system}, Node ${node}, load average ${loadAverage.toFixed(1)} at the start`;
