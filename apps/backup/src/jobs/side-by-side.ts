/** Does what `next` gives until that is undefined, so many at a time. Rejects with the first failure, when what was begun has ended. */
export async function sideBySide<T>(atOnce: number, next: () => T | undefined, work: (item: T) => Promise<unknown>): Promise<void> {
  let isFailed = false;
  const worker = async (): Promise<void> => {
    for (let item = next(); item !== undefined; item = isFailed ? undefined : next()) {
      try {
        await work(item);
      } catch (error) {
        isFailed = true;
        throw error;
      }
    }
  };
  const ended = await Promise.allSettled(Array.from({ length: atOnce }, worker));
  const failed = ended.find((end) => end.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}

/** All of them. */
export function eachOf<T>(items: readonly T[], atOnce: number, work: (item: T) => Promise<unknown>): Promise<void> {
  const left = [...items];
  return sideBySide(Math.min(atOnce, left.length), () => left.shift(), work);
}
