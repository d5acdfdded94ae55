// Questions, only where somebody sits: standard input and error are a terminal. In a pipe nothing is asked and the command goes on.
import { EXIT, Exit, err } from './base.ts';

export const someoneIsThere = (): boolean => process.stdin.isTTY === true && process.stderr.isTTY === true;

/** True for y or yes. Ctrl-C and Ctrl-D end the command. */
async function ask(question: string): Promise<boolean> {
  err(`${question} [y/N] `);
  const answer = await new Promise<string | undefined>((resolve) => {
    let text = '';
    const settle = (value: string | undefined): void => {
      process.stdin.off('data', onData).off('end', onEnd).pause();
      process.off('SIGINT', onEnd);
      resolve(value);
    };
    const onData = (bytes: Buffer): void => {
      text += bytes.toString('utf8');
      const end = text.indexOf('\n');
      if (end >= 0) settle(text.slice(0, end));
    };
    const onEnd = (): void => settle(undefined);
    process.stdin.on('data', onData).on('end', onEnd).resume();
    process.on('SIGINT', onEnd);
  });
  if (answer === undefined) {
    err('\n');
    throw new Exit(EXIT.interrupted);
  }
  return /^y(es)?$/i.test(answer.trim());
}

export async function confirm(question: string): Promise<void> {
  if (await ask(question)) return;
  err('Nothing was changed.\n');
  throw new Exit(EXIT.interrupted);
}
