/* Classes that are texts, as keras_nest.ZeroShotClassifier has them: each is the mean embedding of its sentences. */

import { makeTokenizer } from "./tokenizer.js";
import { inWords, painted, read } from "./visit.js";

const SHOWN = 3; // labels of which something is told
const PAUSE = 200; // milliseconds between words on how far it is

/**
 * Opens the text tower: {embed(labels, templates, tell)}, which gives {compare(embedding of an image) -> scores, note}.
 *
 * `facts` are those on texts of model.json; token ids of samples must be those of Python.
 */
export async function openTexts(facts, networks) {
  const tokenize = makeTokenizer(await read(facts.file));
  for (const [text, ids] of facts.check)
    if (tokenize(text).ids.join() !== ids.join()) throw new Error("This browser does not read texts as Python does.");
  const known = new Map(); // embeddings by token ids

  async function embed(labels, templates, tell) {
    check(labels, templates);
    const prompts = labels.map((label) => templates.map((template) => tokenize(template.replaceAll("{}", () => label))));
    const fresh = new Map(prompts.flat().map(({ ids }) => [ids.join(), ids]).filter(([key]) => !known.has(key)));
    const start = performance.now();
    await fill(fresh, tell);
    const spent = performance.now() - start;
    const classes = prompts.map((row) => mean(row.map(({ ids }) => known.get(ids.join()))));
    const compare = (image) => classes.map((each) => facts.temperature * dot(image, each));
    const time = fresh.size ? `${fresh.size} new ${fresh.size > 1 ? "texts" : "text"} in ${inWords(spent)}.` : "";
    const shortest = templates.reduce((best, each) => (each.length < best.length ? each : best));
    return { compare, note: [time, ...strange(labels, prompts.map((row) => row[templates.indexOf(shortest)]))].join(" ") };
  }

  async function fill(fresh, tell) {
    let [done, told] = [0, performance.now()];
    for (const [key, ids] of fresh) {
      if (performance.now() - told > PAUSE) {
        tell(`Reading texts: ${done} of ${fresh.size} …`);
        await painted();
        told = performance.now();
      }
      const { embedding } = await networks.run("text", { tokens: [ids, [1, ids.length]] });
      known.set(key, embedding.data);
      done++;
    }
    tell("");
  }
  return { embed };
}

function check(labels, templates) {
  if (!labels.length) throw new Error("There are no labels; write one a line, such as: a dog.");
  const twice = labels.find((label, place) => labels.indexOf(label) < place);
  if (twice !== undefined) throw new Error(`There is more than one label '${twice}'; each class must have a label of its own.`);
  if (!templates.length) throw new Error("There are no sentences; write {} for the label as it is.");
  const lacking = templates.find((template) => !template.includes("{}"));
  if (lacking !== undefined) throw new Error(`The sentence '${lacking}' has no {}, where the label goes: a photo of a {}.`);
}

/** What is to be said of labels that the model cannot tell apart, does not know or does not see whole. */
function strange(labels, prompts) {
  const [equal, unknown, long] = [[], [], []];
  const first = new Map();
  prompts.forEach(({ ids, length, unknown: isUnknown }, place) => {
    const key = ids.join();
    if (first.has(key)) equal.push(`'${first.get(key)}' and '${labels[place]}'`);
    else first.set(key, labels[place]);
    if (isUnknown) unknown.push(`'${labels[place]}'`);
    if (length > ids.length) long.push(`'${labels[place]}'`);
  });
  const list = (found) => found.slice(0, SHOWN).join(", ") + (found.length > SHOWN ? ", …" : "");
  const said = [];
  if (equal.length) said.push(`The model reads the same in ${list(equal)}, so that their probabilities are equal.`);
  if (unknown.length) said.push(`It does not know all of ${list(unknown)}.`);
  if (long.length) said.push(`It reads only the beginning of ${list(long)}.`);
  return said;
}

/** Mean of embeddings, of length one. */
function mean(embeddings) {
  const sum = Float64Array.from(embeddings[0], (_, k) => embeddings.reduce((total, each) => total + each[k], 0) / embeddings.length);
  const length = Math.hypot(...sum) + 1e-8;
  return sum.map((value) => value / length);
}

function dot(a, b) {
  return a.reduce((sum, value, k) => sum + value * b[k], 0);
}
