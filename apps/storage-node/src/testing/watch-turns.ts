/** CPU time of this thread in each turn of the event loop, in ms: what others wait for, whatever else the machine does. */
export function watchTurns(): { end(): readonly number[] } {
  const turns: number[] = [];
  let isOver = false;
  let last = process.threadCpuUsage();
  const turn = (): void => {
    const now = process.threadCpuUsage();
    turns.push((now.user + now.system - last.user - last.system) / 1000);
    last = now;
    if (!isOver) setImmediate(turn);
  };
  turn();
  return {
    end: () => {
      isOver = true;
      return turns;
    },
  };
}
