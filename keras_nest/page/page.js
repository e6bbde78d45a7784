/*
 * The page: an image comes in, its classes are listed, and one of them is explained.
 *
 * Who answers is backend.js. It exports
 *   start(tell)                       -> {name, facts, labels, templates, classes, methods, whyNot, examples, largest,
 *                                        about}; of a model that reads no texts labels is null; where templates are
 *                                        given they are asked for, and answers follow what is typed; tell(text) says how
 *                                        far it is
 *   predict(image, labels, templates) -> {predictions: [{class, label, probability}], picture, width, height, note}
 *   explain(image, method, index)     -> what DRAWINGS[method] draws
 *   example(number)                   -> addresses {small, whole} of an image to begin with
 * An image is {file, name}, the same object in both; answers are promises, and what is wrong is {error}.
 */

import * as backend from "./backend.js";
import { $, draw, make, say, show } from "./dom.js";
import { DRAWINGS } from "./pictures.js";
import { listen, stopCamera } from "./sources.js";

const PAUSE = 400; // milliseconds without a key, after which what is typed is asked
const NAMES = { gradcat: "GradCAT", attention: "Attention", cam: "Activation map" };

let model; // what the backend says of it
let image = null; // {file, name}, and when it is answered {picture, width, height}
let chosen = null; // the class that is explained: {index, label}
let method = null;
let typing; // until the answer to what is being typed
let asked = 0; // answers to earlier questions are dropped

function fail(message) {
  say("error", message);
  show("busy hint", false);
}

async function start() {
  listen(take, fail, () => showPhoto(image?.picture ? image : null));
  try {
    model = await backend.start((text) => say("loading", text));
  } catch (error) {
    say("loading", "");
    show("hint", false);
    fail(error.message);
    return;
  }
  say("loading", "");
  document.title = model.name;
  $("name").textContent = model.name;
  $("facts").textContent = model.facts.join(" · ");
  say("about", model.about ?? "");
  if (model.labels !== null) {
    $("labels").value = model.labels.join("\n");
    show("texts");
    if (model.templates) listenToTexts();
  }
  $("all").append(...model.classes.map((name) => make("option", { value: name })));
  method = model.methods[0] ?? null;
  if (model.methods.length > 1) listMethods();
  listExamples();
  if (image) await take(image.file, image.name); // one that did not wait
}

function listMethods() {
  for (const name of model.methods) {
    const button = make("button", { type: "button", "aria-pressed": name === method }, NAMES[name] ?? name);
    button.onclick = () => {
      method = name;
      for (const each of $("methods").children) each.setAttribute("aria-pressed", each === button);
      explain();
    };
    $("methods").append(button);
  }
}

function listExamples() {
  model.examples.forEach((name, number) => {
    const { small, whole } = backend.example(number);
    const button = make("button", { type: "button", title: name }, make("img", { src: small, alt: name }));
    button.onclick = async () => take(await (await fetch(whole)).blob(), name);
    $("thumbnails").append(button);
  });
  show("examples", model.examples.length > 0);
}

const linesOf = (id) => $(id).value.split("\n").map((line) => line.trim()).filter(Boolean);

/** One a line; where there is one line, with commas between them. */
function labels() {
  const lines = linesOf("labels");
  return lines.length === 1 ? lines[0].split(",").map((part) => part.trim()).filter(Boolean) : lines;
}

function listenToTexts() {
  $("templates").value = model.templates.join("\n");
  show("sentences");
  for (const id of ["labels", "templates"])
    $(id).oninput = () => {
      clearTimeout(typing);
      typing = setTimeout(() => image && compare(), PAUSE);
    };
}

/** Asks again about the image that is there. */
async function compare() {
  clearTimeout(typing);
  const mine = ++asked;
  show("error", false);
  show("busy");
  await predict(mine);
}

/** A new image, from wherever it comes. */
async function take(file, name) {
  stopCamera();
  const mine = ++asked;
  show("error answer hint", false);
  image = { file, name };
  show("busy");
  if (!model) return; // start() goes on with it
  if (file.size > model.largest) {
    showPhoto(null);
    fail(`${name} has ${file.size} bytes; it may have ${model.largest}.`);
    return;
  }
  await predict(mine);
}

async function predict(mine) {
  if (model.labels !== null && !labels().length) {
    show("answer", false);
    const end = model.templates ? "" : ", and press Compare";
    fail(`${image.name} is taken. Now write its possible classes in words, one a line${end}.`);
    $("labels").focus();
    return;
  }
  const answer = await backend.predict(image, labels(), linesOf("templates"));
  if (mine !== asked) return;
  show("busy", false);
  if (answer.error) {
    if (!image.picture) showPhoto(null);
    show("answer", false);
    fail(answer.error);
    return;
  }
  Object.assign(image, answer);
  showPhoto(image);
  $("file-name").textContent = image.name;
  listClasses(answer.predictions);
  const invitation = model.methods.length ? "Press a class to see what speaks for it." : "";
  say("note", [invitation, answer.note].filter(Boolean).join(" "));
  show("answer");
  const [best] = answer.predictions;
  $("said").textContent = `${image.name}: most probable is ${best.label}, ${percent(best.probability)}.`;
  if (matchMedia("(max-width: 859px)").matches) $("answer").scrollIntoView({ block: "nearest" });
  chosen = { index: best.class, label: best.label };
  show("why", model.methods.length > 0);
  show("more", model.methods.length > 0 && model.classes.length > answer.predictions.length);
  say("why-not", model.whyNot);
  await explain();
}

function showPhoto(answer) {
  const isFocused = [$("file"), $("other")].includes(document.activeElement); // of which one will be gone
  show("drop file", !answer);
  show("photo other", Boolean(answer));
  if (isFocused) $(answer ? "other" : "file").focus();
  if (!answer) return;
  $("photo").src = answer.picture;
  $("photo").alt = image.name;
  $("photo").className = Math.max(answer.width, answer.height) < 128 ? "tiny" : "";
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;

function listClasses(predictions) {
  $("classes").replaceChildren(
    ...predictions.map(({ class: index, label, probability }) => {
      const bar = draw("svg", { "aria-hidden": "true" }, draw("rect", { width: `${100 * probability}%`, height: "100%" }));
      const button = make("button", { type: "button" }, bar, make("span", { dir: "auto" }, label), make("span", {}, percent(probability)));
      button.disabled = !model.methods.length;
      button.dataset.index = index;
      button.onclick = () => choose(index, label);
      return make("li", {}, button);
    }),
  );
}

function choose(index, label) {
  chosen = { index, label };
  $("class").value = "";
  explain();
}

async function explain() {
  if (!method || !image?.picture) return;
  for (const button of $("classes").querySelectorAll("button"))
    button.setAttribute("aria-pressed", Number(button.dataset.index) === chosen.index);
  const mine = asked;
  const wanted = `${method} ${chosen.index}`;
  const found = await backend.explain(image, method, chosen.index);
  if (mine !== asked || wanted !== `${method} ${chosen.index}`) return;
  await $("photo").decode();
  const question = method === "attention" ? ["What is attended to"] : ["What speaks for ", make("bdi", {}, chosen.label)];
  $("question").replaceChildren(...question);
  if (found.error) {
    $("pictures").replaceChildren();
    $("caption").textContent = found.error;
    return;
  }
  $("error").hidden = true;
  const { figures, caption } = DRAWINGS[method](image, found, chosen.label);
  $("pictures").replaceChildren(...figures);
  $("caption").replaceChildren(...caption);
}

$("ask").onclick = () => {
  if (!image) fail("There is no image yet; drop one, or take an example.");
  else compare();
};
$("class").onchange = () => {
  const index = model.classes.indexOf($("class").value);
  if (index >= 0) choose(index, model.classes[index]);
};
start();
