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

/** A line that is not shown. The terminal hands over each key, so that nothing of it is echoed, not even what is typed ahead. */
export async function askSecret(question: string): Promise<string> {
  const { stdin } = process;
  stdin.setRawMode(true);
  err(question);
  try {
    const answer = await new Promise<string | undefined>((resolve) => {
      const decoder = new TextDecoder();
      let text: string[] = [];
      const settle = (value: string | undefined): void => {
        stdin.off('data', onData).off('end', onEnd).pause();
        resolve(value);
      };
      const onData = (bytes: Buffer): void => {
        for (const key of decoder.decode(bytes, { stream: true })) {
          if (key === '\r' || key === '\n') return settle(text.join(''));
          if (key === '\x03' || (key === '\x04' && text.length === 0)) return settle(undefined);
          if (key === '\x7f' || key === '\b') text.pop();
          else if (key === '\x15') text = [];
          else if (key >= ' ') text.push(key);
        }
      };
      const onEnd = (): void => settle(undefined);
      stdin.on('data', onData).on('end', onEnd).resume();
    });
    if (answer !== undefined) err('\n');
    return answered(answer);
  } finally {
    stdin.setRawMode(false);
  }
}

/** Asked twice, because nobody sees a slip. */
export async function askNewSecret(what: string): Promise<string> {
  for (;;) {
    const first = await askSecret(`${what}: `);
    if (first === '') err('It is empty.\n');
    else if (first === (await askSecret('The same again: '))) return first;
    else err('The two are not the same.\n');
  }
}

export async function confirm(question: string): Promise<void> {
  if (/^y(es)?$/i.test(await askLine(`${question} [y/N] `))) return;
  err('Nothing was changed.\n');
  throw new Exit(EXIT.interrupted);
}
