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

/** Asks the server for its status, and the user for its key, until it is ready, or is known to be absent. @param {() => void} [onWait] it is loading */
export async function waitForServer(onWait = () => {}) {
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
export function modelUrlWithoutServer(status, site) {
  const remembered = status === "unreachable" ? rememberedModel() : null;
  return new URL(site.modelUrl ?? remembered ?? DEFAULT_MODEL_URL, location.href).href;
}

/** Where there is no server of ours: asks before anything large is fetched, and says how large. @param {string} baseUrl */
export async function askFirst(baseUrl) {
  const { name, bytes, cachedBytes } = await Engine.inspect({ baseUrl });
  if (cachedBytes >= bytes) return;
  showLoading(`${name} has to be fetched once: ${formatBytes(bytes - cachedBytes)}.`);
  const button = $("load-model");
  button.textContent = `Load model (${formatBytes(bytes - cachedBytes)})`;
  button.hidden = false;
  await new Promise((resolve) => button.addEventListener("click", resolve, { once: true }));
  button.hidden = true;
}

/** Loads the model of the server, or of the site, which asks first. */
export async function loadModel() {
  showLoading("Looking for the model");
  const status = await waitForServer();
  if (typeof status === "object") {
    rememberModel(status.modelUrl);
    return loadEngine(new URL(status.modelUrl, location.href).href, authorization());
  }
  const baseUrl = modelUrlWithoutServer(status, await fetchSite());
  await askFirst(baseUrl);
  return loadEngine(baseUrl);
}

/** Loads the model of a folder and shows how far it has come. @param {string} baseUrl @param {object} [headers] what its server wants */
export async function loadEngine(baseUrl, headers) {
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
