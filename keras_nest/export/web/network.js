/* The networks of the page, computed by LiteRT.js on the best that the browser has. */

import { isWebGPUSupported, loadAndCompile, loadLiteRt, supportsFeature, Tensor, unloadLiteRt } from "@litertjs/core";

const WASM = "./litert/core/wasm/";

async function hasGpu() {
  if (!isWebGPUSupported()) return false;
  const adapter = await navigator.gpu.requestAdapter().catch(() => null);
  // A processor that plays a GPU is slower than WebAssembly.
  return Boolean(adapter) && !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter);
}

/** Ways to compute, the fastest first: {name, accelerator, load}. */
async function ways(wanted) {
  const threads = crossOriginIsolated && (await supportsFeature("relaxedSimd")) && (await supportsFeature("threads"));
  const jspi = (await supportsFeature("relaxedSimd")) && (await supportsFeature("jspi"));
  const all = [
    { name: "WebGPU", accelerator: "webgpu", load: { jspi }, there: wanted === "webgpu" || (await hasGpu()) },
    { name: "WebAssembly", accelerator: "wasm", load: { threads: true }, there: threads },
    { name: "WebAssembly", accelerator: "wasm", load: {}, there: true },
  ];
  return all.filter((way) => way.there && (!wanted || wanted === way.accelerator));
}

/** The bytes of a file; tell(share) says how much of it is there, in tenths. */
async function fetchFile({ file, bytes }, tell) {
  const answer = await fetch(file);
  if (!answer.ok) throw new Error(`${file} is not on the server (${answer.status}); put the whole folder there.`);
  const reader = answer.body.getReader();
  const parts = [];
  let there = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    there += value.length;
    tell(Math.min(1, Math.floor((10 * there) / bytes) / 10));
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/** Outputs by name, of inputs {name: [typed array, shape]}. */
async function run(compiled, inputs) {
  const tensors = Object.fromEntries(Object.entries(inputs).map(([name, [data, shape]]) => [name, new Tensor(data, shape)]));
  const outputs = await compiled.run(tensors);
  const found = {};
  for (const [name, tensor] of Object.entries(outputs)) {
    found[name] = { data: Float32Array.from(await tensor.data()), shape: [...tensor.type.layout.dimensions] };
    tensor.delete();
  }
  for (const tensor of Object.values(tensors)) if (!tensor.deleted) tensor.delete();
  return found;
}

/** The largest difference from what Python got for a test pattern; infinite if an answer is no number. */
async function difference(answer, facts) {
  const pattern = Float32Array.from({ length: facts.size[0] * facts.size[1] * facts.channels }, (_, k) => ((7 * k) % 256) / 255);
  const { data } = (await answer(pattern))[facts.output];
  return Math.max(...data.map((value, k) => (Number.isFinite(value) ? Math.abs(value - facts.check.scores[k]) : Infinity)));
}

async function compile(way, files, facts) {
  // What the runtime says about itself is no error, and goes where only those who look for it see it.
  globalThis.Module = { printErr: (line) => (/^(INFO|WARNING)|XNNPACK/.test(line) ? console.debug(line) : console.error(line)) };
  await loadLiteRt(WASM, way.load);
  const [network, explanation] = files;
  const options = { accelerator: way.accelerator, ...(way.accelerator === "webgpu" ? { gpuOptions: { precision: "fp32" } } : {}) };
  const compiled = await loadAndCompile(network, options);
  const explaining = explanation && (await loadAndCompile(explanation, { accelerator: "wasm" }));
  const { accelerator, cpuOptions } = compiled.options; // what it has become
  const threads = way.load.threads ? cpuOptions.numThreads : 1;
  const words = threads > 1 ? `${threads} threads` : "one thread";
  const shape = [1, ...facts.size, facts.channels];
  const count = facts.classes.length;
  return {
    backend: accelerator === "webgpu" ? "WebGPU" : `WebAssembly, ${words}`,
    answer: (images) => run(compiled, { images: [images, shape] }),
    explain: (evidence, index) => {
      const chosen = Float32Array.from({ length: count }, (_, k) => (k === index ? 1 : 0));
      return run(explaining, { evidence: [evidence.data, evidence.shape], chosen: [chosen, [1, count]] });
    },
  };
}

/**
 * Opens the networks: {backend, answer(images), explain(evidence, index)}.
 *
 * Each way to compute must give what Python gave; the first that does is taken.
 */
export async function open(facts, wanted, tell) {
  const parts = [facts.network, facts.explanation].filter(Boolean);
  const files = [];
  const megabytes = (bytes) => (bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0);
  for (const part of parts)
    files.push(await fetchFile(part, (share) => tell(`Loading the model: ${megabytes(share * part.bytes)} of ${megabytes(part.bytes)} MB`)));
  const reasons = [];
  for (const way of await ways(wanted)) {
    try {
      tell(`Starting ${way.name} …`);
      const opened = await compile(way, files, facts);
      const found = await difference(opened.answer, facts);
      if (found <= facts.check.tolerance) return opened;
      reasons.push(`${way.name}: its answers are ${found.toPrecision(2)} away from Python's`);
    } catch (error) {
      reasons.push(`${way.name}: ${error.message ?? error}`);
    }
    try {
      unloadLiteRt();
    } catch {
      break;
    }
  }
  throw new Error(`This browser cannot compute the model. ${reasons.join("; ") || `It has no ${wanted}`}.`);
}
