/** From an empty hub to a token, as a person goes: once as browsers are, once without JavaScript. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { inspect, newPerson, startChromium } from '../lib/browser.mjs';
import {
  EMAIL,
  PASSWORD,
  authorizeUrl,
  button,
  cliCallback,
  endings,
  exchange,
  fillSignIn,
  heading,
  openScene,
  setupLink,
} from '../lib/scene.mjs';

for (const javaScriptEnabled of [true, false]) {
  const suffix = javaScriptEnabled ? '' : '-without-javascript';
  describe(javaScriptEnabled ? 'a whole walk' : 'a whole walk without JavaScript', () => {
    let hub;
    let callback;
    let page;

    const later = endings(after);

    before(async () => {
      ({ hub, callback } = await openScene(later));
      const browser = await startChromium(later);
      page = await newPerson(browser, { origin: hub.origin, javaScriptEnabled });
    });

    it('begins at a hub that is not set up', async () => {
      await page.goto('/sign-in');
      await heading(page, 'This hub is not set up yet');
      await inspect(page, `not-set-up${suffix}`);
    });

    it('sets the hub up by its link', async () => {
      const link = await setupLink(hub);
      await page.goto(link);
      await heading(page, 'Set up this hub');
      if (javaScriptEnabled) {
        await page.getByText('The setup link was recognised.').waitFor();
        assert.equal(new URL(page.url()).hash, '', 'the token leaves the address bar');
      } else {
        await page.getByLabel('Setup link').fill(link);
      }
      await inspect(page, `setup${suffix}`);
      await fillSignIn(page, { password: 'short' });
      await button(page, 'Create the first account').click();
      await page.getByText('The password is too short.').waitFor();
      await inspect(page, `setup-refused${suffix}`);
      assert.equal(await page.getByLabel('Email').inputValue(), EMAIL);
      await page.getByLabel('Name').fill('Ada Lovelace');
      await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
      await button(page, 'Create the first account').click();
      await heading(page, 'You are signed in');
      await inspect(page, `signed-in${suffix}`);
    });

    it('signs out', async () => {
      await page.goto('/sign-out');
      await heading(page, 'Sign out?');
      await inspect(page, `sign-out${suffix}`);
      await button(page, 'Sign out').click();
      await heading(page, 'You are signed out');
      await inspect(page, `signed-out${suffix}`);
    });

    it('signs in to the command line after a mistake', async () => {
      const redirectUri = cliCallback(hub);
      const { url, verifier } = authorizeUrl(hub, 'epicenter-cli', redirectUri);
      await page.goto(url);
      await heading(page, 'Sign in');
      await page.getByText('to continue to Epicenter CLI').waitFor();
      await inspect(page, `sign-in${suffix}`);
      await fillSignIn(page, { password: 'not the password' });
      await button(page, 'Sign in').click();
      await page.getByRole('alert').waitFor();
      await inspect(page, `sign-in-refused${suffix}`);
      await fillSignIn(page);
      await button(page, 'Sign in').click();
      await heading(page, 'Copy this code');
      await inspect(page, `cli-code${suffix}`);
      const code = (await page.locator('#code').textContent()).trim();
      assert.equal(code, new URL(page.url()).searchParams.get('code'));
      const answer = await exchange(hub, { code, verifier, clientId: 'epicenter-cli', redirectUri });
      assert.equal(answer.status, 200, JSON.stringify(answer.body));
    });

    it('asks before an app of others gets in', async () => {
      const scope = 'openid profile email offline_access rooms.read rooms.write keyring';
      const { url, verifier } = authorizeUrl(hub, 'notes', callback, { scope });
      await page.goto(url);
      await heading(page, 'Allow Meadow Notes to use your account?');
      await page.getByText('Read your encrypted data').waitFor();
      await inspect(page, `consent${suffix}`);
      await button(page, 'Do not allow').click();
      await page.waitForURL(`${callback}?**`);
      assert.equal(new URL(page.url()).searchParams.get('error'), 'access_denied');
      await page.goto(url);
      await button(page, 'Allow').click();
      await page.waitForURL(`${callback}?**`);
      const answer = new URL(page.url()).searchParams;
      assert.equal(answer.get('state'), 'st-1');
      assert.equal(answer.get('iss'), `${hub.origin}/auth`);
      const code = answer.get('code');
      const tokens = await exchange(hub, { code, verifier, clientId: 'notes', redirectUri: callback });
      assert.equal(tokens.status, 200, JSON.stringify(tokens.body));
    });

    it('lets another account answer', async () => {
      const { url } = authorizeUrl(hub, 'fuji', callback, { prompt: 'select_account' });
      await page.goto(url);
      await heading(page, 'Continue to Fuji?');
      await inspect(page, `continue${suffix}`);
      await button(page, 'Use another account').click();
      await heading(page, 'Sign in');
      await page.getByRole('link', { name: 'Create an account' }).click();
      await heading(page, 'Create your account');
      await inspect(page, `sign-up${suffix}`);
      await fillSignIn(page, { email: 'bob@example.com' });
      await button(page, 'Create account').click();
      await heading(page, 'Continue to Fuji?');
      await button(page, 'Continue as bob').click();
      await page.waitForURL(`${callback}?code=**`);
    });

    it('explains what cannot be done', async () => {
      await page.goto('/auth/error?error=invalid_client');
      await heading(page, 'This app is not known here');
      await inspect(page, `error${suffix}`);
      await page.goto('/auth/cli-callback?error=access_denied');
      await heading(page, 'You declined');
      await page.goto('/setup');
      await heading(page, 'This hub is already set up');
    });
  });
}
