/** Partitions of a source that have keys of a partition of its copy, ascending. Both counts are powers of two. */
export function sourcePartitionsOf(partition: number, targetCount: number, sourceCount: number): number[] {
  if (sourceCount <= targetCount) return [Math.floor((partition * sourceCount) / targetCount)];
  const width = sourceCount / targetCount;
  return Array.from({ length: width }, (_, index) => partition * width + index);
}
