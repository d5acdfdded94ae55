// The commands that are written by hand, as the table describes them. One of the id of a generated command replaces it.
import { GLOBAL } from '../common-flags.ts';
import type { Command, Flag, Positional } from '../table.ts';
import { objectCommands } from './hand-written-objects.ts';
import { target, word } from './positionals.ts';

export interface HandWritten extends Omit<Command, 'positionals' | 'flags' | 'common' | 'examples' | 'group'> {
  positionals?: readonly Positional[];
  /** Instead of the generated ones. */
  flags?: readonly Flag[];
  /** Besides the generated ones. */
  moreFlags?: readonly Flag[];
  common?: readonly string[];
  examples?: readonly (readonly [string, string])[];
  module: string;
}

export const groups: readonly { name: string; summary: string; description?: string }[] = [
  {
    name: 'daemon',
    summary: 'The process that runs the cloud',
    description: 'The daemon keeps what was asked for and makes it so. Commands reach it over a Unix socket.',
  },
  {
    name: 'context',
    summary: 'Names for where a cloud is, and who you are there',
    description:
      'A context is a name for an address (socket, data directory or url), a tenant and credentials. `default` is always there: your own daemon. What a flag or the environment says goes before it.',
  },
  { name: 'config', summary: 'Settings of this command', description: 'Values used when neither a flag nor the environment says otherwise.' },
];

const contextName = (): Positional => word('context', 'Name of the context', { ref: 'context' });
const email: Positional = word('email', 'E-mail address; asked for on a terminal', { required: false });
const password: Flag = { name: 'password', field: 'password', type: 'string', file: true, secret: true, description: 'Password; asked for on a terminal' };
const raw: Flag = { name: 'raw', type: 'boolean', description: 'Only the value, without a line end' };
const dataDir: Flag = { name: 'data-dir', type: 'string', description: 'Directory that holds everything the daemon keeps' };

export const handWritten: readonly HandWritten[] = [
  {
    id: 'daemon start',
    module: 'daemon-start',
    summary: 'Start the daemon in the background',
    description:
      'Returns when it answers. A daemon that runs already is left alone. The driver is remembered: leave --driver out to start with the same one again.',
    flags: [
      { name: 'foreground', type: 'boolean', description: 'Stay in this terminal, log to standard error' },
      {
        name: 'driver',
        type: 'string',
        values: ['docker', 'memory'],
        description: 'What runs instances; docker for a new data directory, then the one used before',
      },
      { name: 'listen', type: 'string', description: 'Listen on this TCP address too, with a token', example: '127.0.0.1:7070' },
      {
        name: 's3-listen',
        type: 'string',
        description: 'Serve S3 clients at this address, or `off`; the one used before when absent, first 127.0.0.1:9000',
        example: '127.0.0.1:9000',
      },
      { name: 'allow-remote', type: 'boolean', description: 'Allow --listen and --s3-listen on an address that other machines can reach' },
      {
        name: 'allowed-host',
        type: 'string',
        many: true,
        description: 'Another name by which it is called over TCP, besides localhost and its address',
        example: 'cloud.example.com',
      },
      { name: 'allowed-origin', type: 'string', many: true, description: 'Origin whose web pages may call', example: 'https://app.example.com' },
      {
        name: 'trusted-proxy',
        type: 'string',
        many: true,
        description: 'Address or block of proxies whose X-Forwarded-For is believed',
        example: '10.0.0.0/8',
      },
      { name: 'rate-limit', type: 'integer', minimum: 0, description: 'Calls a second of one user or account over TCP; 0 for no limit; 200 when absent' },
      { name: 'max-connections', type: 'integer', minimum: 1, description: 'Open connections over TCP; one address may have half; 1024 when absent' },
      {
        name: 'production',
        type: 'boolean',
        description: 'Refuse to keep the master key beside the data: it comes from CLOUD_MASTER_KEY, CLOUD_MASTER_KEY_FILE or CLOUD_MASTER_KEY_COMMAND',
      },
      dataDir,
    ],
    examples: [
      ['daemon start', ''],
      ['daemon start --driver memory', 'for trying things out: nothing really runs'],
      ['daemon start --foreground --listen 127.0.0.1:7070', ''],
    ],
  },
  { id: 'daemon stop', module: 'daemon-stop', summary: 'Stop the daemon; instances go on running', flags: [dataDir], examples: [['daemon stop', '']] },
  { id: 'daemon status', module: 'daemon-status', summary: 'Show whether the daemon runs, and where', flags: [dataDir], examples: [['daemon status', '']] },
  {
    id: 'daemon logs',
    module: 'daemon-logs',
    summary: "Show the daemon's log",
    flags: [
      { name: 'follow', char: 'f', type: 'boolean', description: 'Go on until Ctrl-C' },
      { name: 'tail', char: 'n', type: 'integer', minimum: 0, description: 'Only the last n lines', default: 200 },
      dataDir,
    ],
    examples: [['daemon logs --follow', '']],
  },
  {
    id: 'config list',
    module: 'config',
    summary: 'Show all settings and where each comes from',
    examples: [['config list', '']],
  },
  {
    id: 'config get',
    module: 'config',
    summary: 'Show a setting',
    positionals: [word('setting', 'Name of the setting')],
    examples: [['config get output', '']],
  },
  {
    id: 'config set',
    module: 'config',
    summary: 'Keep a setting',
    positionals: [word('setting', 'Name of the setting'), word('value', 'Its value')],
    examples: [
      ['config set output wide', ''],
      ['config set url http://127.0.0.1:7070', ''],
    ],
  },
  {
    id: 'config unset',
    module: 'config',
    summary: 'Forget a setting',
    positionals: [word('setting', 'Name of the setting')],
    examples: [['config unset url', '']],
  },
  { id: 'context list', module: 'context', summary: 'List contexts; the one in force is marked', examples: [['context list', '']] },
  { id: 'context current', module: 'context', summary: 'Show the context in force', examples: [['context current', '']] },
  {
    id: 'context use',
    module: 'context',
    summary: 'Make a context the current one',
    positionals: [contextName()],
    examples: [
      ['context use work', ''],
      ['context use default', "back to this user's own daemon"],
    ],
  },
  {
    id: 'context create',
    module: 'context',
    summary: 'Keep an address and a tenant under a name',
    description: 'Without --url, --socket or --data-dir it is the address in force. `cloud auth login --context <name>` puts credentials into it.',
    positionals: [word('name', 'Name of the new context')],
    flags: [dataDir, { name: 'use', type: 'boolean', description: 'Make it the current one' }],
    examples: [
      ['context create work --url https://cloud.example.com --tenant acme --use', ''],
      ['context create test --data-dir ~/clouds/test', ''],
    ],
  },
  {
    id: 'context rename',
    module: 'context',
    summary: 'Give a context another name',
    positionals: [contextName(), word('new-name', 'The new name')],
    examples: [['context rename work office', '']],
  },
  {
    id: 'context delete',
    module: 'context',
    summary: 'Forget a context and its credentials',
    positionals: [contextName()],
    examples: [['context delete work', '']],
  },
  {
    id: 'auth login',
    module: 'auth',
    summary: 'Log in, and keep the tokens in the context',
    description:
      'Asks for what is missing on a terminal. With --url for an address that no context has, a new one is made. Tokens renew themselves. With --api-key the context gets a key instead.',
    positionals: [email],
    flags: [password, { name: 'api-key', field: 'apiKey', type: 'string', file: true, secret: true, description: 'Keep this API key instead of logging in' }],
    common: [...GLOBAL],
    examples: [
      ['auth login ann@example.com', 'asks for the password'],
      ['auth login ann@example.com --url https://cloud.example.com --context work', ''],
      ['auth login ann@example.com --password @password.txt', ''],
      ['auth login --api-key -', 'an API key from standard input'],
    ],
  },
  {
    id: 'auth logout',
    module: 'auth',
    summary: 'End the session and forget its tokens here',
    common: [...GLOBAL],
  },
  { id: 'auth whoami', module: 'auth', summary: 'Who you are, in which tenant, and what your roles are there' },
  {
    id: 'auth token',
    module: 'auth',
    summary: 'Print an access token that is valid now, for scripts',
    examples: [
      ['auth token', ''],
      ['auth token --context work', ''],
    ],
  },
  {
    id: 'auth register',
    module: 'auth',
    summary: 'Make an account, and log in',
    positionals: [email],
    flags: [password, { name: 'display-name', field: 'displayName', type: 'string', description: 'Name to show', example: 'Ann' }],
    common: [...GLOBAL],
    examples: [['auth register ann@example.com --url https://cloud.example.com', 'asks for a password, twice']],
  },
  {
    id: 'auth reset-password',
    module: 'auth',
    summary: 'Set a new password with a one-time token',
    positionals: [email],
    flags: [
      { name: 'token', field: 'token', type: 'string', file: true, secret: true, description: 'The one-time token of `cloud user reset-password`' },
      { ...password, description: 'The new password' },
    ],
    common: [...GLOBAL],
    examples: [['auth reset-password ann@example.com', 'asks for token and password']],
  },
  {
    id: 'auth change-password',
    module: 'auth',
    summary: 'Change your password',
    flags: [
      { name: 'current', field: 'current', type: 'string', file: true, secret: true, description: 'The password in force' },
      { ...password, description: 'The new password' },
    ],
    common: [...GLOBAL],
    examples: [
      ['auth change-password', 'asks for both'],
      ['auth change-password --current @old.txt --password @new.txt', ''],
    ],
  },
  {
    id: 'auth can-i',
    module: 'check',
    summary: 'Whether you may do something, and what decides',
    description:
      'Exit code 0 when you may, 1 when not. With --quiet nothing is printed; with --output wide the statements that were looked at, for those who may read policies.',
  },
  { id: 'tenant list', module: 'tenant', summary: 'List the tenants that you belong to; the current one is marked' },
  {
    id: 'tenant switch',
    module: 'tenant',
    summary: 'Make a tenant the current one',
    description: 'Kept in the context, or in the settings of this command when there is none.',
    positionals: [target('tenant')],
    examples: [['tenant switch acme', '']],
  },
  { id: 'tenant delete', module: 'tenant', summary: 'Delete a tenant' },
  {
    id: 'secret create',
    module: 'secret',
    summary: 'Create a secret',
    description: 'The value comes from standard input, a file, or --generate; on a terminal it is asked for. A single line is taken without its line end.',
  },
  { id: 'secret rotate', module: 'secret', summary: 'Give a secret a new value' },
  {
    id: 'secret get',
    module: 'secret',
    summary: 'Show a secret, with its value where you may read it',
    description: 'Reading the value is audited. With --quiet or --raw only the value is printed, without a line end.',
    moreFlags: [raw],
    examples: [
      ['secret get db-password', ''],
      ['secret get tls-key --raw > server.key', 'only the value, as it is'],
    ],
  },
  { id: 'secret value', module: 'secret', summary: 'Show the value of a secret', moreFlags: [raw] },
  { id: 'policy simulate', module: 'check', summary: 'Ask whether somebody might do something, and what decides' },
  { id: 'policy lint', module: 'check', summary: 'Check a document without keeping it', description: 'Exit code 1 when there are errors.' },
  { id: 'audit verify', module: 'check', summary: 'Check the chain from its first line to its last', description: 'Exit code 1 when something is wrong.' },
  {
    id: 'completion',
    module: 'completion',
    summary: 'Print the completion script for bash, zsh or fish',
    positionals: [word('shell', 'bash, zsh or fish')],
    examples: [
      ['completion bash', 'source <(cloud completion bash)'],
      ['completion zsh', 'source <(cloud completion zsh)'],
      ['completion fish', 'cloud completion fish | source'],
    ],
  },
  {
    id: 'complete',
    module: 'complete',
    summary: 'Answer a shell that completes a command line',
    hidden: true,
    passThrough: true,
    positionals: [word('words', 'The words so far', { rest: true, required: false })],
  },
  { id: 'version', module: 'version', summary: 'Show the versions of this command and of the daemon', examples: [['version', '']] },
  { id: 'system info', module: 'system', summary: 'What this installation is, and what each driver enforces or only records' },
  {
    id: 'system doctor',
    module: 'system',
    summary: 'Check what works here, and say how to mend what does not',
    description: 'Checks this side first, then asks the daemon. Exit code 1 when something is not right, 8 when the daemon does not run.',
    moreFlags: [dataDir],
  },
  {
    id: 'instance exec',
    module: 'instance-exec',
    summary: 'Run a program inside an instance',
    description: "Ends with the program's own exit code. It gets a terminal when both standard input and output are one.",
    passThrough: true,
    moreFlags: [
      { name: 'tty', char: 't', type: 'boolean', negatable: true, description: 'Give it a terminal; by default when this is one' },
      { name: 'interactive', char: 'i', type: 'boolean', negatable: true, description: 'Connect standard input; on by default' },
    ],
    examples: [
      ['instance exec web -- ls -l /', ''],
      ['instance exec web -- sh', 'an interactive shell'],
      ['instance exec db --env PGUSER=postgres -- psql -c "select 1"', ''],
    ],
  },
  {
    id: 'instance ssh',
    module: 'instance-ssh',
    summary: "Log in to an instance over SSH, through the instance's own network",
    description: "Uses this machine's ssh client; nothing is published. Words after -- go to ssh.",
    passThrough: true,
    positionals: [target('instance'), word('args', 'Arguments for ssh, or a command to run', { rest: true, required: false })],
    flags: [
      { name: 'user', char: 'u', type: 'string', default: 'root', description: 'User to log in as' },
      { name: 'identity', char: 'i', type: 'string', description: 'Private key file' },
      { name: 'port', char: 'p', type: 'integer', minimum: 1, maximum: 65_535, default: 22, description: 'Port of the SSH server inside the instance' },
    ],
    examples: [
      ['instance ssh vm', ''],
      ['instance ssh vm --identity laptop', 'with a key of `cloud ssh-key create laptop --generate`'],
      ['instance ssh vm --user debian -- uptime', ''],
    ],
  },
  {
    id: 'instance connect',
    module: 'instance-connect',
    summary: 'Open a TCP connection to a port of an instance',
    description: 'Standard input and output are the connection.',
  },
  {
    id: 'instance logs',
    module: 'instance-logs',
    summary: "Show what an instance's program wrote",
    moreFlags: [{ name: 'timestamps', type: 'boolean', description: 'Begin each line with its time' }],
  },
  {
    id: 'instance stats',
    module: 'instance-stats',
    summary: 'Show what an instance uses',
    description: 'Goes on until Ctrl-C on a terminal; elsewhere one sample, unless --samples says more.',
  },
  {
    id: 'instance cp',
    module: 'instance-cp',
    summary: 'Copy files to or from an instance',
    description:
      'One side is instance:/path. Directories are copied with all that is in them, with modes and times; a symbolic link that is named itself is followed. `-` is standard input or output, for one file.',
    positionals: [
      word('source', 'Path here, instance:/path there, or `-`', { ref: 'instance' }),
      word('destination', 'Path here, instance:/path there, or `-`', { ref: 'instance' }),
    ],
    examples: [
      ['instance cp site web:/www', 'a directory'],
      ['instance cp web:/var/log/app.log .', ''],
      ['instance cp web:/etc/os-release -', 'to standard output'],
    ],
  },
  { id: 'instance wait', module: 'instance-wait', summary: 'Wait until an instance is in a state' },
  {
    id: 'image import',
    module: 'image-import',
    summary: 'Load an image from a file',
    moreFlags: [{ name: 'file', char: 'f', type: 'string', required: true, description: 'The archive, or - for standard input' }],
    examples: [
      ['image import acme/base:1 --file rootfs.tar.gz', ''],
      ['image import acme/base:1 --file rootfs.tar.gz --command "httpd -f"', 'and what it runs'],
      ['image import acme/base:1 --file -', 'from standard input'],
    ],
  },
  {
    id: 'event watch',
    module: 'event-watch',
    summary: 'Show events as they happen',
  },
  {
    id: 'ssh-key create',
    module: 'ssh-key-create',
    summary: 'Add a public SSH key, or make a new pair here',
    description: 'With --generate the key pair is made on this machine; the private key is written to a file only you can read and is never sent.',
    moreFlags: [
      { name: 'generate', type: 'boolean', description: 'Make a new Ed25519 key pair' },
      { name: 'out', type: 'string', description: 'With --generate: file for the private key; the public one gets .pub. Default: the name' },
    ],
    examples: [
      ['ssh-key create laptop --public-key @~/.ssh/id_ed25519.pub', ''],
      ['ssh-key create laptop --public-key -', 'from standard input'],
      ['ssh-key create ci --generate --out ~/.ssh/cloud_ci', 'a new pair'],
    ],
  },
  { id: 'operation wait', module: 'operation-wait', summary: 'Wait until an operation has ended, showing how far it is' },
  ...objectCommands,
  {
    id: 'dns dig',
    module: 'zone-names',
    summary: 'Ask what an instance of a VPC would get for a name',
    description: 'Prints the values alone; with --output wide names, lifetimes and types, too. Exit code 1 when there is no such name.',
  },
  {
    id: 'zone export',
    module: 'zone-names',
    summary: 'Show a zone as a zone file (RFC 1035)',
  },
];
