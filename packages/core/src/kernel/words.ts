// Resource names as sentences say them.

/** `ssh-key` → `SSH key`. */
export const words = (resource: string): string =>
  resource
    .split('-')
    .map((word) => word.replace(/^(ip|nat|ssh|vpc)(s?)$/, (_, letters: string, plural: string) => `${letters.toUpperCase()}${plural}`))
    .join(' ');

/** `ssh-key` → `an SSH key`. */
export const withArticle = (resource: string): string => `${/^([aeiou]|ssh)/.test(resource) ? 'an' : 'a'} ${words(resource)}`;
