/* A visit of the page: its worker, the facts of model.json, and the networks. */

const PATIENCE = 3000; // milliseconds

/** Whether a worker that answers this page's requests takes over, before patience ends. */
function takesOver(worker, message) {
  const { serviceWorker } = navigator;
  const change = new Promise((resolve) => serviceWorker.addEventListener("controllerchange", () => resolve(true), { once: true }));
  worker.postMessage(message);
  return Promise.race([change, new Promise((resolve) => setTimeout(() => resolve(false), PATIENCE))]);
}

/** Whether the folder holds another version than the one that was kept, which is the page's from now on. */
async function isReplaced(registration) {
  await registration.update().catch(() => {}); // without a network
  const next = registration.installing ?? registration.waiting;
  if (!next) return false;
  const installed = () => new Promise((resolve) => next.addEventListener("statechange", resolve, { once: true }));
  if (next.state === "installing") await installed();
  return next.state === "installed" && takesOver(next, "replace");
}

/** Opens the page again, and as a new visit: a reload that goes past the worker would be followed by one that does, too. */
async function again() {
  location.replace(location.href.split("#")[0]);
  await new Promise((resolve) => setTimeout(resolve, PATIENCE)); // and goes on as it is where nothing happens
}

/**
 * Lets the worker answer this page's requests: it keeps the files, and its answers carry the headers that threads need.
 * Returns why it does not, or "".
 */
async function startWorker() {
  const { serviceWorker } = navigator;
  if (!serviceWorker) return isSecureContext ? "this browser has no service workers" : "the page was not opened over https";
  try {
    await serviceWorker.register("worker.js", { updateViaCache: "none" });
    const registration = await serviceWorker.ready;
    if (!serviceWorker.controller) await takesOver(registration.active, "claim");
    else if (await isReplaced(registration)) await again();
    // Once, before anything large is fetched: threads need headers that the worker adds to the page itself.
    if (crossOriginIsolated) sessionStorage.removeItem("reloaded");
    else if (serviceWorker.controller && !sessionStorage.getItem("reloaded")) {
      sessionStorage.setItem("reloaded", "yes");
      await again();
    }
  } catch (error) {
    return error.message;
  }
  return serviceWorker.controller ? "" : "its service worker does not start";
}

/** A file of JSON in the folder. */
export async function read(file) {
  const answer = await fetch(file);
  if (!answer.ok) throw new Error(`${file} is not on the server; put the whole folder there.`);
  return answer.json();
}

/**
 * Begins: {facts, networks, about: sentences on where it computes}; tell(text) says how far it is.
 *
 * `what` stays in the browser, in a word.
 */
export async function begin(what, tell) {
  tell("Starting …");
  const without = await startWorker();
  const facts = await read("model.json");
  if (without && facts.litert.fetched)
    throw new Error(`This page cannot fetch LiteRT.js, since ${without}; open it over https, or from localhost.`);
  // Not before the worker is there, which may have to fetch LiteRT.js.
  const { open } = await import("./network.js").catch(() => {
    throw new Error(`LiteRT.js ${facts.litert.version} is not there, or is not what the page was tested with.`);
  });
  const networks = await open(facts, new URLSearchParams(location.search).get("backend"), tell);
  const about = [`${what} stay in this browser: nothing is sent anywhere.`];
  if (!without) about.push("Once loaded, the page works offline.");
  const reason = self === top ? "it was loaded past its service worker; open it again" : "the page around it does not isolate it";
  if (!crossOriginIsolated && !networks.backend.startsWith("WebGPU")) about.push(`It computes in one thread, since ${without || reason}.`);
  return { facts, networks, about };
}

export const painted = () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));

/** A duration in milliseconds, in words. */
export const inWords = (milliseconds) => `${milliseconds < 10 ? milliseconds.toFixed(1) : milliseconds.toFixed(0)} ms`;
