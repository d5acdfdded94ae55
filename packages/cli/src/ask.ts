// Questions, only where somebody sits: standard input and error are a terminal. In a pipe nothing is asked and the command goes on.
import { EXIT, Exit, err } from './base.ts';

export const someoneIsThere = (): boolean => process.stdin.isTTY === true && process.stderr.isTTY === true;

/** A line of text, as it was typed. Ctrl-C and Ctrl-D end the command. */
export async function askLine(question: string): Promise<string> {
  err(question);
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
  return answered(answer).trim();
}

function answered(answer: string | undefined): string {
  if (answer !== undefined) return answer;
  err('\n');
  throw new Exit(EXIT.interrupted);
}

/** What was pasted or typed behind the line that was asked for: the answer to the next question. */
let ahead = '';

/** Runs questions whose answers are not shown. All the while the terminal hands over each key, so that nothing is echoed, not even between two of them. */
async function unseen<T>(work: (ask: (question: string) => Promise<string>) => Promise<T>): Promise<T> {
  const { stdin } = process;
  stdin.setRawMode(true);
  try {
    return await work(async (question) => {
      err(question);
      const answer = answered(await keysUntilReturn());
      err('\n');
      return answer;
    });
  } finally {
    stdin.setRawMode(false);
  }
}

/** Undefined after Ctrl-C, or Ctrl-D on an empty line. */
const keysUntilReturn = (): Promise<string | undefined> =>
  new Promise((resolve) => {
    const { stdin } = process;
    const decoder = new TextDecoder();
    const text: string[] = [];
    const settle = (value: string | undefined): void => {
      stdin.off('data', onData).off('end', onEnd).pause();
      resolve(value);
    };
    const take = (keys: string): void => {
      const all = Array.from(keys);
      for (const [index, key] of all.entries()) {
        if (key === '\r' || key === '\n') {
          ahead = all.slice(index + 1).join('');
          return settle(text.join(''));
        }
        if (key === '\x03' || (key === '\x04' && text.length === 0)) return settle(undefined);
        if (key === '\x7f' || key === '\b') text.pop();
        else if (key === '\x15') text.length = 0;
        else if (key >= ' ') text.push(key);
      }
    };
    const onData = (bytes: Buffer): void => take(decoder.decode(bytes, { stream: true }));
    const onEnd = (): void => settle(undefined);
    stdin.on('data', onData).on('end', onEnd).resume();
    const before = ahead;
    ahead = '';
    take(before);
  });

export const askSecret = (question: string): Promise<string> => unseen((ask) => ask(question));

/** Asked twice, because nobody sees a slip. */
export const askNewSecret = (what: string): Promise<string> =>
  unseen(async (ask) => {
    for (;;) {
      const first = await ask(`${what}: `);
      if (first === '') err('It is empty.\n');
      else if (first === (await ask('The same again: '))) return first;
      else err('The two are not the same.\n');
    }
  });

export async function confirm(question: string): Promise<void> {
  if (/^y(es)?$/i.test(await askLine(`${question} [y/N] `))) return;
  err('Nothing was changed.\n');
  throw new Exit(EXIT.interrupted);
}
