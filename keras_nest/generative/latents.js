/* Noise of seeds, what lies between two, and the pixels of what a generator draws from it. */

/** Numbers in (0, 1] that a whole number stands for (mulberry32). */
function numbersOf(seed) {
  let state = Math.imul(seed ^ (seed >>> 15), 0x2c1b3c6d) >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (((mixed ^ (mixed >>> 14)) >>> 0) + 1) / 2 ** 32;
  };
}

/** Standard normal noise of a seed, Float32Array (length,), by Box and Muller. */
export function noiseOf(seed, length) {
  const next = numbersOf(seed);
  return Float32Array.from({ length }, () => Math.sqrt(-2 * Math.log(next())) * Math.cos(2 * Math.PI * next()));
}

/** A share of the way from one noise to another, along the arc: the middle of a line is no noise that a model knows. */
export function between(first, second, share) {
  const dot = (a, b) => a.reduce((sum, value, k) => sum + value * b[k], 0);
  const lengths = Math.sqrt(dot(first, first) * dot(second, second));
  const angle = lengths ? Math.acos(Math.min(1, Math.max(-1, dot(first, second) / lengths))) : 0;
  const sine = Math.sin(angle);
  const [a, b] = sine > 1e-6 ? [Math.sin((1 - share) * angle) / sine, Math.sin(share * angle) / sine] : [1 - share, share];
  return first.map((value, k) => a * value + b * second[k]);
}

/** Pixels RGBA of what was drawn, in (-1, 1) and gray or in color. */
export function pixelsOf(drawn, channels) {
  const pixels = new Uint8ClampedArray((4 * drawn.length) / channels);
  const level = (value) => (Math.min(1, Math.max(-1, value)) + 1) * 127.5; // which is rounded there
  for (let k = 0; k < pixels.length; k += 4) {
    for (let channel = 0; channel < 3; channel++) pixels[k + channel] = level(drawn[(k / 4) * channels + (channel % channels)]);
    pixels[k + 3] = 255;
  }
  return pixels;
}
