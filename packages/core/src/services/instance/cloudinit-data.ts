// What user data comes down to once it is checked: plain data, in the words of the modules of cloud-init.

/** A shell line, or a program with its exact arguments. */
export type Command = string | string[];

export interface FileToWrite {
  path: string;
  content: Buffer;
  /** Permission bits. */
  mode: number;
  /** `user`, `user:group` or numbers; undefined = root. */
  owner: string | undefined;
  append: boolean;
  defer: boolean;
}

export interface UserToAdd {
  name: string;
  uid: number | undefined;
  gecos: string;
  home: string;
  shell: string;
  primaryGroup: string;
  groups: string[];
  system: boolean;
  createHome: boolean;
  ownGroup: boolean;
  /** The hash that a new user gets. */
  hash: string | undefined;
  /** Set also for a user who is there already. */
  password: { secret: string; hashed: boolean } | undefined;
  /** No login by password, in the end. */
  lock: boolean;
  sudo: string[];
  keys: string[];
}

export interface Password {
  user: string;
  /** A crypt(3) hash, or the password itself. */
  secret: string;
  hashed: boolean;
  /** Must be changed at the first login. */
  expire: boolean;
}

/** What user data asks for, checked. Plain data: equal text, equal value. */
export interface UserData {
  /** The host name that the instance must have from its start on. */
  hostname?: string;
  fqdn?: string;
  /** Name the instance in its own /etc/hosts. */
  manageHosts: boolean;
  /** A program of its own: the text from `#!` on. Then everything else is empty. */
  script?: string;
  bootcmd: Command[];
  runcmd: Command[];
  files: FileToWrite[];
  groups: { name: string; members: string[] }[];
  users: UserToAdd[];
  /** For root. */
  keys: string[];
  passwords: Password[];
  sshPasswords?: boolean;
  timezone?: string;
  packages: { name: string; version: string }[];
  packageUpdate: boolean;
  packageUpgrade: boolean;
  finalMessage?: string;
}

export const emptyUserData = (): UserData => ({
  manageHosts: false,
  bootcmd: [],
  runcmd: [],
  files: [],
  groups: [],
  users: [],
  keys: [],
  passwords: [],
  packages: [],
  packageUpdate: false,
  packageUpgrade: false,
});
