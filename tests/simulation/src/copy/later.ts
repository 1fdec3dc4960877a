// Work of a coordinator that waits for answers, written in the order in which it is done.

/** What it yields is begun, and tells when it is over; only the first word counts. */
export type Later<T> = Generator<(resume: (value: unknown) => void) => void, T, unknown>;

export function* wait<T>(begin: (resume: (value: T) => void) => void): Later<T> {
  return (yield begin) as T;
}

/** All of them at once; goes on when each is over. */
export function* waitAll<T>(begins: readonly ((resume: (value: T) => void) => void)[]): Later<readonly T[]> {
  if (begins.length === 0) return [];
  return yield* wait<readonly T[]>((resume) => {
    const found: T[] = [];
    for (const begin of begins) {
      let isOver = false;
      begin((value) => {
        if (isOver) return;
        isOver = true;
        found.push(value);
        if (found.length === begins.length) resume(found);
      });
    }
  });
}

export function carryOut<T>(work: Later<T>, done: (value: T) => void): void {
  const go = (value: unknown): void => {
    const step = work.next(value);
    if (step.done === true) return done(step.value);
    let isResumed = false;
    step.value((answer) => {
      if (isResumed) return;
      isResumed = true;
      go(answer);
    });
  };
  go(undefined);
}
