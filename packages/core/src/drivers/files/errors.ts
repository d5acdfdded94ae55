// What the file system and SQLite say, in the words of drivers. Only what they threw comes here: what the source of the bytes threw is passed on as it is.
import { DriverError, type DriverErrorCode } from '../../kernel/errors.ts';

const CODES: Readonly<Record<string, DriverErrorCode>> = {
  ENOSPC: 'full',
  EDQUOT: 'full',
  SQLITE_FULL: 'full',
  EACCES: 'unavailable',
  EPERM: 'unavailable',
  EROFS: 'unavailable',
  ENOTDIR: 'unavailable',
  SQLITE_CANTOPEN: 'unavailable',
  SQLITE_READONLY: 'unavailable',
  SQLITE_PERM: 'unavailable',
  EMFILE: 'busy',
  ENFILE: 'busy',
  ENOMEM: 'busy',
  SQLITE_BUSY: 'busy',
  SQLITE_LOCKED: 'busy',
  SQLITE_NOMEM: 'busy',
};

export const codeOf = (error: unknown): string | undefined => {
  const code = (error as { code?: unknown } | undefined)?.code;
  return typeof code === 'string' ? code : undefined;
};

export function driverError(error: unknown, doing: string): DriverError {
  if (error instanceof DriverError) return error;
  const text = codeOf(error) ?? '';
  // Extended codes of SQLite begin with the plain ones: SQLITE_CANTOPEN_ISDIR.
  const code = CODES[text] ?? CODES[text.split('_').slice(0, 2).join('_')] ?? 'failed';
  const hint = code === 'full' ? 'df -h  # free some space, then try again' : undefined;
  return new DriverError(code, `${doing}: ${error instanceof Error ? error.message : String(error)}`, {
    cause: error,
    ...(hint === undefined ? {} : { hint }),
  });
}

export async function translated<T>(doing: string, call: Promise<T>): Promise<T> {
  try {
    return await call;
  } catch (error) {
    throw driverError(error, doing);
  }
}
