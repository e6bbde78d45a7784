/*
 * Answers the page's requests: from what it kept, so that the page works offline; else from the server, or where LiteRT.js
 * is not there, from the address where it lies, if its checksum is right. Before this stands `const SITE`: {version,
 * files: what is kept at once, later: what is kept when the page has fetched it, remote: {path: {address, integrity}}}.
 */

const CACHE = `keras-nest ${registration.scope} `;
const CURRENT = CACHE + SITE.version;
// With these a page may have threads.
const HEADERS = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cross-Origin-Resource-Policy": "same-origin",
};
const KNOWN = new Set([...SITE.files, ...SITE.later]);
const TYPES = { js: "text/javascript", wasm: "application/wasm" };

self.addEventListener("install", (event) => {
  // Not from the browser's own cache, which may hold files of an earlier version.
  const fresh = SITE.files.map((file) => new Request(file, { cache: "no-cache" }));
  event.waitUntil(caches.open(CURRENT).then((cache) => cache.addAll(fresh)));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(removeOthers().then(() => self.clients.claim()));
});

self.addEventListener("message", (event) => {
  if (event.data === "claim") event.waitUntil(self.clients.claim());
  if (event.data === "replace") self.skipWaiting();
});

async function removeOthers() {
  const old = (await caches.keys()).filter((name) => name.startsWith(CACHE) && name !== CURRENT);
  await Promise.all(old.map((name) => caches.delete(name)));
}

self.addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  if (method !== "GET" || !url.startsWith(registration.scope)) return;
  const path = url.slice(registration.scope.length).split(/[?#]/)[0];
  // The folder's address stands for the page; all else that may lie there is none of this.
  const file = path === "index.html" || path === "" ? "./" : path;
  if (KNOWN.has(file)) event.respondWith(answer(event, file));
});

async function answer(event, path) {
  const cache = await caches.open(CURRENT);
  const key = new URL(path, registration.scope).href;
  const kept = await cache.match(key);
  if (kept) return isolated(kept);
  const found = await get(path);
  if (found.status === 200) event.waitUntil(cache.put(key, found.clone()).catch(() => {})); // the disk may be full
  return isolated(found);
}

async function get(path) {
  const remote = SITE.remote[path];
  if (!remote) return fetch(new URL(path, registration.scope), { cache: "no-cache" });
  const { body, status } = await fetch(remote.address, { integrity: remote.integrity, mode: "cors", credentials: "omit" });
  return new Response(body, { status, headers: { "Content-Type": TYPES[path.split(".").pop()] } });
}

function isolated(found) {
  if (found.type === "opaqueredirect" || found.status === 0) return found;
  const headers = new Headers(found.headers);
  for (const [name, value] of Object.entries(HEADERS)) headers.set(name, value);
  return new Response(found.body, { status: found.status, statusText: found.statusText, headers });
}
