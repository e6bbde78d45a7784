/* Answers of the server, see page.js. */

async function ask(path, query, body) {
  try {
    const reply = await fetch(`${path}?${new URLSearchParams(query)}`, { method: "POST", body });
    return await reply.json();
  } catch {
    return { error: "The program does not answer; is it still running?" };
  }
}

export async function start() {
  return (await fetch("model")).json();
}

export function predict({ file, name }, labels) {
  return ask("predict", [["name", name], ...labels.map((text) => ["labels", text])], file);
}

export function explain({ file, name }, method, index) {
  return ask("explain", { method, class: index, name }, file);
}

export function example(number) {
  return { small: `examples/${number}`, whole: `examples/${number}?whole` };
}
