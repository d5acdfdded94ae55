// https:// against a proxy that is played here: a certificate that is trusted, and one that is not.
import { type AddressInfo, createServer as createPlain } from 'node:net';
import { createServer, getCACertificates, type Server, setDefaultCACertificates } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { events, request } from './http.ts';
import { faultFrom } from './remote.ts';
import { type Endpoint, endpointOfUrl } from './settings.ts';

// For localhost, valid for a hundred years, and known to nobody else.
const key = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQggJ9pPMkTIfJjADmH
TLmPhidj/nbYYp7bgN6u3XxX2R2hRANCAASBP5sd42iw9NYdi71ajxGQnRCFh5i1
4sfsEf4sQTR/13DnktB1vr9xMkQHvSSlRumbK1e3KhHg1I7oyYGEYHMZ
-----END PRIVATE KEY-----`;
const cert = `-----BEGIN CERTIFICATE-----
MIIBlDCCATugAwIBAgIUF5PzskOUFTwPW2o2Dfh8dczr+GkwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMzAxMjYzN1oYDzIxMjYxMDMw
MDEyNjM3WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAASBP5sd42iw9NYdi71ajxGQnRCFh5i14sfsEf4sQTR/13DnktB1vr9x
MkQHvSSlRumbK1e3KhHg1I7oyYGEYHMZo2kwZzAdBgNVHQ4EFgQUyps69xzoE/Te
uc7sMfimMdeDo50wHwYDVR0jBBgwFoAUyps69xzoE/Teuc7sMfimMdeDo50wFAYD
VR0RBA0wC4IJbG9jYWxob3N0MA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwID
RwAwRAIgeKswSBqQbsdW/nfx7VwaRuJ+MeT78oqxy3RJyfIlnrsCIEMrVTKWtq3i
eaqEfQJWCeJzvArG3S3i0IAo5ECpgxp/
-----END CERTIFICATE-----`;

let server: Server;
let heard = '';
const trusted = getCACertificates('default');

beforeAll(async () => {
  server = createServer({ key, cert }, (client) => {
    client.on('error', () => undefined);
    client.on('data', (bytes) => {
      heard += bytes.toString();
      if (heard.startsWith('GET /events')) client.end('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: one\n\ndata: two\n\n');
      else client.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}');
    });
  });
  server.on('tlsClientError', () => undefined); // told by the client
  await new Promise<void>((resolve) => server.listen(0, 'localhost', resolve));
});
afterAll(() => {
  setDefaultCACertificates(trusted);
  server.close();
});

const at = (host: string): Endpoint => endpointOfUrl(`https://${host}:${(server.address() as AddressInfo).port}`);
const get = { method: 'GET', path: '/v1/vpcs' };

describe('https', () => {
  it('asks nobody whose certificate is not trusted, and says what would help', async () => {
    heard = '';
    await expect(request(at('localhost'), get)).rejects.toMatchObject({ code: 'unavailable', hint: expect.stringContaining('NODE_EXTRA_CA_CERTS') });
    expect(heard).toBe('');
  });

  it('speaks to one that is, by its name', async () => {
    setDefaultCACertificates([...trusted, cert]);
    heard = '';
    expect(await request(at('localhost'), get)).toMatchObject({ status: 200, body: '{}' });
    expect(heard).toContain(`host: localhost:${(server.address() as AddressInfo).port}\r\n`);
  });

  it('carries streams', async () => {
    heard = '';
    const found: string[] = [];
    for await (const event of events(at('localhost'), { method: 'GET', path: '/events' }, faultFrom)) found.push(event.data);
    expect(found).toEqual(['one', 'two']);
  });

  it('to something that speaks no TLS is said to be that', async () => {
    const plain = createPlain((client) => client.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
    await new Promise<void>((resolve) => plain.listen(0, 'localhost', resolve));
    await expect(request(endpointOfUrl(`https://localhost:${(plain.address() as AddressInfo).port}`), get)).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('does not speak TLS'),
    });
    plain.close();
  });
});

it('an address without a port means the usual one', () => {
  expect(endpointOfUrl('https://cloud.example.com')).toEqual({ host: 'cloud.example.com', port: 443, url: 'https://cloud.example.com', secure: true });
  expect(() => endpointOfUrl('ftp://cloud.example.com')).toThrow('use http:// or https://');
});
