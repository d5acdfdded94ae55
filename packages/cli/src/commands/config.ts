// `cloud config get|set|list|unset`: one small JSON file, written whole, readable by its owner only.
import { resolve } from 'node:path';
import { nearest } from '@thecloud/core/contracts';
import { EXIT, err, out, usage } from '../base.ts';
import { OUTPUTS } from '../common-flags.ts';
import { chosenContext, configFile } from '../contexts.ts';
import { inputOf } from '../input.ts';
import { structured, styleNow, terminalWidth } from '../print/index.ts';
import { table } from '../print/table.ts';
import { API_KEY_VARIABLE, type Config, find, readConfig, SETTINGS, type Setting, settingsOf } from '../settings.ts';
import { locked, writeWhole } from '../store.ts';
import { isSet, type Words } from '../words.ts';

export async function run(words: Words): Promise<number> {
  await inputOf(words);
  const { output } = settingsOf(words);
  const [name, value] = words.positionals;
  switch (words.command.id) {
    case 'config list': {
      const config = readConfig();
      const chosen = chosenContext(words);
      const items: { name: string; value: string | undefined; source: string; meaning: string }[] = (Object.keys(SETTINGS) as Setting[]).map((setting) => {
        const found = find(setting, words, config, chosen);
        const shown = found === undefined ? undefined : setting === 'token' ? '[REDACTED]' : found.value;
        return { name: setting, value: shown, source: found?.source ?? 'default', meaning: SETTINGS[setting].meaning };
      });
      items.unshift({ name: 'context', value: chosen.name, source: chosen.source, meaning: 'Context in force (`cloud context list`)' });
      if (process.env[API_KEY_VARIABLE]) items.push({ name: 'api-key', value: '[REDACTED]', source: 'environment', meaning: 'API key to call with' });
      if (output === 'json' || output === 'yaml') out(await structured({ items }, output));
      else {
        const columns = ['name', 'value', 'source', 'meaning'].map((field) => ({ field, header: field, format: 'text' as const }));
        out(table(columns, items, { ...styleNow(), header: true, terminal: terminalWidth() }));
      }
      return 0;
    }
    case 'config get': {
      const setting = settingFrom(name);
      const found = find(setting, words, readConfig(), chosenContext(words));
      if (found === undefined) {
        if (!isSet(words, 'quiet')) err(`${setting} is not set.\n`);
        return EXIT.failed;
      }
      out(output === 'json' ? await structured(found.value, 'json') : `${found.value}\n`);
      return 0;
    }
    case 'config set': {
      const setting = settingFrom(name);
      const kept = checked(setting, value as string);
      await change((config) => ({ ...config, [setting]: kept }));
      return 0;
    }
    default: {
      const setting = settingFrom(name);
      await change(({ [setting]: _, ...rest }) => rest);
      return 0;
    }
  }
}

function settingFrom(name: string | undefined): Setting {
  if (name !== undefined && Object.hasOwn(SETTINGS, name)) return name as Setting;
  if (name === 'context') throw usage('The context is chosen by a command of its own', 'cloud context use <name>');
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

const change = (to: (config: Config) => Config): Promise<void> => locked(() => writeWhole(configFile(), to(readConfig())));
