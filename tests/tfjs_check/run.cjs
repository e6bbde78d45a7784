// Loads what the converter wrote and compares with the Keras model: node run.cjs FOLDER, with FOLDER/tfjs and case.json.
const fs = require("fs");
const path = require("path");
const tf = require("@tensorflow/tfjs");

const folder = process.argv[2];
const read = (...parts) => JSON.parse(fs.readFileSync(path.join(folder, ...parts), "utf8"));

function handler() {
  const model = read("tfjs", "model.json");
  const weights = Buffer.concat(
    model.weightsManifest.flatMap((group) => group.paths.map((name) => fs.readFileSync(path.join(folder, "tfjs", name)))),
  );
  return {
    load: async () => ({
      modelTopology: model.modelTopology,
      weightSpecs: model.weightsManifest.flatMap((group) => group.weights),
      weightData: weights.buffer.slice(weights.byteOffset, weights.byteOffset + weights.length),
      signature: model.signature,
      format: model.format,
    }),
  };
}

async function main() {
  await tf.setBackend("cpu");
  const model = await tf.loadGraphModel(handler());
  const { shape, levels, logits } = read("case.json");
  const images = tf.tensor(levels, shape).div(255);
  // Not predict: the checks of the values are control flow.
  const outputs = await model.executeAsync({ images });
  const gaps = outputs
    .filter((output) => output.size === logits.length && output.dtype === "float32")
    .map((output) => Math.max(...output.dataSync().map((value, index) => Math.abs(value - logits[index]))));
  const gap = Math.min(...gaps);
  console.log(`TensorFlow.js ${tf.version.tfjs}: largest difference of a logit ${gap.toExponential(1)}`);
  if (!(gap < 1e-5)) process.exit(1);
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
