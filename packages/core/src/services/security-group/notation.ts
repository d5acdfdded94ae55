// The short form of ports: `80`, `8000-8100`. The API takes both, and numbers.

export interface Ports {
  fromPort: number;
  toPort: number;
}

const PORTS = /^(?<from>\d{1,5})(?:-(?<to>\d{1,5}))?$/;
const LAST = 65_535;

export function portsFrom(value: string | number, fail: (message: string) => void): Ports {
  const groups = PORTS.exec(String(value))?.groups;
  const fromPort = Number(groups?.['from'] ?? Number.NaN);
  const toPort = Number(groups?.['to'] ?? fromPort);
  if (groups === undefined || fromPort < 1 || toPort > LAST || toPort < fromPort) {
    fail(`"${value}" is no port from 1 to ${LAST}, such as 80, nor a range of them, such as 8000-8100`);
    return { fromPort: 1, toPort: 1 };
  }
  return { fromPort, toPort };
}
