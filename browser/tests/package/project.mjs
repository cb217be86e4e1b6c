// A project of somebody who uses the package: made from the folder app/ and the README, with the tarball installed.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { blocks } from "../e2e/drive/blocks.mjs";
import { start, stop } from "../e2e/drive/children.mjs";
import { freePort } from "../e2e/drive/free-port.mjs";
import { addressOf, setting } from "../e2e/drive/servers.mjs";

/** What npm must not do: ask for news and for money, run scripts of packages. */
const QUIET = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"];

export class Project {
  /** Its folder. */
  folder;
  /** The package's README. */
  readme;

  /** Makes a project in a new folder. */
  static async make() {
    const project = new Project();
    project.folder = await mkdtemp(join(tmpdir(), "lockstep-package-"));
    await cp(new URL("app/", import.meta.url), project.folder, { recursive: true });
    project.run("npm", ["ci", ...QUIET]);
    project.run("npm", ["install", ...QUIET, setting("LOCKSTEP_PACKAGE_TARBALL")]);
    project.readme = await readFile(project.path("node_modules/lockstep/README.md"), "utf8");
    const [main, config] = project.examples("js");
    await project.write("main.js", main);
    await project.write("readme.config.js", config);
    const [, older] = project.readme.match(/^Vite 7 and older also need `([^`]+)`/m);
    await project.write("older.config.js", `export default { ${older} };\n`);
    await symlink(setting("LOCKSTEP_E2E_MODEL"), project.path("public/model"));
    return project;
  }

  /** The README's blocks of code in this language. */
  examples(language) {
    return blocks(this.readme, language);
  }

  path(name) {
    return join(this.folder, name);
  }

  write(name, text) {
    return writeFile(this.path(name), text);
  }

  /** Runs a program in the project; what it says where it fails is the test's failure. Gives its output. */
  run(program, args, env = {}) {
    const { status, stdout, stderr, error } = spawnSync(program, args, { cwd: this.folder, env: { ...process.env, ...env }, encoding: "utf8" });
    assert.equal(status, 0, `${program} ${args.join(" ")}: ${error?.message ?? ""}\n${stdout}\n${stderr}`);
    return stdout;
  }

  /** Builds the project by Vite into the folder dist. */
  build() {
    return this.run("node", ["node_modules/vite/bin/vite.js", "build"]);
  }

  /**
   * Starts `vite dev`.
   * @param {"vite" | "vite7"} vite the folder of the Vite to take
   * @param {string} policy the Content-Security-Policy that it sends
   * @returns {Promise<{url: string, stop: () => Promise<void>}>}
   */
  async dev(vite, policy) {
    const env = { LOCKSTEP_APP_VITE: vite, LOCKSTEP_APP_POLICY: policy, NO_COLOR: "1" };
    const port = String(await freePort());
    const program = this.path(`node_modules/${vite}/bin/vite.js`);
    const server = start("node", [program, this.folder, "--host", "127.0.0.1", "--port", port, "--strictPort"], { env });
    return { url: await addressOf(server, "vite"), stop: () => stop(server) };
  }

  remove() {
    return rm(this.folder, { recursive: true });
  }
}
