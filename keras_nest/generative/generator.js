/* The page of a generator: images of seeds, and the way from one to another. Nothing is sent anywhere. */

import { $, make, say, show } from "./dom.js";
import { between, noiseOf, pixelsOf } from "./latents.js";
import { begin, inWords, painted } from "./visit.js";

const COUNT = 16; // images at a time
const COLUMNS = 4;
const GAP = 2; // pixels between those that are saved together

let facts; // content of model.json
let networks;
let shown = []; // {seed, index: its class, noise, canvas, button}
let chosen = []; // one or two of them
let drawn = 0; // what was begun before is dropped

/** Pixels RGBA of noise, a Float32Array, and a class, which is not asked for where there are none. */
export async function draw(noise, index) {
  const classes = facts.classes ? { class_index: [Int32Array.of(index), [1]] } : {};
  const { images } = await networks.run("draw", { noise: [noise, [1, noise.length]], ...classes });
  if (!images.data.every(Number.isFinite)) throw new Error("The model does not draw numbers (NaN or infinity).");
  return pixelsOf(images.data, facts.channels);
}

async function start() {
  const { about, ...found } = await begin("Images", (text) => say("loading", text));
  ({ facts, networks } = found);
  say("loading", "");
  say("about", about.join(" "));
  $("facts").textContent = facts.facts.join(" · ");
  const names = Array.from({ length: facts.classes }, (_, k) => make("option", { value: k }, `class ${k}`));
  $("class-index").append(make("option", { value: "" }, "all in turns"), ...names);
  show("of-class", facts.classes > 0);
  show("studio");
  listen();
  await drawGrid();
}

function listen() {
  $("form").onsubmit = (event) => {
    event.preventDefault();
    guarded(drawGrid());
  };
  $("others").onclick = () => {
    $("seed").value = (Number($("seed").value) + COUNT) % 4294967280;
    guarded(drawGrid());
  };
  $("class-index").onchange = () => guarded(drawGrid());
  $("variety").oninput = () => {
    $("variety").setAttribute("aria-valuetext", `${$("variety").value} %`);
    guarded(drawGrid());
  };
  $("share").oninput = () => guarded(drawLarge());
  $("save").onclick = () => save($("canvas"), `${names(chosen)}.png`);
  $("save-grid").onclick = saveGrid;
}

const guarded = (work) => work.catch((error) => say("error", error.message ?? String(error)));
const painting = (canvas, pixels) => canvas.getContext("2d").putImageData(new ImageData(pixels, facts.size[1], facts.size[0]), 0, 0);
const canvasOf = () => make("canvas", { width: facts.size[1], height: facts.size[0] });
const describe = ({ seed, index }) => (facts.classes ? `seed ${seed}, class ${index}` : `seed ${seed}`);
const names = (images) => images.map(({ seed }) => `seed-${seed}`).join("-to-");

async function drawGrid() {
  const mine = ++drawn;
  const first = Math.floor(Number($("seed").value)) >>> 0;
  const [asked, variety] = [$("class-index").value, Number($("variety").value) / 100];
  const begun = performance.now();
  const images = [];
  for (let k = 0; k < COUNT; k++) {
    const seed = first + k;
    const index = asked === "" ? k % (facts.classes || 1) : Number(asked);
    const noise = noiseOf(seed, facts.latent_dim).map((value) => variety * value);
    const canvas = canvasOf();
    painting(canvas, await draw(noise, index));
    if (mine !== drawn) return;
    images.push({ seed, index, noise, canvas });
  }
  shown = images;
  const places = chosen.map(({ seed }) => seed - first).filter((place) => place in shown);
  $("grid").replaceChildren(...shown.map(button));
  $("note").textContent = `${COUNT} images in ${inWords(performance.now() - begun)} with ${networks.backend}.`;
  chosen = places.map((place) => shown[place]);
  await showChosen();
}

function button(image) {
  image.canvas.setAttribute("aria-hidden", "true");
  image.button = make("button", { type: "button", "aria-label": `Image of ${describe(image)}`, "aria-pressed": false }, image.canvas);
  image.button.onclick = () => {
    // A third one begins anew.
    chosen = chosen.length === 1 && chosen[0] !== image ? [...chosen, image] : [image];
    $("share").value = chosen.length > 1 ? 100 : 0;
    guarded(showChosen());
  };
  return image.button;
}

async function showChosen() {
  for (const image of shown) image.button.setAttribute("aria-pressed", chosen.includes(image));
  show("hint", chosen.length < 2);
  show("large save", chosen.length > 0);
  show("way", chosen.length > 1);
  if (chosen.length) await drawLarge();
}

async function drawLarge() {
  const [first, second] = chosen;
  const share = second ? Number($("share").value) / 100 : 0;
  const noise = second ? between(first.noise, second.noise, share) : first.noise;
  // Between two classes there is none.
  const { index } = share < 0.5 ? first : second;
  const what = second ? `${Math.round(100 * share)} % of the way from ${describe(first)} to ${describe(second)}` : describe(first);
  const pixels = await draw(noise, index);
  if (first !== chosen[0] || second !== chosen[1]) return;
  const canvas = $("canvas");
  [canvas.height, canvas.width] = facts.size;
  painting(canvas, pixels);
  canvas.setAttribute("aria-label", `Image, ${what}`);
  $("share").setAttribute("aria-valuetext", `${Math.round(100 * share)} %`);
  $("caption").textContent = what;
}

function saveGrid() {
  const [height, width] = facts.size;
  const rows = Math.ceil(shown.length / COLUMNS);
  const canvas = make("canvas", { width: COLUMNS * (width + GAP) - GAP, height: rows * (height + GAP) - GAP });
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  shown.forEach((image, k) => context.drawImage(image.canvas, (k % COLUMNS) * (width + GAP), Math.floor(k / COLUMNS) * (height + GAP)));
  save(canvas, `seeds-${shown[0].seed}-${shown.at(-1).seed}.png`);
}

function save(canvas, name) {
  canvas.toBlob((blob) => {
    const link = make("a", { href: URL.createObjectURL(blob), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  });
}

await painted();
start().catch((error) => {
  say("loading", "");
  say("error", error.message ?? String(error));
});
