// Where the model is, whether it may be fetched, and how far it has come: what all pages say while they load it. They have
// the elements `loading`, `loading-text`, `loading-progress` and `load-model`.

import { Engine } from "./engine.js";
import { Speed, formatBytes, formatSeconds } from "./format.js";
import { askForKey, authorization } from "./key.js";
import { fetchSite, fetchStatus } from "./native.js";
import { rememberModel, rememberedModel } from "./offline.js";

/** The model folder on a static site, which is laid out like the server's addresses. */
const DEFAULT_MODEL_URL = "../models/SmolLM2-135M-Instruct/";
const STATUS_INTERVAL = 500;

const $ = (id) => document.getElementById(id);

/** Says something in the place for what is loading; "" hides it. @param {string} text */
export function showLoading(text) {
  $("loading").hidden = text === "";
  $("loading-text").textContent = text;
}

/** Asks the server for its status, and the user for its key, until it is ready, or is known to be absent. @param {() => void} onWait it is loading */
async function waitForServer(onWait) {
  for (;;) {
    const status = await fetchStatus();
    if (status === "locked") {
      showLoading("The server wants a key");
      await askForKey();
      continue;
    }
    if (typeof status !== "object" || status.ready) return status;
    onWait();
    showLoading("Waiting for the server to load the model");
    await new Promise((resolve) => setTimeout(resolve, STATUS_INTERVAL));
  }
}

/**
 * The model's address where no server tells it: as the site says, without a network as it was at the last visit, or beside the page.
 * @param {"absent" | "unreachable"} status @param {{modelUrl?: string}} site
 */
function modelUrlWithoutServer(status, site) {
  const remembered = status === "unreachable" ? rememberedModel() : null;
  return new URL(site.modelUrl ?? remembered ?? DEFAULT_MODEL_URL, location.href).href;
}

/** Where there is no server of ours: asks before anything large is fetched, and says how large. @param {string} baseUrl */
async function askFirst(baseUrl) {
  const { name, bytes, cachedBytes } = await Engine.inspect({ baseUrl });
  if (cachedBytes >= bytes) return;
  showLoading(`${name} has to be fetched once: ${formatBytes(bytes - cachedBytes)}.`);
  const button = $("load-model");
  button.textContent = `Load model (${formatBytes(bytes - cachedBytes)})`;
  button.hidden = false;
  await new Promise((resolve) => button.addEventListener("click", resolve, { once: true }));
  button.hidden = true;
}

/**
 * Loads the model of the server, or of the site, which asks first.
 * @param {{onWait?: () => void, onServer?: (status: object) => void, onSite?: (site: {recordings: object[]}, status: "absent" | "unreachable") => void,
 *   onLoad?: (baseUrl: string) => void}} [hooks] the server is loading; it is ready; there is none; the model's files are next
 */
export async function loadModel({ onWait = () => {}, onServer = () => {}, onSite = () => {}, onLoad = () => {} } = {}) {
  showLoading("Looking for the model");
  const status = await waitForServer(onWait);
  if (typeof status === "object") {
    onServer(status);
    const baseUrl = new URL(status.modelUrl, location.href).href;
    onLoad(baseUrl);
    const engine = await loadEngine(baseUrl, authorization());
    rememberModel(status.modelUrl);
    return engine;
  }
  const site = await fetchSite();
  onSite(site, status);
  const baseUrl = modelUrlWithoutServer(status, site);
  await askFirst(baseUrl);
  onLoad(baseUrl);
  return loadEngine(baseUrl);
}

/** Loads the model of a folder and shows how far it has come. @param {string} baseUrl @param {object} [headers] what its server wants */
async function loadEngine(baseUrl, headers) {
  const progress = $("loading-progress");
  progress.hidden = false;
  const speed = new Speed();
  const onProgress = ({ allLoaded, allTotal, fromCache }) => {
    progress.max = allTotal;
    progress.value = allLoaded;
    const rate = fromCache ? null : speed.measure(allLoaded);
    const pace = rate ? `, ${formatBytes(rate)}/s, ${formatSeconds((allTotal - allLoaded) / rate)} left` : "";
    showLoading(`${fromCache ? "Reading the kept model" : "Fetching the model"}: ${formatBytes(allLoaded)} of ${formatBytes(allTotal)}${pace}`);
  };
  const asked = new URLSearchParams(location.search);
  const threads = asked.has("threads") ? Number(asked.get("threads")) : undefined;
  const engine = await Engine.load({ baseUrl, headers, onProgress, backend: asked.get("backend") ?? "auto", threads });
  progress.hidden = true;
  showLoading("");
  return engine;
}
