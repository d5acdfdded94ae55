// Text of others on a terminal: nothing in it that the terminal would obey.

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;
/** Line ends and tabs stay; every other control character is written as `\x1b`. */
export const printable = (value: string): string => value.replace(CONTROL, (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`);

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
const LEFT_BY_JSON = /[\u007f-\u009f]/g;
/** JSON and YAML in which these are escaped too: some terminals obey them, and to whoever parses it is the same. */
export const structuredText = (text: string): string => text.replace(LEFT_BY_JSON, (character) => `\\u00${character.charCodeAt(0).toString(16)}`);
