// The daemon's structured log. The kernel takes any object of this shape, so that an embedding program can pass its own logger.
export interface Log {
  debug(fields: Record<string, unknown>, message: string): void;
  info(fields: Record<string, unknown>, message: string): void;
  warn(fields: Record<string, unknown>, message: string): void;
  error(fields: Record<string, unknown>, message: string): void;
}

export const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };
