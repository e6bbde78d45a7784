/* Where an answer comes from, over the photograph: {figures, caption} of what a method found. */

import { $, draw, make } from "./dom.js";

const BOXES = ["#1f77b4", "#17becf", "#ff7f0e", "#d62728"]; // the last one is the leaf's
const FAINT = 0.25; // of attention: smaller differences from the mean are drawn paler

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
function panel(image, view, caption, description, layers, gray = true) {
  const [top, left, bottom, right] = view;
  const [width, height] = [right - left, bottom - top];
  const pad = 0.01 * Math.max(width, height);
  const viewBox = [left - pad, top - pad, width + 2 * pad, height + 2 * pad].join(" ");
  const scale = $("photo").naturalWidth / image.width; // the picture may be smaller than the file
  // Never larger than a screen shows.
  const size = Math.min(scale, 1024 / Math.max(width, height));
  const canvas = make("canvas", { width: Math.max(1, Math.round(width * size)), height: Math.max(1, Math.round(height * size)) });
  canvas.getContext("2d").drawImage($("photo"), left * scale, top * scale, width * scale, height * scale, 0, 0, canvas.width, canvas.height);
  const place = { x: left, y: top, width, height, preserveAspectRatio: "none" };
  const photo = draw("image", { href: canvas.toDataURL("image/jpeg", 0.9), ...place });
  if (Math.max(width, height) < 128) photo.setAttribute("image-rendering", "pixelated");
  if (gray) photo.style.filter = "grayscale(1)";
  const figure = make("figure", {}, draw("svg", { viewBox, role: "img", "aria-label": description }, photo, ...layers));
  if (caption) figure.append(make("figcaption", {}, caption));
  return figure;
}

const strongest = (map) => Math.max(...map.flat().map(Math.abs));

/** Where in the image a box lies, in words for those who do not see it. */
function whereabouts([top, left, bottom, right], [y0, x0, y1, x1]) {
  const third = (low, high, from, to) => Math.min(2, Math.max(0, Math.floor((3 * ((low + high) / 2 - from)) / (to - from))));
  const row = ["upper", "middle", "lower"][third(top, bottom, y0, y1)];
  const column = ["left", "middle", "right"][third(left, right, x0, x1)];
  return row === column ? "middle" : `${row} ${column}`;
}

function drawActivation(image, found, label) {
  const peak = found.box ? [box(found.box, "#fff"), box(found.box, "#000", { "stroke-width": 1 })] : [];
  const place = found.box ? `The frame is where most does, in the ${whereabouts(found.box, found.view)} (${found.clarity}).` : "No place stands out.";
  const caption = ["Red speaks for ", make("bdi", {}, label), `, blue against it. ${place}`];
  const layers = [heat(found.map, found.view, strongest(found.map)), ...peak];
  return { figures: [panel(image, found.view, "", `Heat map of ${label}. ${place}`, layers)], caption };
}

function drawAttention(image, found) {
  const captions = [];
  const figures = found.maps.map((map, number) => {
    const values = map.flat();
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const above = map.map((row) => row.map((value) => value / mean - 1));
    const name = found.maps.length > 1 ? `level ${number + 1}` : "";
    captions.push(`${name || "at most"} ±${(100 * strongest(above)).toFixed(0)} %`);
    return panel(image, found.view, name, `Attention, ${name}`, [heat(above, found.view, Math.max(strongest(above), FAINT))]);
  });
  const caption = `Red is attended to more than on average, blue less (${captions.join(", ")}). It is the same for all classes.`;
  return { figures, caption: [caption] };
}

function drawPath(image, found, label) {
  const { levels } = found;
  const path = levels.filter((level) => level.decided);
  const color = (number) => (number === levels.length - 1 ? BOXES[3] : BOXES[Math.min(number, 2)]);
  const [top, left, bottom, right] = path.length ? path[path.length - 1].box : found.view;
  const [y0, x0, y1, x1] = found.view;
  const around = `M${x0} ${y0}H${x1}V${y1}H${x0}ZM${left} ${top}V${bottom}H${right}V${top}Z`;
  const shade = draw("path", { d: around, fill: "#000", "fill-opacity": 0.45, "fill-rule": "evenodd" });
  const boxes = path.map((level, number) => box(level.box, color(number)));
  const steps = path.map((level, number) => {
    const what = number === levels.length - 1 ? "leaf" : `level ${levels.length - number}`;
    const key = make("span", { class: "key" });
    key.style.background = color(number);
    const last = number === path.length - 1 && !found.decided;
    const margin = "margin" in level ? `, margin ${(100 * level.margin).toFixed(0)} %` : "";
    return make("span", { class: "step" }, key, `${what}${margin}${last ? ": no quarter stands out, the path ends here" : ""}`);
  });
  const end = found.decided ? "From all that the model sees down NesT's tree, always into the quarter that speaks most for the class." : "";
  return { figures: [panel(image, found.view, "", `The path of boxes for ${label}`, [shade, ...boxes], false)], caption: [...steps, end] };
}

/** By the names of the methods; of an image {width, height} that is shown, what was found, and the name of the class. */
export const DRAWINGS = { gradcat: drawPath, attention: drawAttention, cam: drawActivation };
