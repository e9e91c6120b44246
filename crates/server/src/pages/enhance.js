'use strict';
{
  // A link carries its token behind the `#`, where no server and no log sees it; it leaves the address bar at once.
  const token = document.getElementById('token');
  const sent = /^#t=([\w-]+)$/.exec(location.hash);
  if (token && sent) {
    token.value = sent[1];
    history.replaceState(null, '', location.pathname + location.search);
    const part = token.closest('[data-token]');
    part.hidden = true;
    document.getElementById('token-known').hidden = false;
    document.getElementById('email').focus();
  }
  for (const button of document.querySelectorAll('[data-reveal]')) {
    const field = document.getElementById(button.dataset.reveal);
    button.hidden = false;
    button.addEventListener('click', () => {
      const show = field.type === 'password';
      field.type = show ? 'text' : 'password';
      button.textContent = show ? 'Hide' : 'Show';
      button.setAttribute('aria-label', show ? 'Hide password' : 'Show password');
    });
    // What is stored or remembered by the browser is a password, not a text.
    field.form.addEventListener('submit', () => {
      field.type = 'password';
    });
  }
  for (const button of document.querySelectorAll('[data-copy]')) {
    if (!navigator.clipboard) continue;
    button.hidden = false;
    button.addEventListener('click', async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      button.textContent = 'Copied';
    });
  }
}
