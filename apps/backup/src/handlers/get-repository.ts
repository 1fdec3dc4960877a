import type { GetRepositoryResponse } from '@atoll/contracts/atoll/v1/backup';
import { formatRepositoryLocation, type RepositoryLocation } from '@atoll/platform-repository';
import type { SharedProbe } from '../repository/shared-probe.ts';

export async function getRepository(location: RepositoryLocation, probe: SharedProbe): Promise<GetRepositoryResponse> {
  const { isWritable, problem, bytesFree, durationMs } = await probe.run();
  return { location: formatRepositoryLocation(location), writable: isWritable, problem, bytesFree, probeMs: Math.round(durationMs) };
}
