/** An archive whose manifest cannot be read. */
export interface UnreadableManifest {
  readonly archive: string;
  readonly problem: string;
}

/** Told once each, and counted: what is damaged keeps nothing else from its work, and must not go unseen for that. */
export class UnreadableManifests {
  readonly #onFound: (found: UnreadableManifest) => void;
  #found: ReadonlyMap<string, string> = new Map();

  constructor(onFound: (found: UnreadableManifest) => void = () => undefined) {
    this.#onFound = onFound;
  }

  /** At the last look at all manifests. */
  get count(): number {
    return this.#found.size;
  }

  /** Takes note of what a look at all manifests has found. */
  note(found: readonly UnreadableManifest[]): void {
    const before = this.#found;
    this.#found = new Map(found.map(({ archive, problem }) => [archive, problem]));
    for (const [archive, problem] of this.#found) if (before.get(archive) !== problem) this.#onFound({ archive, problem });
  }
}

/** Behind the words that nothing of use was found: it may be among these. */
export const unreadableText = (found: readonly UnreadableManifest[]): string =>
  found.length === 0 ? '' : `; ${found.length} cannot be read: ${found.slice(0, 3).map(({ archive }) => archive).join(', ')}${found.length > 3 ? ', ...' : ''}`;
