import { pathToFileURL } from 'node:url';
import type { GetRepositoryResponse } from '@atoll/contracts/atoll/v1/backup';
import type { SharedProbe } from '../repository/shared-probe.ts';

export async function getRepository(directory: string, probe: SharedProbe): Promise<GetRepositoryResponse> {
  const { isWritable, problem, bytesFree, durationMs } = await probe.run();
  return { location: pathToFileURL(directory).href, writable: isWritable, problem, bytesFree, probeMs: Math.round(durationMs) };
}
