// `cloud s3 credentials|env`: what other people's clients need, in the words of each of them.
import { Fault } from '@thecloud/core/contracts';
import { colours, EXIT, err, out, paint, usage } from '../base.ts';
import { inputOf } from '../input.ts';
import { structured } from '../print/index.ts';
import { printable } from '../print/printable.ts';
import { Remote } from '../remote.ts';
import { settingsOf } from '../settings.ts';
import { commandOf, type OperationSpec } from '../table.ts';
import { flag, type Words } from '../words.ts';

export interface Credentials {
  /** Absent while nothing listens. */
  endpoint?: string;
  region: string;
  accessKeyId: string;
  secretAccessKey: string;
  tenant: string;
}

export async function run(words: Words): Promise<number> {
  await inputOf(words);
  const remote = new Remote(settingsOf(words));
  const credentials = (await remote.call(commandOf('s3 credentials').operation as OperationSpec, {})).value as Credentials;
  const { output } = remote.settings;
  const silent = 'Nothing listens for S3: these will work once something does';
  const hint = 'cloud daemon start --s3-listen 127.0.0.1:9000';
  if (words.command.id === 's3 env') {
    // A shell that evaluates half of it would speak to AWS itself.
    if (credentials.endpoint === undefined) throw new Fault('unavailable', 'Nothing listens for S3', { hint });
    out(environment(credentials, shellOf(words)));
    return EXIT.done;
  }
  if (output === 'json' || output === 'yaml') out(await structured(credentials, output));
  else if (output === 'name') out(`${printable(credentials.accessKeyId)}\n`);
  else out(ready(credentials, colours(process.stdout)));
  if (credentials.endpoint === undefined && !remote.settings.quiet) err(`${silent}. (${hint})\n`);
  return EXIT.done;
}

type Shell = 'sh' | 'fish' | 'dotenv';

function shellOf(words: Words): Shell {
  const given = flag(words, 'shell');
  if (given === undefined) return 'sh';
  const shell = SHELLS[given];
  if (shell === undefined) throw usage(`--shell: use ${Object.keys(SHELLS).join(', ')}`);
  return shell;
}

const SHELLS: Readonly<Record<string, Shell>> = { bash: 'sh', dotenv: 'dotenv', fish: 'fish', sh: 'sh', zsh: 'sh' };

/** Lines for `eval`: nothing in a value is a word of the shell. */
export function environment({ endpoint, region, accessKeyId, secretAccessKey }: Credentials, shell: Shell): string {
  const values: readonly (readonly [string, string])[] = [
    ['AWS_ACCESS_KEY_ID', accessKeyId],
    ['AWS_SECRET_ACCESS_KEY', secretAccessKey],
    ['AWS_REGION', region],
    // What older programs read in its place.
    ['AWS_DEFAULT_REGION', region],
    ['AWS_ENDPOINT_URL_S3', endpoint ?? ''],
  ];
  return values.map(([name, value]) => `${LINES[shell](name, value)}\n`).join('');
}

const quoted = (value: string): string => `'${value.replaceAll("'", "'\\''")}'`;
const fishQuoted = (value: string): string => `'${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
const LINES: Readonly<Record<Shell, (name: string, value: string) => string>> = {
  sh: (name, value) => `export ${name}=${quoted(value)}`,
  fish: (name, value) => `set -gx ${name} ${fishQuoted(value)}`,
  dotenv: (name, value) => `${name}=${/^[\w@%+=:,./-]*$/.test(value) ? value : quoted(value)}`,
};

/** The credentials, then a line or a few for each client, to be copied as they are. */
export function ready(credentials: Credentials, colour: boolean): string {
  const { region, accessKeyId, secretAccessKey, tenant } = credentials;
  const endpoint = printable(credentials.endpoint ?? 'http://127.0.0.1:9000');
  const host = endpoint.replace(/^https?:\/\//, '');
  const title = (text: string): string => paint('bold', text, colour);
  const card = [
    ['endpoint', credentials.endpoint ?? '-'],
    ['region', region],
    ['access key', accessKeyId],
    ['secret key', secretAccessKey],
    ['tenant', tenant],
  ]
    .map(([name, value]) => `${`${name}:`.padEnd(13)}${printable(value as string)}\n`)
    .join('');
  const section = (name: string, ...lines: string[]): string => `\n${title(name)}\n${lines.map((line) => `  ${line}\n`).join('')}`;
  return [
    card,

    section('aws, the AWS SDKs, Terraform', 'eval "$(cloud s3 env)"', 'aws s3 ls'),
    section(
      'rclone',
      `rclone config create cloud s3 provider=Other endpoint=${endpoint} region=${region} \\`,
      `  access_key_id=${quoted(accessKeyId)} secret_access_key=${quoted(secretAccessKey)} force_path_style=true`,
      'rclone lsd cloud:',
    ),
    section(
      's3cmd',
      `s3cmd --host=${host} --host-bucket=${host} ${endpoint.startsWith('https') ? '' : '--no-ssl '}--region=${region} \\`,
      `  --access_key=${quoted(accessKeyId)} --secret_key=${quoted(secretAccessKey)} ls`,
    ),
    section('restic', 'eval "$(cloud s3 env)"', `restic -r s3:${endpoint}/<bucket>/<path> init`),
    section(
      "Terraform's state",
      'terraform {',
      '  backend "s3" {',
      '    bucket                      = "<bucket>"',
      '    key                         = "terraform.tfstate"',
      `    region                      = "${region}"`,
      `    endpoints                   = { s3 = "${endpoint}" }`,
      '    use_path_style              = true',
      '    use_lockfile                = true',
      '    skip_credentials_validation = true',
      '    skip_metadata_api_check     = true',
      '    skip_requesting_account_id  = true',
      '    skip_region_validation      = true',
      '  }',
      '}',
    ),
  ].join('');
}
