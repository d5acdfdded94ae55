// The short forms of the command line: `8080:80/udp`, `data:/data:ro`. The API takes them too, beside the long ones.

type Fail = (message: string) => void;

const PORT = /^(?:(?:(?<address>\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-fA-F:.]+\]):)?(?<host>\d{1,5}):)?(?<inside>\d{1,5})(?:\/(?<protocol>tcp|udp))?$/;

export function portFrom<T extends object>(value: string | T, fail: Fail): T | { instancePort: number } {
  if (typeof value !== 'string') return value;
  const groups = PORT.exec(value)?.groups;
  if (groups === undefined) {
    fail(`"${value}" is not [address:][hostPort:]port[/udp], for example 8080:80 or 127.0.0.1:8080:80`);
    return { instancePort: 1 };
  }
  return {
    ...(groups['address'] === undefined ? {} : { hostAddress: groups['address'].replace(/^\[|\]$/g, '') }),
    ...(groups['host'] === undefined ? {} : { hostPort: Number(groups['host']) }),
    instancePort: Number(groups['inside']),
    ...(groups['protocol'] === undefined ? {} : { protocol: groups['protocol'] as 'tcp' | 'udp' }),
  };
}

const MOUNT = /^(?<volume>[^:]+):(?<path>\/[^:]*)(?::(?<mode>ro|rw))?$/;

export function mountFrom<T extends object>(value: string | T, fail: Fail): T | { volume: string; path: string; readOnly: boolean } {
  if (typeof value !== 'string') return value;
  const groups = MOUNT.exec(value)?.groups;
  if (groups?.['volume'] === undefined || groups['path'] === undefined) {
    fail(`"${value}" is not volume:/path[:ro], for example data:/var/lib/data`);
    return { volume: '-', path: '/-', readOnly: false };
  }
  return { volume: groups['volume'], path: groups['path'], readOnly: groups['mode'] === 'ro' };
}
