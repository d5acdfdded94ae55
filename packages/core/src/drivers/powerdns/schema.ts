// Tables that PowerDNS 4.7 and newer expects in an SQLite database (its "generic SQLite backend"). Those that we never fill are there because it asks for them.
export const SCHEMA = `
create table domains (
  id integer primary key, name varchar(255) not null collate nocase, master varchar(128), last_check integer, type varchar(8) not null,
  notified_serial integer, account varchar(40), options varchar(65535), catalog varchar(255)
);
create unique index domains_name on domains (name);
create table records (
  id integer primary key, domain_id integer references domains (id) on delete cascade, name varchar(255), type varchar(10), content varchar(65535),
  ttl integer, prio integer, disabled boolean default 0, ordername varchar(255), auth bool default 1
);
create index records_name on records (name, type);
create index records_domain on records (domain_id, name, type);
create index records_order on records (domain_id, ordername);
create table supermasters (ip varchar(64) not null, nameserver varchar(255) not null collate nocase, account varchar(40) not null);
create table comments (
  id integer primary key, domain_id integer not null references domains (id) on delete cascade, name varchar(255) not null, type varchar(10) not null,
  modified_at integer not null, account varchar(40), comment varchar(65535) not null
);
create index comments_domain on comments (domain_id, name, type);
create table domainmetadata (id integer primary key, domain_id integer not null references domains (id) on delete cascade, kind varchar(32) collate nocase, content text);
create index domainmetadata_domain on domainmetadata (domain_id);
create table cryptokeys (
  id integer primary key, domain_id integer not null references domains (id) on delete cascade, flags integer not null, active bool,
  published bool default 1, content text
);
create index cryptokeys_domain on cryptokeys (domain_id);
create table tsigkeys (id integer primary key, name varchar(255) collate nocase, algorithm varchar(50) collate nocase, secret varchar(255));
create unique index tsigkeys_name on tsigkeys (name, algorithm);
`;
