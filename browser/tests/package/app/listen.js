// Keeps what the page says, for the test: lines of the console, and errors.

globalThis.heard = { lines: [], errors: [] };
const { log } = console;
console.log = (...values) => {
  heard.lines.push(values);
  log(...values);
};
addEventListener("error", ({ message }) => heard.errors.push(message));
addEventListener("unhandledrejection", ({ reason }) => heard.errors.push(String(reason?.stack ?? reason)));
addEventListener("securitypolicyviolation", ({ blockedURI, effectiveDirective }) => heard.errors.push(`${effectiveDirective} ${blockedURI}`));
