// The least that a daemon of this kind can be: node:http on a socket, and one query of an SQLite database. Argument: the directory for both.
import { rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const require = createRequire(new URL('../packages/core/package.json', import.meta.url));
/** @type {typeof import('better-sqlite3')} */
const Database = require('better-sqlite3');
const dir = process.argv[2] ?? '.';
const database = new Database(join(dir, 'peer.db'));
database.pragma('journal_mode = wal');
database.exec('create table if not exists row (id text primary key, data text not null)');
const all = database.prepare('select id, data from row order by id');
const socket = join(dir, 'peer.sock');
rmSync(socket, { force: true });
createServer((_request, response) => void response.end(JSON.stringify({ items: all.all() }))).listen(socket);
