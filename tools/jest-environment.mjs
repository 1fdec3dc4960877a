// Each spec file runs in an ordinary global object of its own. Jest's node environment has a proxy for one, through
// which every mention of `Math` or `Buffer` goes: what computes takes twice its time there, and the specs' timings tell
// little of production.
import { constants, createContext } from 'node:vm';
import { TestEnvironment } from 'jest-environment-node';

/** A new context has these too, but values of node's own modules are made with the ones of the process. */
const OF_THE_PROCESS = new Set(['Buffer', 'ArrayBuffer', 'Uint8Array']);

export default class PlainGlobalEnvironment extends TestEnvironment {
  constructor(config, context) {
    super(config, context);
    const plain = createContext(constants.DONT_CONTEXTIFY);
    for (const name of Reflect.ownKeys(this.global)) {
      if (Object.hasOwn(plain, name) && !OF_THE_PROCESS.has(name)) continue;
      Object.defineProperty(plain, name, settledByFirstUse(plain, name, Object.getOwnPropertyDescriptor(this.global, name)));
    }
    plain.global = plain;
    plain.Error.stackTraceLimit = this.global.Error.stackTraceLimit;
    this.context = plain;
    this.global = plain;
    // What Jest makes for the global object, once more for this one.
    this.moduleMocker = new this.moduleMocker.constructor(plain);
    this.fakeTimersModern = new this.fakeTimersModern.constructor({ config: config.projectConfig, global: plain });
    this.fakeTimers = null;
  }
}

/** Some of node's globals load a module when they are first named: they stay as late, and are plain values from then on. */
function settledByFirstUse(target, name, descriptor) {
  if (descriptor.get === undefined || !descriptor.configurable) return descriptor;
  const settle = (value) => {
    Object.defineProperty(target, name, { value, enumerable: descriptor.enumerable, configurable: true, writable: true });
    return value;
  };
  return { enumerable: descriptor.enumerable, configurable: true, get: () => settle(globalThis[name]), set: settle };
}
