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

/** Values that Python's `check_pattern` has, too. */
const pattern = (shape) => Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, k) => ((7 * k) % 256) / 255);

/** The largest difference from what Python got, in terms of what it may be; infinite if an answer is no number. */
async function difference(compute, { network, inputs, output, values, tolerance }) {
  const given = {};
  for (const [name, { shape, type, values: told }] of Object.entries(inputs))
    given[name] = [told ? (type === "int32" ? Int32Array : Float32Array).from(told) : pattern(shape), shape];
  const { data } = (await compute(network, given))[output];
  return Math.max(...data.map((value, k) => (Number.isFinite(value) ? Math.abs(value - values[k]) : Infinity))) / tolerance;
}

async function compile(way, files) {
  // What the runtime says about itself is no error, and goes where only those who look for it see it.
  globalThis.Module = { printErr: (line) => (/^(INFO|WARNING)|XNNPACK/.test(line) ? console.debug(line) : console.error(line)) };
  await loadLiteRt(WASM, way.load);
  const compiled = {};
  let backend;
  for (const [name, { content, on_gpu: onGpu }] of Object.entries(files)) {
    const isGpu = way.accelerator === "webgpu" && onGpu;
    compiled[name] = await loadAndCompile(content, isGpu ? { accelerator: "webgpu", gpuOptions: { precision: "fp32" } } : { accelerator: "wasm" });
    const { accelerator, cpuOptions } = compiled[name].options; // what it has become
    const threads = way.load.threads ? cpuOptions.numThreads : 1;
    backend ??= accelerator === "webgpu" ? "WebGPU" : `WebAssembly, ${threads > 1 ? `${threads} threads` : "one thread"}`;
  }
  // One at a time: who asks need not wait for earlier answers.
  let last = Promise.resolve();
  const compute = (name, inputs) => {
    const answer = last.then(() => run(compiled[name], inputs));
    last = answer.catch(() => {});
    return answer;
  };
  return { backend, run: compute };
}

/**
 * Opens the networks of model.json: {backend, run(name, {input: [typed array, shape]}) -> {output: {data, shape}}}.
 *
 * Each way to compute must give what Python gave; the first that does is taken.
 */
export async function open(facts, wanted, tell) {
  const megabytes = (bytes) => (bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0);
  const files = {};
  for (const [name, part] of Object.entries(facts.networks)) {
    const progress = (share) => tell(`Loading the model: ${megabytes(share * part.bytes)} of ${megabytes(part.bytes)} MB`);
    files[name] = { ...part, content: await fetchFile(part, progress) };
  }
  const reasons = [];
  for (const way of await ways(wanted)) {
    try {
      tell(`Starting ${way.name} …`);
      const opened = await compile(way, files);
      let most = 0;
      for (const check of facts.checks) most = Math.max(most, await difference(opened.run, check));
      if (most <= 1) return opened;
      reasons.push(`${way.name}: its answers are ${most.toPrecision(2)} times as far from Python's as they may be`);
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
