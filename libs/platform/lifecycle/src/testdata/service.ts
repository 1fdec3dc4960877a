// A service whose behaviour the spec chooses with SPEC_MODE; it says on standard output how far it is.
import { COMMON_RELATIONS, choice, commonSettings, parseSettings, toCommonConfig } from '@atoll/platform-config';
import { startHttpEndpoint } from '@atoll/platform-telemetry';
import { runService } from '../run-service.ts';

const settings = {
  ...commonSettings({ id: 'spec-1', listen: '127.0.0.1:0' }),
  SPEC_MODE: choice(['serve', 'wait', 'hang', 'deaf', 'broken-hook', 'reject', 'throw', 'bug-at-start', 'lose-id'], { default: 'serve', description: 'What to do.' }),
};
const say = (text: string): void => void process.stdout.write(`${text}\n`);

await runService({
  name: 'spec',
  version: '1.0.0',
  config: () => {
    const values = parseSettings(settings, process.env, { prefixes: ['ATOLL_', 'SPEC_'], relations: COMMON_RELATIONS });
    return { common: toCommonConfig(values), mode: values.SPEC_MODE };
  },
  start: async ({ common, mode }, context) => {
    context.onStop('first', () => say('stopped first'));
    if (mode === 'wait') await context.waitFor('a server at nowhere', () => Promise.reject(new Error('refused')));
    if (mode === 'bug-at-start') throw new TypeError('oops');
    if (common.httpListen) {
      const http = await startHttpEndpoint({ listen: common.httpListen, metrics: context.telemetry.handleMetricsRequest, readiness: () => ({ ready: true, reasons: [] }) });
      context.onStop('http', () => http.close());
    }
    if (mode === 'hang') context.onStop('hanging', (signal) => new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true })));
    if (mode === 'deaf') context.onStop('deaf', () => new Promise(() => undefined));
    if (mode === 'broken-hook') context.onStop('broken', () => Promise.reject(new Error('cannot')));
    context.onStop('second', () => say('stopped second'));
    say('serving');
    if (mode === 'reject') void Promise.reject(new Error('nobody caught me'));
    if (mode === 'throw') setImmediate(() => { throw new Error('nobody caught me'); });
    if (mode === 'lose-id') context.fail('the node id was taken', 2);
  },
});
