// The key of a server that wants one: asked for on the page, kept as long as the tab, and sent to that server alone.

const KEY = "lockstep-api-key";

/** The key where this browser refuses to keep it. */
let kept = null;

/** The headers that a request to the server carries. @returns {{Authorization?: string}} */
export function authorization() {
  const key = stored();
  return key === null ? {} : { Authorization: `Bearer ${key}` };
}

/** Keeps a key, or forgets it: null. @param {string | null} key */
export function keepKey(key) {
  kept = key;
  try {
    if (key === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, key);
  } catch {
    // Storage is refused to this page; the key lives as long as the page does.
  }
}

function stored() {
  try {
    return sessionStorage.getItem(KEY) ?? kept;
  } catch {
    return kept;
  }
}

/** Asks for the key, and keeps it. One that was kept was wrong. */
export async function askForKey() {
  const wrong = stored() !== null;
  keepKey(null);
  const text = wrong ? "The server does not take this key." : "The server wants a key.";
  const words = element("label", { id: "key-words", htmlFor: "server-key", textContent: `${text} It stays in this tab.` });
  // What a header can hold.
  const field = element("input", { id: "server-key", type: "password", autocomplete: "off", required: true, pattern: "[!-~]+" });
  const button = element("button", { className: "primary", type: "submit", textContent: "Use key" });
  const form = element("form", { method: "dialog", className: "field" });
  form.append(words, field, button);
  const dialog = element("dialog", { id: "key-dialog", className: "card" });
  dialog.setAttribute("aria-labelledby", words.id);
  dialog.append(form);
  document.body.append(dialog);
  // Without a key there is nothing to go back to: where Escape closes it, it opens again.
  dialog.addEventListener("close", () => dialog.isConnected && dialog.showModal());
  dialog.showModal();
  await new Promise((resolve) => form.addEventListener("submit", resolve, { once: true }));
  keepKey(field.value);
  dialog.remove();
}

function element(name, properties) {
  return Object.assign(document.createElement(name), properties);
}
