/* Short names for what the page does with its elements. */

const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

export function show(ids, shown = true) {
  for (const id of ids.split(" ")) $(id).hidden = !shown;
}

export function say(id, text) {
  $(id).textContent = text;
  $(id).hidden = !text;
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

export function make(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function draw(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}
