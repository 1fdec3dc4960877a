// Chapters that speak of two clusters: EAST behind a command says that it is for the cluster of the chapter, WEST for another
// one, which is there from the first such command to the last.
import { must } from '../docker.ts';
import { GuideProject } from './guide-project.ts';
import type { ShellSession } from './shell-session.ts';

const START_MS = 300_000;

export const isOfTwoClusters = (text: string): boolean => /\bWEST\b/.test(text);

/** As it is executed: `atoll` asks the cluster of the chapter, `west` the other one; their routers have addresses. */
export function forTwoClusters(command: string, routers: { readonly east: readonly string[]; readonly west: readonly string[] }): string {
  const asked = command.replace(/\batoll ([^;|&)\n]*?) (EAST|WEST)\b/g, (_, words: string, where: string) => `${where === 'WEST' ? 'west' : 'atoll'} ${words}`);
  return asked.replace(/\b(east|west)-router-([12]):7400\b/g, (_, where: 'east' | 'west', number: string) => routers[where][Number(number) - 1]!);
}

/** An address of this machine that containers of all networks reach: that of Docker's own bridge, the first of its range. */
export async function gateway(): Promise<string> {
  const subnet = await must(['docker', 'network', 'inspect', 'bridge', '--format', '{{(index .IPAM.Config 0).Subnet}}']);
  return subnet.replace(/\d+\/\d+$/, '1');
}

/** Started, and known to the shell of the chapter as `west`. */
export async function startWest(compose: readonly string[], bind: string, shell: ShellSession): Promise<GuideProject> {
  const west = await GuideProject.make({ compose, bind, title: 'west', settings: { ROUTER_COPY_SOURCES: 'on', ROUTER_COPY_CUT_OVERS: 'on' } });
  try {
    const { code, output } = await shell.run(`west() { (cd '${west.cwd}' && docker compose run --rm -T atoll "$@"); }; (cd '${west.cwd}' && docker compose up -d --no-build) && west doctor --wait 4m`, START_MS);
    if (code !== 0) throw new Error(`the other cluster does not start: ${output}`);
  } catch (error) {
    await west.remove();
    throw error;
  }
  return west;
}
