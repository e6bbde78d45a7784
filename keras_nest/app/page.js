"use strict";

const NAMES = { gradcat: "GradCAT", attention: "Attention", cam: "Activation map" };
const BOXES = ["#1f77b4", "#17becf", "#ff7f0e", "#d62728"]; // the last one is the leaf's
const FAINT = 0.25; // of attention: smaller differences from the mean are drawn paler
const SVG = "http://www.w3.org/2000/svg";
const $ = (id) => document.getElementById(id);

let model; // what the server says of it
let image = null; // {file, name}, and when it is answered {picture, width, height}
let chosen = null; // the class that is explained: {index, label}
let method = null;
let asked = 0; // answers to earlier questions are dropped

function show(ids, shown = true) {
  for (const id of ids.split(" ")) $(id).hidden = !shown;
}

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function draw(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function fail(message) {
  $("error").textContent = message;
  show("error");
  show("busy hint", false);
}

/** What the server answers; what is wrong is shown, and null is returned. */
async function ask(path, query, body) {
  let answer;
  try {
    const reply = await fetch(`${path}?${new URLSearchParams(query)}`, { method: "POST", body });
    answer = await reply.json();
  } catch {
    answer = { error: "The program does not answer; is it still running?" };
  }
  return answer;
}

async function start() {
  model = await (await fetch("model")).json();
  document.title = model.name;
  $("name").textContent = model.name;
  $("facts").textContent = model.facts.join(" · ");
  if (model.labels !== null) {
    $("labels").value = model.labels.join("\n");
    show("texts");
  }
  $("all").append(...model.classes.map((name) => make("option", { value: name })));
  method = model.methods[0] ?? null;
  for (const name of model.methods) {
    const button = make("button", { type: "button", "aria-pressed": name === method }, NAMES[name] ?? name);
    button.onclick = () => {
      method = name;
      for (const each of $("methods").children) each.setAttribute("aria-pressed", each === button);
      explain();
    };
    $("methods").append(button);
  }
  model.examples.forEach((name, number) => {
    const small = make("img", { src: `examples/${number}`, alt: name });
    const button = make("button", { type: "button", title: name }, small);
    button.onclick = async () => take(await (await fetch(`examples/${number}?whole`)).blob(), name);
    $("thumbnails").append(button);
  });
  show("examples", model.examples.length > 0);
  show("camera", Boolean(navigator.mediaDevices?.getUserMedia));
}

function labels() {
  return $("labels").value.split("\n").map((line) => line.trim()).filter(Boolean);
}

/** A new image, from wherever it comes. */
async function take(file, name) {
  if (!file) return;
  stopCamera();
  const mine = ++asked;
  show("error answer hint", false);
  if (file.size > model.largest) {
    fail(`${name} has ${file.size} bytes; it may have ${model.largest}.`);
    return;
  }
  image = { file, name };
  show("busy");
  await predict(mine);
}

async function predict(mine) {
  if (model.labels !== null && !labels().length) {
    fail(`${image.name} is taken. Now write its possible classes in words, one a line, and press Compare.`);
    $("labels").focus();
    return;
  }
  const query = [["name", image.name], ...(model.labels === null ? [] : labels().map((text) => ["labels", text]))];
  const answer = await ask("predict", query, image.file);
  if (mine !== asked) return;
  show("busy", false);
  if (answer.error) {
    showPhoto(null);
    fail(answer.error);
    return;
  }
  Object.assign(image, answer);
  showPhoto(image);
  $("file-name").textContent = image.name;
  listClasses(answer.predictions);
  show("answer");
  if (matchMedia("(max-width: 859px)").matches) $("answer").scrollIntoView({ behavior: "smooth", block: "nearest" });
  const [best] = answer.predictions;
  chosen = { index: best.class, label: best.label };
  show("why", model.methods.length > 0);
  show("more", model.methods.length > 0 && model.classes.length > answer.predictions.length);
  $("why-not").textContent = model.whyNot;
  show("why-not", model.methods.length === 0);
  await explain();
}

function showPhoto(answer) {
  show("drop", !answer);
  show("photo other", Boolean(answer));
  if (!answer) return;
  $("photo").src = answer.picture;
  $("photo").alt = image.name;
  $("photo").className = Math.max(answer.width, answer.height) < 128 ? "tiny" : "";
}

function listClasses(predictions) {
  $("classes").replaceChildren(
    ...predictions.map(({ class: index, label, probability }) => {
      const share = `${(100 * probability).toFixed(1)} %`;
      const bar = draw("svg", { "aria-hidden": "true" }, draw("rect", { width: `${100 * probability}%`, height: "100%" }));
      const button = make("button", { type: "button" }, bar, make("span", {}, label), make("span", {}, share));
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
  const found = await ask("explain", { method, class: chosen.index, name: image.name }, image.file);
  if (mine !== asked || wanted !== `${method} ${chosen.index}`) return;
  await $("photo").decode();
  $("question").textContent = method === "attention" ? "What is attended to" : `What speaks for ${chosen.label}`;
  $("pictures").replaceChildren();
  if (found.error) {
    $("caption").textContent = found.error;
    return;
  }
  $("error").hidden = true;
  ({ gradcat: drawPath, attention: drawAttention, cam: drawActivation })[method](found);
}

/** A map over the image in gray: red above 0, blue below; the strongest value has the fullest color. */
function heat(map, [top, left, bottom, right], largest) {
  const canvas = make("canvas", { width: map[0].length, height: map.length });
  const context = canvas.getContext("2d");
  map.forEach((row, y) =>
    row.forEach((value, x) => {
      const strength = Math.min(1, Math.abs(value) / (largest || 1));
      context.fillStyle = `rgb(${value > 0 ? "214 30 36" : "20 90 200"} / ${0.8 * strength})`;
      context.fillRect(x, y, 1, 1);
    }),
  );
  const place = { x: left, y: top, width: right - left, height: bottom - top };
  return draw("image", { href: canvas.toDataURL(), ...place, preserveAspectRatio: "none", "image-rendering": "pixelated" });
}

function box([top, left, bottom, right], color, more = {}) {
  const place = { x: left, y: top, width: right - left, height: bottom - top };
  return draw("rect", { ...place, fill: "none", stroke: color, "stroke-width": 3, "vector-effect": "non-scaling-stroke", ...more });
}

/** What the model sees of the image, and something over it. */
function panel(view, caption, layers, gray = true) {
  const [top, left, bottom, right] = view;
  const [width, height] = [right - left, bottom - top];
  const pad = 0.01 * Math.max(width, height);
  const viewBox = [left - pad, top - pad, width + 2 * pad, height + 2 * pad].join(" ");
  const scale = $("photo").naturalWidth / image.width; // the picture may be smaller than the file
  const canvas = make("canvas", { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) });
  canvas.getContext("2d").drawImage($("photo"), left * scale, top * scale, width * scale, height * scale, 0, 0, canvas.width, canvas.height);
  const place = { x: left, y: top, width, height, preserveAspectRatio: "none" };
  const photo = draw("image", { href: canvas.toDataURL("image/jpeg", 0.9), ...place });
  if (Math.max(width, height) < 128) photo.setAttribute("image-rendering", "pixelated");
  if (gray) photo.style.filter = "grayscale(1)";
  const figure = make("figure", {}, draw("svg", { viewBox, role: "img", "aria-label": caption }, photo, ...layers));
  if (caption) figure.append(make("figcaption", {}, caption));
  return figure;
}

const strongest = (map) => Math.max(...map.flat().map(Math.abs));

function drawActivation(found) {
  const peak = found.box ? [box(found.box, "#fff"), box(found.box, "#000", { "stroke-width": 1 })] : [];
  $("pictures").append(panel(found.view, "", [heat(found.map, found.view, strongest(found.map)), ...peak]));
  const where = found.box ? `The frame is where most does (${found.clarity}).` : "No place stands out.";
  $("caption").textContent = `Red speaks for ${chosen.label}, blue against it. ${where}`;
}

function drawAttention(found) {
  const captions = [];
  found.maps.forEach((map, number) => {
    const values = map.flat();
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const above = map.map((row) => row.map((value) => value / mean - 1));
    const name = found.maps.length > 1 ? `level ${number + 1}` : "";
    $("pictures").append(panel(found.view, name, [heat(above, found.view, Math.max(strongest(above), FAINT))]));
    captions.push(`${name || "at most"} ±${(100 * strongest(above)).toFixed(0)} %`);
  });
  $("caption").textContent =
    `Red is attended to more than on average, blue less (${captions.join(", ")}). It is the same for all classes.`;
}

function drawPath(found) {
  const { levels } = found;
  const path = levels.filter((level) => level.decided);
  const color = (number) => (number === levels.length - 1 ? BOXES[3] : BOXES[Math.min(number, 2)]);
  const [top, left, bottom, right] = path.length ? path[path.length - 1].box : found.view;
  const [y0, x0, y1, x1] = found.view;
  const around = `M${x0} ${y0}H${x1}V${y1}H${x0}ZM${left} ${top}V${bottom}H${right}V${top}Z`;
  const shade = draw("path", { d: around, fill: "#000", "fill-opacity": 0.45, "fill-rule": "evenodd" });
  const boxes = path.map((level, number) => box(level.box, color(number)));
  $("pictures").append(panel(found.view, "", [shade, ...boxes], false));
  const steps = path.map((level, number) => {
    const what = number === levels.length - 1 ? "leaf" : `level ${levels.length - number}`;
    const key = make("span", { class: "key" });
    key.style.background = color(number);
    const last = number === path.length - 1 && !found.decided;
    const margin = "margin" in level ? `, margin ${(100 * level.margin).toFixed(0)} %` : "";
    return make("span", { class: "step" }, key, `${what}${margin}${last ? ": no quarter stands out, the path ends here" : ""}`);
  });
  $("caption").replaceChildren(
    ...steps,
    found.decided ? "From all that the model sees down NesT's tree, always into the quarter that speaks most for the class." : "",
  );
}

/* Where images come from. */

let stream = null;

function stopCamera() {
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = null;
  show("video take cancel", false);
  show("camera", Boolean(navigator.mediaDevices?.getUserMedia));
  showPhoto(image?.picture ? image : null);
}

async function openCamera() {
  show("error", false);
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch {
    fail("There is no camera, or the browser may not use it.");
    return;
  }
  $("video").srcObject = stream;
  await $("video").play();
  show("video take cancel");
  show("drop photo camera other", false);
}

function takePicture() {
  const { videoWidth: width, videoHeight: height } = $("video");
  const canvas = make("canvas", { width, height });
  canvas.getContext("2d").drawImage($("video"), 0, 0);
  canvas.toBlob((blob) => take(blob, "camera"), "image/png");
}

$("camera").onclick = openCamera;
$("take").onclick = takePicture;
$("cancel").onclick = stopCamera;
$("other").onclick = () => $("file").click();
$("file").onchange = () => {
  const [file] = $("file").files;
  if (file) take(file, file.name);
  $("file").value = ""; // so that the same file may be chosen again
};
$("ask").onclick = () => {
  if (!image) fail("There is no image yet; drop one, or take an example.");
  else take(image.file, image.name);
};
$("class").onchange = () => {
  const index = model.classes.indexOf($("class").value);
  if (index >= 0) choose(index, model.classes[index]);
};
document.addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files][0];
  if (file) take(file, file.name);
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (file) take(file, file.name);
});
start();
