export { checkHistory } from './check-history.ts';
export type { CheckOptions, HistoryProblem } from './check-history.ts';
export { HistoryRecorder } from './history-recorder.ts';
export type { BegunOperation } from './history-recorder.ts';
export { formatHistory, parseHistory } from './history-text.ts';
export { describeOperation } from './operation.ts';
export type { KeyAction, KeyAnswer, KeyOperation, KeyOutcome } from './operation.ts';
