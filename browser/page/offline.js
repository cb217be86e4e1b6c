// What a visit without a network needs beside the model: the page itself, kept by the service worker, and the model's address.

const MODEL_URL_KEY = "lockstep-model-url";

/**
 * Registers the service worker and waits until it has kept the whole page.
 * @returns {Promise<string | null>} why the page is not kept, or null when it is
 */
export async function keepPage() {
  if (!("serviceWorker" in navigator)) {
    return isSecureContext ? "this browser has no service workers" : "this address is not a secure context (https or localhost)";
  }
  try {
    const registration = await navigator.serviceWorker.register("service-worker.js");
    await activated(registration.installing ?? registration.waiting ?? registration.active);
    return null;
  } catch (error) {
    return error.message;
  }
}

function activated(worker) {
  return new Promise((resolve, reject) => {
    const check = () => {
      if (worker.state === "activated") resolve();
      if (worker.state === "redundant") reject(new Error("a file of the page could not be kept"));
    };
    worker.addEventListener("statechange", check);
    check();
  });
}

/** Notes where the model was. @param {string} modelUrl */
export function rememberModel(modelUrl) {
  try {
    localStorage.setItem(MODEL_URL_KEY, modelUrl);
  } catch {
    // Storage is refused to this page; then the Cache API is too, and nothing works offline.
  }
}

/** Where the model of the last visit was, or null. */
export function rememberedModel() {
  try {
    return localStorage.getItem(MODEL_URL_KEY);
  } catch {
    return null;
  }
}
