/* Answers of the networks in this browser, see page.js. Nothing is sent anywhere. */

import { keepsPixels, openPhotograph } from "./photograph.js";
import { prepare, toImage } from "./prepare.js";
import { begin, inWords, painted } from "./visit.js";

const FEW = 10; // so many classes are all shown; of more, the first
const CLASSES = 5;

let facts; // content of model.json
let networks;
let texts; // of a model whose classes are texts
let say; // how far it is

export async function start(tell) {
  const { about, ...found } = await begin("Images", tell);
  ({ facts, networks } = found);
  say = tell;
  if (facts.texts) texts = await (await import("./texts.js")).openTexts(facts.texts, networks);
  if (!keepsPixels()) about.push("This browser changes the pixels that pages read, so that answers may differ.");
  if (facts.credits) about.push(facts.credits);
  const { name, classes, why_not: whyNot, largest } = facts;
  const given = facts.texts ? { labels: facts.texts.labels, templates: facts.texts.templates } : { labels: null };
  const examples = facts.examples.map((example) => example.name);
  const methods = facts.networks.explain ? ["cam"] : [];
  return { name, facts: facts.facts, ...given, classes, methods, whyNot, examples, largest, about: about.join(" ") };
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

/** What the network says of an image; an image that was asked for before is not computed again. */
async function look(image) {
  if (image.seen) return { ...image.seen, note: "" };
  const photograph = await openPhotograph(image, facts.max_pixels);
  const { width, height } = photograph;
  const pixels = prepare(photograph, facts.preprocessing);
  photograph.close();
  const { size, channels } = facts.preprocessing;
  const start = performance.now();
  const outputs = await networks.run("answer", { images: [pixels, [1, ...size, channels]] });
  const milliseconds = performance.now() - start;
  const scores = [...outputs[facts.output].data];
  if (!scores.every(Number.isFinite)) throw new Error("The model does not answer with numbers (NaN or infinity).");
  image.evidence = outputs.evidence;
  image.seen = { scores, width, height, picture: URL.createObjectURL(image.file) };
  return { ...image.seen, note: `${inWords(milliseconds)} with ${networks.backend}.` };
}

export const predict = guarded(async (image, labels, templates) => {
  await painted(); // computing holds the page up
  const asked = texts && (await texts.embed(labels, templates, say));
  const { scores: found, note, ...seen } = await look(image);
  const scores = asked ? asked.compare(found) : found;
  const names = asked ? labels : facts.classes;
  const shares = probabilities(scores, facts.activation);
  const best = shares.map((_, index) => index).sort((a, b) => shares[b] - shares[a] || a - b);
  const shown = best.slice(0, best.length <= FEW ? FEW : CLASSES);
  const predictions = shown.map((index) => ({ class: index, label: names[index], probability: shares[index] }));
  return { predictions, ...seen, scores, shares, note: [note, asked?.note].filter(Boolean).join(" ") };
});

export const explain = guarded(async (image, method, index) => {
  const { evidence } = image;
  const count = facts.classes.length;
  const chosen = Float32Array.from({ length: count }, (_, k) => (k === index ? 1 : 0));
  const inputs = { evidence: [evidence.data, evidence.shape], chosen: [chosen, [1, count]] };
  const { data, shape } = (await networks.run("explain", inputs)).map;
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
