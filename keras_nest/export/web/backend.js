/* Answers of the networks in this browser, see page.js. Nothing is sent anywhere. */

import { keepsPixels, openPhotograph } from "./photograph.js";
import { prepare, toImage } from "./prepare.js";

const FEW = 10; // so many classes are all shown; of more, the first
const CLASSES = 5;
const PATIENCE = 3000; // milliseconds

let facts; // content of model.json
let networks;

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

async function again() {
  location.reload();
  await new Promise(() => {});
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
    if (serviceWorker.controller && !crossOriginIsolated && !sessionStorage.getItem("reloaded")) {
      sessionStorage.setItem("reloaded", "yes");
      await again();
    }
  } catch (error) {
    return error.message;
  }
  return serviceWorker.controller ? "" : "its service worker does not start";
}

export async function start(tell) {
  tell("Starting …");
  const without = await startWorker();
  const answer = await fetch("model.json");
  if (!answer.ok) throw new Error("model.json is not on the server; put the whole folder there.");
  facts = await answer.json();
  if (without && facts.litert.fetched)
    throw new Error(`This page cannot fetch LiteRT.js, since ${without}; open it over https, or from localhost.`);
  // Not before the worker is there, which may have to fetch LiteRT.js.
  const { open } = await import("./network.js").catch(() => {
    throw new Error(`LiteRT.js ${facts.litert.version} is not there, or is not what the page was tested with.`);
  });
  networks = await open(facts, new URLSearchParams(location.search).get("backend"), tell);
  const about = ["Images stay in this browser: nothing is sent anywhere."];
  if (!without) about.push("Once loaded, the page works offline.");
  if (!crossOriginIsolated && !networks.backend.startsWith("WebGPU"))
    about.push(`It computes in one thread, since ${without || "the page around it does not isolate it"}.`);
  if (!keepsPixels()) about.push("This browser changes the pixels that pages read, so that answers may differ.");
  if (facts.credits) about.push(facts.credits);
  const examples = facts.examples.map(({ name }) => name);
  const { name, classes, why_not: whyNot, largest } = facts;
  return { name, facts: facts.facts, labels: null, classes, methods: facts.explanation ? ["cam"] : [], whyNot, examples, largest, about: about.join(" ") };
}

/** What the classes get of the scores. */
export function probabilities(scores, activation) {
  if (activation === "sigmoid") return scores.map((score) => 1 / (1 + Math.exp(-score)));
  if (activation !== "softmax") return scores;
  const most = Math.max(...scores);
  const powers = scores.map((score) => Math.exp(score - most));
  const sum = powers.reduce((total, each) => total + each, 0);
  return powers.map((each) => each / sum);
}

/** What goes wrong on the way to an answer is the answer. */
const guarded = (answer) => (...given) => answer(...given).catch((error) => ({ error: error.message ?? String(error) }));

const painted = () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));

export const predict = guarded(async (image) => {
  await painted(); // computing holds the page up
  const photograph = await openPhotograph(image, facts.max_pixels);
  const { width, height } = photograph;
  const pixels = prepare(photograph, facts.preprocessing);
  photograph.close();
  const start = performance.now();
  const outputs = await networks.answer(pixels);
  const milliseconds = performance.now() - start;
  const scores = [...outputs[facts.output].data];
  if (!scores.every(Number.isFinite)) throw new Error("The model does not answer with numbers (NaN or infinity).");
  image.evidence = outputs.evidence;
  const shares = probabilities(scores, facts.activation);
  const best = shares.map((_, index) => index).sort((a, b) => shares[b] - shares[a] || a - b);
  const shown = best.slice(0, best.length <= FEW ? FEW : CLASSES);
  const predictions = shown.map((index) => ({ class: index, label: facts.classes[index], probability: shares[index] }));
  const time = milliseconds < 10 ? milliseconds.toFixed(1) : milliseconds.toFixed(0);
  return { predictions, picture: URL.createObjectURL(image.file), width, height, scores, note: `${time} ms with ${networks.backend}.` };
});

export const explain = guarded(async (image, method, index) => {
  const { data, shape } = (await networks.explain(image.evidence, index)).map;
  const [, height, width] = shape;
  const map = Array.from({ length: height }, (_, y) => [...data.subarray(y * width, (y + 1) * width)]);
  const [rows, columns] = facts.preprocessing.size;
  const view = toImage(facts.preprocessing, image, [0, 0, rows, columns]);
  const positive = data.map((value) => Math.max(value, 0));
  const mean = positive.reduce((sum, value) => sum + value, 0) / positive.length;
  const peak = positive.indexOf(Math.max(...positive));
  const ratio = mean ? positive[peak] / mean : 0;
  const [y, x] = [Math.floor(peak / width), peak % width];
  const place = [(y * rows) / height, (x * columns) / width, ((y + 1) * rows) / height, ((x + 1) * columns) / width];
  const box = ratio >= 1 + facts.margin ? toImage(facts.preprocessing, image, place) : null;
  return { map, view, box, clarity: `peak ${ratio.toFixed(2)} x mean` };
});

export function example(number) {
  const { file } = facts.examples[number];
  return { small: file, whole: file };
}
