/* Comparison with images of good parts: the arithmetic of edgezsad/references.py, without rotated references.

   `method` holds that module's constants; files.json brings them. */

import { toHalf } from "./onnx.js";

/* What the graph says of an image, ready to be compared.

   patches: Float32Array (channels * cells), plane after plane. map, own: Float32Array (cells).
   Returns {patches (cells * channels), offset, length, own, nearest}; `nearest` maps other images to the similarity of
   each patch to that image's most similar one. */
export const description = (patches, map, own, { MAP_WEIGHT }) => {
  const cells = own.length;
  const channels = patches.length / cells;
  const rows = new Float32Array(patches.length);
  const offset = new Float32Array(cells);
  const length = new Float32Array(cells);
  for (let cell = 0; cell < cells; cell++) {
    let squared = 0;
    for (let channel = 0; channel < channels; channel++) {
      const value = patches[channel * cells + cell];
      rows[cell * channels + channel] = value;
      squared += value * value;
    }
    offset[cell] = MAP_WEIGHT * map[cell] - squared;
    length[cell] = squared + MAP_WEIGHT * map[cell];
  }
  return { patches: rows, offset, length, map: Float32Array.from(map), own: Float32Array.from(own), nearest: new Map() };
};

/* Compares two images, both ways: a matrix product, and the maxima of its rows and columns. */
export const compare = (one, other) => {
  const cells = one.own.length;
  const channels = one.patches.length / cells;
  const [left, right] = [one.patches, other.patches];
  const forth = new Float32Array(cells).fill(-Infinity);
  const back = new Float32Array(cells).fill(-Infinity);
  for (let row = 0; row < cells; row++) {
    for (let column = 0; column < cells; column++) {
      // Four sums, of every fourth channel each: a processor adds them at the same time.
      let first = 0, second = 0, third = 0, fourth = 0;
      let to = column * channels;
      for (let from = row * channels; from < (row + 1) * channels; from += 4, to += 4) {
        first += left[from] * right[to];
        second += left[from + 1] * right[to + 1];
        third += left[from + 2] * right[to + 2];
        fourth += left[from + 3] * right[to + 3];
      }
      const product = first + second + third + fourth;
      forth[row] = Math.max(forth[row], 2 * product + other.offset[column]);
      back[column] = Math.max(back[column], 2 * product + one.offset[row]);
    }
  }
  one.nearest.set(other, forth);
  other.nearest.set(one, back);
};

const scoreOf = (distances, { PEAK_CELLS }) => {
  const highest = Float32Array.from(distances).sort().subarray(-PEAK_CELLS);
  return highest.reduce((sum, value) => sum + value, 0) / PEAK_CELLS;
};

/* The score of each image against all others, before it is scaled; empty for a single one. */
const leaveOneOut = (images, method) =>
  images.length < 2
    ? []
    : images.map((image) => {
        const others = images.filter((other) => other !== image).map((other) => image.nearest.get(other));
        return scoreOf(
          image.own.map((own, cell) => {
            const nearest = Math.max(...others.map((similarity) => similarity[cell]));
            return Math.sqrt(Math.max(image.length[cell] - nearest, method.SMALLEST)) + method.OWN_WEIGHT * own;
          }),
          method,
        );
      });

/* Which patches are kept, as [image, cell]: all, or the `MOST_PATCHES` that differ most from patches of earlier images.

   Only nine or ten images have more. The library chooses by another rule; what is left out has a near match either way. */
const chosenPatches = (images, { MOST_PATCHES }) => {
  const all = images.flatMap((image, number) => {
    const earlier = images.slice(0, number).map((other) => image.nearest.get(other));
    return Array.from(image.own, (_, cell) => {
      const nearest = Math.max(...earlier.map((similarity) => similarity[cell]));
      return { image, cell, distance: image.length[cell] - nearest };
    });
  });
  if (all.length <= MOST_PATCHES) return all;
  return all.sort((a, b) => b.distance - a.distance).slice(0, MOST_PATCHES);
};

/* The next FP32 number: an image is defective from the threshold on, and the highest good score must be below it. */
const justAbove = (value) => {
  const number = new Float32Array([value]);
  const bits = new Int32Array(number.buffer);
  if (number[0] === 0) return 2 ** -149;
  bits[0] += number[0] > 0 ? 1 : -1;
  return number[0];
};

const constant = (value) => ({ type: "float32", dims: [1, 1, 1, 1], data: new Float32Array([value]) });

/* Tensors with which the graph describes images and compares them with nothing. */
export const placeholder = (channels) => ({
  "bank.fp16": { type: "float16", dims: [1, channels, 1, 1], data: new Uint16Array(channels) },
  offset: { type: "float32", dims: [1], data: new Float32Array(1) },
  scale: constant(1),
  shift: constant(0),
});

/* What a part's detector consists of: {tensors, scores (of the good images, left out one by one), threshold}.

   images: descriptions, all compared with one another. The threshold is that of `edgezsad adapt`, null for one image. */
export const adapted = (images, method) => {
  const { GAIN, MAP_WEIGHT, OWN_WEIGHT } = method;
  const leftOut = leaveOneOut(images, method);
  // One image has nothing to be compared with but itself.
  const level = leftOut.length
    ? leftOut.reduce((sum, score) => sum + score, 0) / leftOut.length
    : scoreOf(images[0].own.map((own) => (1 + OWN_WEIGHT) * own), method);
  const scores = leftOut.map((score) => GAIN * (score / level - 1));
  const kept = chosenPatches(images, method);
  const channels = images[0].patches.length / images[0].own.length;
  const bank = new Float32Array(kept.length * channels);
  kept.forEach(({ image, cell }, row) => {
    for (let channel = 0; channel < channels; channel++)
      bank[row * channels + channel] = 2 * image.patches[cell * channels + channel];
  });
  const { bits, rounded } = toHalf(bank);
  // Of the rounded patches, or an image would not be at distance zero from itself.
  const offset = Float32Array.from(kept, ({ image, cell }, row) => {
    let squared = 0;
    for (let at = row * channels; at < (row + 1) * channels; at++) squared += (rounded[at] / 2) ** 2;
    return MAP_WEIGHT * image.map[cell] - squared;
  });
  return {
    tensors: {
      "bank.fp16": { type: "float16", dims: [kept.length, channels, 1, 1], data: bits },
      offset: { type: "float32", dims: [kept.length], data: offset },
      scale: constant(GAIN / level),
      shift: constant(-GAIN),
    },
    scores,
    threshold: scores.length ? justAbove(Math.max(...scores)) : null,
  };
};
