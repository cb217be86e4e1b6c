// The settings that the README names, which the test writes beside this file, and the policy that the test has.

import older from "./older.config.js";
import readme from "./readme.config.js";

const { LOCKSTEP_APP_VITE: vite = "vite", LOCKSTEP_APP_POLICY: policy } = process.env;

export default {
  ...readme,
  ...(vite === "vite7" ? older : {}),
  server: { ...readme.server, headers: { ...readme.server.headers, "Content-Security-Policy": policy } },
  // The model's folder stands in public/ for `vite dev`; a build must not copy it.
  build: { copyPublicDir: false },
  // Two versions run in one folder.
  cacheDir: `node_modules/.${vite}`,
};
