// The package in a project of its user: its types, and tokens in browsers, as Vite builds it, as Vite serves it, and without a bundler.
// The code of the page is the README's example, and the policy of the servers forbids everything else.

import assert from "node:assert/strict";
import { cp, mkdir, readFile, readdir, symlink } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { BROWSERS } from "../e2e/drive/browser.mjs";
import { inEachBrowser } from "../e2e/drive/scenarios.mjs";
import { setting, startStatic } from "../e2e/drive/servers.mjs";
import { until } from "../e2e/drive/until.mjs";
import { GREEDY_IDS, LOGITS_SHA256, TEXT } from "../e2e/reference.mjs";
import { Project } from "./project.mjs";

const STEPS = 5;
/** Longest that a page may take to load the model and generate. */
const PATIENCE = 240;

let project;
/** Hears what pages and workers do against their policy. */
let reports;
/** The pages, by how they were made. */
const pages = {};

before(async () => {
  project = await Project.make();
  reports = await startStatic(project.path("public"));
  const [headers, csp] = project.examples("text").map((block) => block.trim());
  const isolation = Object.fromEntries(headers.split("\n").map((line) => line.split(": ")));
  const policy = { "Content-Security-Policy": `${csp}; report-uri ${reports.url}/report` };

  project.build();
  await furnish("dist");
  pages.built = await startStatic(project.path("dist"), { ...isolation, ...policy });
  pages.notIsolated = await startStatic(project.path("dist"), policy);
  await unbundled("plain");
  pages.unbundled = await startStatic(project.path("plain"), { ...isolation, ...policy });
  for (const vite of ["vite", "vite7"]) pages[vite] = await project.dev(vite, policy["Content-Security-Policy"]);
}, { timeout: 300_000 });

after(async () => {
  for (const page of [...Object.values(pages), reports]) await page?.stop();
  await project?.remove();
});

/** The page as plain files, as the README says. */
async function unbundled(folder) {
  await mkdir(project.path(folder));
  const [script] = project.examples("html");
  const [, statement] = project.readme.match(/begins with `(import [^`]+)`/);
  const [main] = project.examples("js");
  await project.write(`${folder}/index.html`, `<!doctype html><script type="module" src="listen.js"></script>${script}`);
  await project.write(`${folder}/main.js`, main.replace(/^import .*$/m, statement));
  await cp(project.path("listen.js"), project.path(`${folder}/listen.js`));
  await symlink(project.path("node_modules/lockstep"), project.path(`${folder}/lockstep`));
  await furnish(folder);
}

/** What every page has beside its own files: the model, and the worker that does what is forbidden. */
async function furnish(folder) {
  await cp(project.path("public/probe.js"), project.path(`${folder}/probe.js`));
  await symlink(setting("LOCKSTEP_E2E_MODEL"), project.path(`${folder}/model`));
}

test("the declarations are those of the module, in both ways of TypeScript to find them", async () => {
  const { Engine } = await import(project.path("node_modules/lockstep/engine.js"));
  const own = (object) => Object.getOwnPropertyNames(object).filter((name) => !["constructor", "length", "name", "prototype"].includes(name));
  const members = [...Object.keys(new Engine({}, {})), ...own(Engine.prototype)];
  const record = (names) => `{ ${names.map((name) => `${name}: true`).join(", ")} }`;
  await project.write("members.ts", `import { Engine } from "lockstep";
export const members: Record<keyof Engine, true> = ${record(members)};
export const statics: Record<Exclude<keyof typeof Engine, "prototype">, true> = ${record(own(Engine))};
`);
  const tsc = join(import.meta.dirname, "../node_modules/typescript/bin/tsc");
  project.run("node", [tsc, "--project", ".", "--module", "nodenext"]);
  project.run("node", [tsc, "--project", ".", "--module", "esnext", "--moduleResolution", "bundler"]);
});

test("nothing of a build is a data: address, which the policy would refuse", async () => {
  const folder = project.path("dist/assets");
  const names = await readdir(folder);
  for (const build of ["scalar", "simd128", "threads"]) {
    const wasm = await readFile(project.path(`node_modules/lockstep/wasm/${build}/browser_bg.wasm`));
    const copies = await Promise.all(names.map(async (name) => name.endsWith(".wasm") && wasm.equals(await readFile(join(folder, name)))));
    assert.equal(copies.filter(Boolean).length, 1, `the build ${build} is there once`);
  }
  for (const name of names.filter((name) => name.endsWith(".js"))) {
    assert.doesNotMatch(await readFile(join(folder, name), "utf8"), /["'`](data|blob):/, name);
  }
});

inEachBrowser("a page that uses the package", (scenario, name) => {
  scenario("as Vite builds it, with threads", (tab) => generates(tab, pages.built, severalThreads));
  scenario("as Vite builds it, without the headers for threads", (tab) => generates(tab, pages.notIsolated, oneThread));
  scenario("as `vite dev` serves it", (tab) => generates(tab, pages.vite, severalThreads));
  scenario("without a bundler", (tab) => generates(tab, pages.unbundled, severalThreads));
  // The setting for older ones is about the server, not about the browser.
  if (name === BROWSERS[0]) scenario("as an older `vite dev` serves it", (tab) => generates(tab, pages.vite7, severalThreads));
});

/** The page generates the tokens of the reference, and asks nobody but its server. */
async function generates(tab, { url }, expectThreads) {
  const reported = reports.asked().length;
  await tab.goto(`${url}/`);
  const heard = () => tab.evaluate(() => globalThis.heard ?? { lines: [], errors: [] });
  const lines = await until("the page has generated", async () => {
    const { lines, errors } = await heard();
    assert.deepEqual(errors, []);
    return lines.length > STEPS && lines;
  }, PATIENCE, () => `${tab.said()}\n${reports.asked().slice(reported).join("\n")}`);
  const [threads, ...tokens] = lines;
  await expectThreads(tab, ...threads);
  assert.deepEqual(tokens, GREEDY_IDS.slice(0, STEPS).map((id, step) => [id, LOGITS_SHA256[step]]));
  const text = await tab.evaluate(() => document.body.textContent.trim());
  assert.ok(text.length > STEPS && TEXT.startsWith(text), text);
  for (const address of await tab.requested()) assert.equal(new URL(address).host, new URL(url).host, address);

  // Of all that a worker does against the policy there would be reports: there is one of what this one does now, and no other.
  assert.equal(await tab.evaluate(probe, `${reports.url}/elsewhere`), "refused");
  const said = await until("the policy's report comes", () => {
    const posts = reports.asked().slice(reported);
    return posts.some((post) => post.includes("elsewhere")) && posts;
  });
  assert.equal(said.length, 1, said.join("\n"));
  assert.match(said[0], /^\/report\n[^]*connect-src/);
  assert.deepEqual((await heard()).errors, []);
}

function probe(url) {
  return new Promise((resolve, reject) => {
    const worker = new Worker("/probe.js");
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = ({ message }) => reject(new Error(message));
    worker.postMessage(url);
  });
}

async function severalThreads(tab, threads, why) {
  const cores = await tab.evaluate(() => navigator.hardwareConcurrency);
  if (cores === 1) return assert.match(why, /one core/);
  assert.equal(why, null);
  assert.equal(threads, Math.min(cores, 8));
}

function oneThread(_, threads, why) {
  assert.equal(threads, 1);
  assert.match(why, /COOP and COEP/);
}
