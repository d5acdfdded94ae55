// The one password that everybody tries first.
import { expect, test } from 'vitest';
import { faultOf } from '../../testing/bench.ts';
import { PASSWORD, people } from '../../testing/people.ts';

const EMAIL = 'annabel.lee.poe@example.com';

test.each([EMAIL, EMAIL.toUpperCase(), 'Annabel.Lee.Poe'])('%j is no password for her, wherever it is set', async (password) => {
  await using b = await people();
  await b.cloud.auth.configure({ registration: 'open' });
  const refused = async (call: Promise<unknown>): Promise<void> => {
    const fault = await faultOf(call);
    expect(fault).toMatchObject({ code: 'invalid_input', details: [{ path: 'password' }] });
    expect(JSON.stringify(fault) + String(fault)).not.toContain(password);
  };
  await refused(b.open('register', { email: EMAIL, password }));
  await refused(b.cloud.user.create({ name: EMAIL, password }));
  expect((await b.cloud.user.list()).items).toEqual([]);
  await b.person(EMAIL, 'viewer');
  const her = await b.by((await b.login(EMAIL)).accessToken);
  await refused(her.auth.changePassword({ current: PASSWORD, password }));
  const { token } = await b.cloud.user.resetPassword(EMAIL);
  await refused(b.open('resetPassword', { email: EMAIL, token, password }));
  // The token was not used up.
  await b.open('resetPassword', { email: EMAIL, token, password: 'another long password' });
  // What merely has it in it is a password.
  await b.cloud.user.create({ name: 'bob.the.builder@example.com', password: 'bob.the.builder and more' });
});
