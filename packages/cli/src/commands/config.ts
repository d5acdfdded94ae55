// `cloud config get|set|list|unset`: one small JSON file, written whole, readable by its owner only.
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { nearest } from '@thecloud/core/contracts';
import { EXIT, err, out, usage } from '../base.ts';
import { OUTPUTS } from '../common-flags.ts';
import { inputOf } from '../input.ts';
import { structured, styleNow, terminalWidth } from '../print/index.ts';
import { table } from '../print/table.ts';
import { configFile, find, readConfig, SETTINGS, type Setting, settingsOf } from '../settings.ts';
import { isSet, type Words } from '../words.ts';

export async function run(words: Words): Promise<number> {
  await inputOf(words);
  const { output } = settingsOf(words);
  const [name, value] = words.positionals;
  switch (words.command.id) {
    case 'config list': {
      const config = readConfig();
      const items = (Object.keys(SETTINGS) as Setting[]).map((setting) => {
        const found = find(setting, undefined, config);
        const shown = found === undefined ? undefined : setting === 'token' ? '[REDACTED]' : found.value;
        return { name: setting, value: shown, source: found?.source ?? 'default', meaning: SETTINGS[setting].meaning };
      });
      if (output === 'json' || output === 'yaml') out(await structured({ items }, output));
      else {
        const columns = ['name', 'value', 'source', 'meaning'].map((field) => ({ field, header: field, format: 'text' as const }));
        out(table(columns, items, { ...styleNow(), header: true, terminal: terminalWidth() }));
      }
      return 0;
    }
    case 'config get': {
      const setting = settingFrom(name);
      const found = find(setting, undefined, readConfig());
      if (found === undefined) {
        if (!isSet(words, 'quiet')) err(`${setting} is not set.\n`);
        return EXIT.failed;
      }
      out(output === 'json' ? await structured(found.value, 'json') : `${found.value}\n`);
      return 0;
    }
    case 'config set': {
      const setting = settingFrom(name);
      write({ ...readConfig(), [setting]: checked(setting, value as string) });
      return 0;
    }
    default: {
      const { [settingFrom(name)]: _, ...rest } = readConfig();
      write(rest);
      return 0;
    }
  }
}

function settingFrom(name: string | undefined): Setting {
  if (name !== undefined && name in SETTINGS) return name as Setting;
  const names = Object.keys(SETTINGS);
  const near = nearest(name ?? '', names);
  throw usage(`There is no setting "${name}"; ${near === undefined ? `use ${names.join(', ')}` : `did you mean ${near}?`}`, 'cloud config list');
}

function checked(setting: Setting, value: string): string {
  if (setting === 'output' && !OUTPUTS.some((one) => one === value)) {
    const near = nearest(value, OUTPUTS);
    throw usage(`output: use ${OUTPUTS.join(', ')}${near === undefined ? '' : `; did you mean ${near}?`}`);
  }
  if (setting === 'url' && !URL.canParse(value)) throw usage(`url: "${value}" is not an address such as http://127.0.0.1:7070`);
  return setting === 'data-dir' || setting === 'socket' ? resolve(value) : value;
}

function write(config: Partial<Record<Setting, string>>): void {
  const file = configFile();
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const temporary = `${file}.${process.pid}`;
  writeFileSync(temporary, `${JSON.stringify(config, undefined, 2)}\n`, { mode: 0o600 });
  renameSync(temporary, file);
}
