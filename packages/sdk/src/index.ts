// The SDK: one typed client of the cloud. `./embed` runs the whole cloud in this process, `./testing` does so for the length of a test.
export { type Connection, type ConnectOptions, connect } from './connect.ts';
export { isFault, type OperationState, OperationFailed, waitForOperation, type WaitOptions } from './exchange.ts';
export { type RunOptions, run } from './run.ts';
export { type CallOptions, type Channel, type Cloud, type ErrorCode, ERRORS, Fault, type FaultBody, type FieldProblem } from '@thecloud/core/contracts';
