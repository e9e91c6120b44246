/** Hands on the keyboard: signing in without a mouse, what has the focus, the small conveniences. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { inspect, newPerson, startChromium } from '../lib/browser.mjs';
import { EMAIL, PASSWORD, authorizeUrl, button, cliCallback, endings, fillSignIn, heading, openScene } from '../lib/scene.mjs';

describe('hands', () => {
  let hub;
  let browser;

  const later = endings(after);

  before(async () => {
    ({ hub } = await openScene(later, { signUp: 'invite' }));
    await hub.admin(['user', 'add', '--email', EMAIL, '--password-stdin', '--admin'], `${PASSWORD}\n`);
    browser = await startChromium(later);
  });

  const focused = (page) => page.evaluate(() => document.activeElement.id || document.activeElement.textContent);
  /** A field that is to have the focus on a new page gets it with the first picture, which may come after the page. */
  const assertBeginsAt = (page, id) => page.waitForFunction((wanted) => document.activeElement.id === wanted, id);
  const hasRing = (page) =>
    page.evaluate(() => {
      const style = getComputedStyle(document.activeElement);
      return style.outlineStyle !== 'none' || style.boxShadow !== 'none';
    });

  it('sign in by keyboard alone', async () => {
    const page = await newPerson(browser, { origin: hub.origin });
    await page.goto('/sign-in');
    await assertBeginsAt(page, 'email');
    assert.ok(await hasRing(page));
    await page.keyboard.type(EMAIL);
    await page.keyboard.press('Tab');
    assert.equal(await focused(page), 'password');
    await page.keyboard.type('wrong');
    await page.keyboard.press('Enter');
    await page.getByRole('alert').waitFor();
    // Typing goes on at the first field that is wrong.
    await assertBeginsAt(page, 'email');
    assert.match(await page.title(), /^Error: /);
    await page.keyboard.press('Tab');
    await page.keyboard.type(PASSWORD);
    const passed = [];
    while (!passed.includes('Sign in')) {
      await page.keyboard.press('Tab');
      assert.ok(await hasRing(page), `a ring around ${await focused(page)}`);
      passed.push(await focused(page));
      assert.ok(passed.length < 5, `no way to the button: ${passed}`);
    }
    await page.keyboard.press('Enter');
    await heading(page, 'You are signed in');
  });

  it('show and hide a password', async () => {
    const page = await newPerson(browser, { origin: hub.origin });
    await page.goto('/sign-in');
    await fillSignIn(page);
    const field = page.locator('#password');
    await button(page, 'Show password').click();
    assert.equal(await field.getAttribute('type'), 'text');
    await inspect(page, 'sign-in-shown');
    await button(page, 'Hide password').click();
    assert.equal(await field.getAttribute('type'), 'password');
  });

  it('copy a code', async () => {
    const page = await newPerson(browser, { origin: hub.origin });
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write'], { origin: hub.origin });
    await page.goto(authorizeUrl(hub, 'epicenter-cli', cliCallback(hub)).url);
    await fillSignIn(page);
    await button(page, 'Sign in').click();
    await heading(page, 'Copy this code');
    await button(page, 'Copy code').click();
    await button(page, 'Copied').waitFor();
    const copied = await page.evaluate(() => navigator.clipboard.readText());
    assert.equal(copied, new URL(page.url()).searchParams.get('code'));
  });

  it('follow an invitation', async () => {
    const invited = await hub.admin(['user', 'invite', '--email', 'bob@example.com', '--public-origin', hub.origin]);
    const link = /\S+#t=\S+/.exec(invited)?.[0];
    assert.ok(link, invited);
    const page = await newPerson(browser, { origin: hub.origin });
    await page.goto('/sign-up');
    await inspect(page, 'sign-up-invited');
    const token = new URL(link).hash;
    await page.goto('about:blank');
    await page.goto(`/sign-up${token}`);
    await page.getByText('Your invitation was recognised.').waitFor();
    assert.equal(await focused(page), 'email');
    await inspect(page, 'sign-up-recognised');
    await fillSignIn(page, { email: 'bob@example.com' });
    await button(page, 'Create account').click();
    await heading(page, 'You are signed in');
  });

  it('are not taken further by a page elsewhere', async () => {
    const page = await newPerson(browser, { origin: hub.origin });
    // A page of another origin posts our form with a good password.
    await page.route('http://evil.example/', (route) =>
      route.fulfill({
        contentType: 'text/html',
        body: `<form method="post" action="${hub.origin}/sign-in"><input name="email" value="${EMAIL}">
          <input name="password" value="${PASSWORD}"><button>go</button></form>`,
      }),
    );
    await page.goto('http://evil.example/');
    await page.getByRole('button', { name: 'go' }).click();
    await heading(page, 'This came from another site');
    await page.goto(`${hub.origin}/sign-in`);
    await heading(page, 'Sign in');
  });
});
