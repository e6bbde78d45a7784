/*
 * What a model sees of an image: resized, cropped, in [0, 1], as keras_nest.EvalPreprocessing does it; the
 * normalization is inside the network.
 *
 * A specification is {size: [h, w], resized: [h, w], interpolation, stretch, truncate, pillow, channels}: the fields of
 * a PreprocessingSpec, the size of the network's input, and PreprocessingSpec.resized of it. An image is {width,
 * height, read(left, top, width, height) -> RGBA bytes of that part}.
 */

const LONGEST = 32; // times what the crop sees of a strip
const BAND = 256; // rows that are read at a time
const LUMA = [0.299, 0.587, 0.114].map(Math.fround); // ITU-R BT.601

/** To the nearest whole number, halves to the even one, as Python and TensorFlow round. */
function round(x) {
  const below = Math.floor(x);
  const rest = x - below;
  if (rest !== 0.5) return rest < 0.5 ? below : below + 1;
  return below % 2 ? below + 1 : below;
}

/** As PreprocessingSpec.geometry: the size to which an image is resized, and where the crop begins in it. */
export function geometry(spec, sides) {
  const { size, pillow, stretch } = spec;
  let resized = spec.resized;
  if (pillow) {
    if (!stretch && size[0] === size[1]) resized = sides.map((side, axis) => Math.floor((resized[axis] * side) / Math.min(...sides)));
    else if (!stretch) resized = sides.map((side) => round(side / Math.min(...sides.map((each, axis) => each / spec.resized[axis]))));
    return { resized, corner: resized.map((side, axis) => round((side - size[axis]) / 2)) };
  }
  if (!stretch) {
    // In float32, as the reference; sides of half a pixel then round the same way.
    const ratio = Math.max(...sides.map((side, axis) => Math.fround(resized[axis] / side)));
    resized = sides.map((side) => round(Math.fround(side * ratio)));
  }
  return { resized, corner: resized.map((side, axis) => Math.floor((side - size[axis]) / 2)) };
}

/** Of a strip the middle part, which alone can be seen, as EvalPreprocessing cuts it: {top, left, height, width}. */
function middle(spec, sides) {
  if (spec.stretch) return { corner: [0, 0], sides };
  const ratios = sides.map((side, axis) => side / spec.resized[axis]);
  const short = Math.max(sides[ratios[1] < ratios[0] ? 1 : 0], 1);
  const cut = sides.map((side, axis) => {
    const seen = Math.min(...ratios) * spec.resized[axis];
    return Math.floor(Math.max(side - Math.trunc(LONGEST * seen), 0) / (2 * short)) * short;
  });
  return { corner: cut, sides: sides.map((side, axis) => side - 2 * cut[axis]) };
}

const KERNELS = {
  bilinear: { radius: 1, weight: (x) => Math.max(0, 1 - x) },
  bicubic: {
    radius: 2, // Keys' kernel, a = -0.5
    weight: (x) => (x >= 2 ? 0 : x >= 1 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : (1.5 * x - 2.5) * x * x + 1),
  },
};

/**
 * Of each place of a resized side, from `begin` on and `count` of them, the first place of the original that it sees and
 * the weights of those from there on: as tf.image.resize, with antialiasing where it is asked for.
 */
function spans(length, resized, begin, count, interpolation, antialias) {
  const { radius, weight } = KERNELS[interpolation];
  const scale = length / resized;
  const spread = antialias ? Math.max(scale, 1) : 1;
  return Array.from({ length: count }, (_, index) => {
    const center = (begin + index + 0.5) * scale;
    const first = Math.max(0, Math.ceil(center - radius * spread - 0.5));
    const last = Math.min(length - 1, Math.floor(center + radius * spread - 0.5));
    const weights = [];
    for (let place = first; place <= last; place++) weights.push(weight(Math.abs(place + 0.5 - center) / spread));
    const sum = weights.reduce((total, each) => total + each, 0);
    return { first, weights: weights.map((each) => each / sum) };
  });
}

const reach = (all) => [Math.min(...all.map((span) => span.first)), Math.max(...all.map((span) => span.first + span.weights.length))];
const level = (x) => Math.min(255, Math.max(0, Math.floor(x + 0.5)));

/** Levels of 0..255 of the input, (h, w, channels). */
function fit(image, spec) {
  const { size, channels, pillow, interpolation } = spec;
  const part = middle(spec, [image.height, image.width]);
  const { resized, corner } = geometry(spec, part.sides);
  const [rows, columns] = [0, 1].map((axis) => spans(part.sides[axis], resized[axis], corner[axis], size[axis], interpolation, pillow));
  const [[top, bottom], [left, right]] = [reach(rows), reach(columns)];
  const narrow = new Float32Array((bottom - top) * size[1] * channels);
  for (let start = top; start < bottom; start += BAND) {
    const height = Math.min(BAND, bottom - start);
    const pixels = image.read(part.corner[1] + left, part.corner[0] + start, right - left, height);
    const target = narrow.subarray((start - top) * size[1] * channels);
    along(channels === 1 ? gray(pixels) : pixels, right - left, height, columns, left, channels, pillow, target);
  }
  const out = new Float32Array(size[0] * size[1] * channels);
  const row = size[1] * channels;
  rows.forEach(({ first, weights }, y) => {
    for (let x = 0; x < row; x++) {
      let sum = 0;
      for (let k = 0; k < weights.length; k++) sum += weights[k] * narrow[(first - top + k) * row + x];
      out[y * row + x] = pillow ? level(sum) : sum;
    }
  });
  return out;
}

/** Resizes rows of RGBA (or of gray in its first byte) along their length. */
function along(pixels, width, height, columns, left, channels, pillow, target) {
  let place = 0;
  for (let y = 0; y < height; y++)
    for (const { first, weights } of columns)
      for (let channel = 0; channel < channels; channel++) {
        let sum = 0;
        let from = 4 * (y * width + first - left) + channel;
        for (let k = 0; k < weights.length; k++, from += 4) sum += weights[k] * pixels[from];
        target[place++] = pillow ? level(sum) : sum;
      }
}

/** In float32, so that halves are rounded the same way. */
function gray(pixels) {
  for (let k = 0; k < pixels.length; k += 4) {
    const [red, green, blue] = LUMA.map((share, channel) => Math.fround(share * pixels[k + channel]));
    pixels[k] = round(Math.fround(Math.fround(red + green) + blue));
  }
  return pixels;
}

/** The network's input, float32 (h, w, channels) in [0, 1]. */
export function prepare(image, spec) {
  const levels = fit(image, spec);
  for (let k = 0; k < levels.length; k++) levels[k] = (spec.truncate ? Math.floor(levels[k]) : levels[k]) / 255;
  return levels;
}

/** A box [top, left, bottom, right] in pixels of the input, in whole pixels of the image. */
export function toImage(spec, image, box) {
  const sides = [image.height, image.width];
  const { resized, corner } = geometry(spec, sides);
  return box.map((place, index) => round(((place + corner[index % 2]) * sides[index % 2]) / resized[index % 2]));
}
