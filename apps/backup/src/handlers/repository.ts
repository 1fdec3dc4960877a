import type { AcceptRepositoryRequest, AcceptRepositoryResponse, GetRepositoryResponse } from '@atoll/contracts/atoll/v1/backup';
import { invalidArgument, isAtollError } from '@atoll/core-errors';
import { formatRepositoryLocation, type RepositoryLocation } from '@atoll/platform-repository';
import type { RepositoryAccess } from '../repository/repository-access.ts';
import type { SharedProbe } from '../repository/shared-probe.ts';

/** Of an id; what makes them is shorter. */
const ID_MAX = 128;

export interface RepositoryDesk {
  readonly location: RepositoryLocation;
  readonly probe: SharedProbe;
  readonly access: Pick<RepositoryAccess, 'look' | 'accept'>;
}

export async function getRepository({ location, probe, access }: RepositoryDesk): Promise<GetRepositoryResponse> {
  const { isWritable, problem, bytesFree, durationMs } = await probe.run();
  const told = { location: formatRepositoryLocation(location), writable: isWritable, problem, bytesFree, probeMs: Math.round(durationMs), id: '', knownId: '', refusal: '' };
  // Storage that does not answer would be waited for once more.
  if (!isWritable) return told;
  try {
    const { id = '', knownId = '', refusal } = await access.look();
    return { ...told, id, knownId, refusal: refusal?.message ?? '' };
  } catch (error) {
    if (!isAtollError(error)) throw error;
    return { ...told, refusal: error.message };
  }
}

export async function acceptRepository({ access }: Pick<RepositoryDesk, 'access'>, { id }: AcceptRepositoryRequest): Promise<AcceptRepositoryResponse> {
  if (id.length > ID_MAX) throw invalidArgument('id', `has at most ${ID_MAX} characters, not ${id.length}`);
  return { id: await access.accept(id === '' ? undefined : id) };
}
