// The SDK: one typed client of the cloud. `./embed` runs the whole cloud in this process, `./testing` does so for the length of a test.
export { type CallOptions, type Channel, type Cloud, ERRORS, type ErrorCode, Fault, type FaultBody, type FieldProblem } from '@thecloud/core/contracts';
export { type Connection, type ConnectOptions, connect } from './connect.ts';
export { isFault, OperationFailed, type OperationState, type WaitOptions, waitForOperation } from './exchange.ts';
export { type RunOptions, run } from './run.ts';
export type { Session, SessionOptions } from './session.ts';
