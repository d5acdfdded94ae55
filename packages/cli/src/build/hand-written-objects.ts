// Commands of object storage that move bytes, or read better than what the contract alone gives.
import { contracts, inputShape } from '@thecloud/core/contracts';
import type { z } from 'zod';
import type { Flag, Positional } from '../table.ts';
import type { HandWritten } from './hand-written.ts';
import { target, word } from './positionals.ts';

const place = (more: Partial<Positional> = {}): Positional => target('object', { description: '<bucket>/<key>; with --recursive <bucket>/<folder>/', ...more });

const recursive: Flag = { name: 'recursive', char: 'r', type: 'boolean', description: 'Everything in a folder' };
const include: Flag = { name: 'include', type: 'string', many: true, description: 'Only paths that match; * ? [] and ** over slashes', example: "'*.jpg'" };
const exclude: Flag = { name: 'exclude', type: 'string', many: true, description: 'No paths that match', example: 'node_modules/' };
const followSymlinks: Flag = { name: 'follow-symlinks', type: 'boolean', description: 'Also symbolic links that lead out of the directory' };
const parallel: Flag = { name: 'parallel', type: 'integer', minimum: 1, maximum: 64, description: 'Transfers at once; 4 when absent, and 32 of up to 1 MiB' };
const partSize: Flag = { name: 'part-size', type: 'string', description: 'Size of a part; larger where there would be more than 10,000', example: '16MiB' };
const resume: Flag = { name: 'resume', type: 'boolean', description: 'Go on with an upload of the same file that broke off' };
const yes: Flag = { name: 'yes', char: 'y', type: 'boolean', description: 'Ask nothing' };
const dryRun: Flag = { name: 'dry-run', type: 'boolean', description: 'Show what would be done, change nothing' };

/** Only `object put` takes them: nobody could fill by hand what they begin and end. What is left open is seen and given up with `uploads`, `upload-parts`, `upload-abort`. */
export const stepsOfOthers: ReadonlySet<string> = new Set(['object upload-start', 'object upload-complete']);

export const objectCommands: readonly HandWritten[] = [
  {
    id: 'object put',
    module: 'object-put',
    summary: 'Write an object from a file, or many from a directory',
    description:
      'Large files go in parts, several at once. What broke off is kept, and --resume goes on with it. The type is guessed from the name unless --content-type says it; the time of the file is kept in the metadata. `-` is standard input.',
    positionals: [place(), word('source', 'File, directory with --recursive, or -')],
    moreFlags: [recursive, include, exclude, followSymlinks, parallel, partSize, resume],
    examples: [
      ['object put photos/a.jpg a.jpg', ''],
      ['object put photos/2026/ summer --recursive', 'a directory'],
      ['object put backups/db.sql - --content-type application/sql', 'from standard input'],
      ['object put backups/disk.img disk.img --resume', 'go on with what broke off'],
      ['object put locks/leader host --if-none-match', 'only if there is none yet'],
    ],
  },
  {
    id: 'object get',
    module: 'object-get',
    summary: 'Read an object into a file or standard output, or a folder into a directory',
    description:
      'A file is there when it is whole: until then its bytes are beside it, in `.<name>.part-<etag>`, and the same command goes on with them. Without a file, or as `-`, it goes to standard output.',
    positionals: [place(), word('destination', 'File or directory; standard output when absent or -', { required: false })],
    moreFlags: [recursive, include, exclude, followSymlinks, parallel, partSize],
    examples: [
      ['object get photos/a.jpg a.jpg', ''],
      ['object get photos/2026/ summer --recursive', 'a folder'],
      ['object get backups/db.sql | psql', 'to standard output'],
      ['object get logs/app.log --start 0 --end 999', 'the first 1000 bytes'],
    ],
  },
  {
    id: 'object list',
    module: 'object-list',
    summary: 'List the objects whose names begin so, folders first',
    positionals: [place({ label: 'place', description: '<bucket>, or <bucket>/<prefix>' })],
    examples: [
      ['object list photos', ''],
      ['object list photos/2026/ --recursive', 'everything below'],
      ['object list photos/2026/ --recursive --output name', 'one name a line'],
    ],
  },
  {
    id: 'object copy',
    module: 'object-copy',
    summary: 'Copy an object, or all in a folder; no bytes leave the daemon',
    positionals: [place(), word('to', '<bucket>/<key>, or a folder: <bucket>/<folder>/', { ref: 'object' })],
    moreFlags: [recursive, include, exclude, parallel],
    examples: [
      ['object copy photos/a.jpg archive/a.jpg', ''],
      ['object copy photos/2026/ archive/2026/ --recursive', ''],
    ],
  },
  {
    id: 'object move',
    module: 'object-copy',
    summary: 'Give an object, or all in a folder, another name, in the same bucket or another',
    positionals: [place(), word('to', '<bucket>/<key>, or a folder: <bucket>/<folder>/', { ref: 'object' })],
    moreFlags: [recursive, include, exclude, parallel],
    examples: [
      ['object move photos/a.jpg photos/b.jpg', ''],
      ['object move photos/new/ photos/2026/ --recursive', ''],
    ],
  },
  {
    id: 'object delete',
    module: 'object-copy',
    summary: 'Delete an object, one version of it, or all in a folder',
    positionals: [place()],
    moreFlags: [recursive, include, exclude, parallel],
    examples: [
      ['object delete photos/a.jpg', ''],
      ['object delete photos/2026/ --recursive', 'says how many, and asks'],
    ],
  },
  {
    id: 'object sync',
    module: 'object-sync',
    summary: 'Make a folder of a bucket like a directory, or the other way round, or like another folder',
    description:
      'What differs in size, time or content is written; with --delete what the source does not have goes. A second run does nothing. A name that begins with `.`, `/` or `~` is a directory here, as is a plain first name that there is; `s3://<bucket>` is always a bucket.',
    positionals: [
      word('source', 'Directory, or <bucket>/<folder>', { ref: 'object' }),
      word('destination', 'Directory, or <bucket>/<folder>', { ref: 'object' }),
    ],
    flags: [
      { name: 'delete', type: 'boolean', description: 'Delete there what the source does not have' },
      dryRun,
      include,
      exclude,
      followSymlinks,
      parallel,
      partSize,
      resume,
      yes,
    ],
    examples: [
      ['object sync ./site photos/site', 'up'],
      ['object sync photos/site ./site --delete', 'and down, with what was deleted there'],
      ['object sync photos/site archive/site', 'from bucket to bucket'],
      ["object sync ./site photos/site --exclude '*.tmp' --dry-run", ''],
    ],
  },
  {
    id: 'object presign',
    module: 'object-presign',
    summary: 'Make an address that reads or writes one object for a while, without credentials',
    examples: [
      ['object presign photos/a.jpg', 'curl "$(cloud object presign photos/a.jpg)"'],
      ['object presign photos/new.jpg --method PUT --expires 5m', ''],
    ],
  },
  {
    id: 's3 credentials',
    module: 's3',
    summary: 'Show the endpoint and an access key of yours, ready for aws, rclone, s3cmd, restic and Terraform',
    description: 'The key acts as you, in this tenant. The first call makes it; `cloud s3-key delete` revokes it.',
    examples: [
      ['s3 credentials', ''],
      ['s3 credentials --output json', 'for programs'],
    ],
  },
  {
    id: 's3 env',
    module: 's3',
    summary: 'Print the variables that S3 clients read, for `eval`',
    description:
      'AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL_S3. Anything in this shell that speaks S3 then speaks to this cloud.',
    flags: [{ name: 'shell', type: 'string', values: ['sh', 'bash', 'zsh', 'fish', 'dotenv'], description: 'Whose words to use', default: 'sh' }],
    examples: [
      ['s3 env', 'eval "$(cloud s3 env)"'],
      ['s3 env --shell fish', 'cloud s3 env --shell fish | source'],
      ['s3 env --shell dotenv', 'a file for `docker run --env-file`'],
    ],
  },
  {
    id: 'bucket configure',
    module: 'bucket-configure',
    summary: 'Set or remove one part of the configuration',
    description: 'The names, and the form of each document, are those of `cloud bucket configuration --output json`.',
    positionals: [
      target('bucket'),
      word('name', 'Which part', { values: (inputShape(contracts.bucket.operations.configure)['name'] as z.ZodEnum).options.map(String) }),
      { field: 'value', label: 'value', type: 'json', required: false, file: true, description: 'JSON or YAML; @file, or - for standard input' },
    ],
    flags: [{ name: 'remove', type: 'boolean', description: 'Take it away' }],
    examples: [
      ['bucket configure photos policy @policy.json', ''],
      [`bucket configure photos cors '[{"allowedOrigins":["*"],"allowedMethods":["GET"]}]'`, ''],
      ['bucket configure photos cors --remove', ''],
    ],
  },
  {
    id: 'bucket verify',
    module: 'bucket-verify',
    summary: 'Read everything in a bucket as it lies on disk and report what is damaged',
    description: 'Exit code 1 when something is.',
  },
  {
    id: 'bucket notification',
    module: 'bucket-notification',
    summary: 'Send events of a bucket to a queue or an address; replaces all rules',
    moreFlags: [
      { name: 'queue', type: 'string', ref: 'queue', description: 'Queue that gets a message for each event' },
      { name: 'webhook', type: 'string', description: 'Address that each event is posted to', example: 'https://example.com/events' },
      { name: 'event', type: 'string', many: true, description: 'Which ones; all that write or delete when absent', example: 'ObjectCreated:*' },
      { name: 'prefix', type: 'string', description: 'Only keys that begin so', example: 'uploads/' },
      { name: 'suffix', type: 'string', description: 'Only keys that end so', example: '.jpg' },
      { name: 'id', type: 'string', description: 'Name of the rule; made up when absent' },
      { name: 'none', type: 'boolean', description: 'No events any more' },
    ],
    examples: [
      ['bucket notification photos --queue uploads', ''],
      ["bucket notification photos --webhook https://example.com/new --event 'ObjectCreated:*' --suffix .jpg", ''],
      [`bucket notification photos --rules '[{"queue":"uploads"},{"queue":"thumbs","prefix":"thumbs/"}]'`, 'several rules'],
      ['bucket notification photos --none', 'none any more'],
    ],
  },
];
