/* Comparison with images of good parts: the arithmetic of edgezsad/references.py, without rotated references.

   `method` holds constants of that module and of edgezsad/metrics/calibration.py; files.json brings them. */

import { toHalf } from "./onnx.js";

const DIMENSIONS = 64;
// Of the standard normal distribution, for 5% of false alarms.
const QUANTILE = 1.6448536269514722;

/* A fixed pseudo-random projection of so many channels, plane after plane. */
const projection = (channels) =>
  Float32Array.from({ length: channels * DIMENSIONS }, (_, at) => {
    const [row, column] = [Math.floor(at / DIMENSIONS), at % DIMENSIONS];
    return (((row * 7919 + column * 104729 + 12345) ** 2) % 65521) / 65521 - 0.5;
  });

/* What the graph says of an image, ready to be compared.

   patches: Float32Array (channels * cells), plane after plane. map, own: Float32Array (cells).
   Returns {patches (cells * channels), points (cells * DIMENSIONS: the patches' projections), length, map, own}. */
export const description = (patches, map, own, { MAP_WEIGHT }) => {
  const cells = own.length;
  const channels = patches.length / cells;
  const rows = new Float32Array(patches.length);
  const points = new Float32Array(cells * DIMENSIONS);
  const length = new Float32Array(cells);
  const weights = projection(channels);
  for (let cell = 0; cell < cells; cell++) {
    let squared = 0;
    const point = new Float64Array(DIMENSIONS);
    for (let channel = 0; channel < channels; channel++) {
      const value = patches[channel * cells + cell];
      rows[cell * channels + channel] = value;
      squared += value * value;
      for (let axis = 0; axis < DIMENSIONS; axis++) point[axis] += value * weights[channel * DIMENSIONS + axis];
    }
    points.set(point, cell * DIMENSIONS);
    length[cell] = squared + MAP_WEIGHT * map[cell];
  }
  return { patches: rows, points, length, map, own };
};

/* Rows of points, each farthest from those chosen before. */
const farthestPoints = (points, count) => {
  const rows = points.length / DIMENSIONS;
  const mean = new Float64Array(DIMENSIONS);
  points.forEach((value, at) => {
    mean[at % DIMENSIONS] += value / rows;
  });
  const nearest = new Float32Array(rows).fill(Infinity);
  // The row that is farthest of all, after the distances to another point were taken into account.
  const farthestFrom = (point, from) => {
    let best = 0;
    for (let row = 0; row < rows; row++) {
      let squared = 0;
      let to = from;
      // A sum that exceeds the least one so far need not be completed.
      for (let at = row * DIMENSIONS; at < (row + 1) * DIMENSIONS && squared < nearest[row]; at += 4, to += 4)
        squared +=
          (points[at] - point[to]) ** 2 +
          (points[at + 1] - point[to + 1]) ** 2 +
          (points[at + 2] - point[to + 2]) ** 2 +
          (points[at + 3] - point[to + 3]) ** 2;
      if (squared < nearest[row]) nearest[row] = squared;
      if (nearest[row] > nearest[best]) best = row;
    }
    return best;
  };
  const chosen = [farthestFrom(mean, 0)];
  nearest.fill(Infinity);
  while (chosen.length < count) chosen.push(farthestFrom(points, chosen.at(-1) * DIMENSIONS));
  return chosen;
};

/* At most `MOST_PATCHES` patches of images as weights and biases of the graph, FP16 and FP32. */
const selectPatches = (images, { MAP_WEIGHT, MOST_PATCHES }) => {
  const cells = images[0].own.length;
  const channels = images[0].patches.length / cells;
  const points = new Float32Array(images.length * cells * DIMENSIONS);
  images.forEach((image, number) => points.set(image.points, number * image.points.length));
  const count = Math.min(images.length * cells, MOST_PATCHES);
  const rows = count < images.length * cells ? farthestPoints(points, count) : Array.from({ length: count }, (_, row) => row);
  const chosen = rows.map((row) => ({ image: images[Math.floor(row / cells)], cell: row % cells }));
  const bank = new Float32Array(count * channels);
  chosen.forEach(({ image, cell }, row) => {
    const patch = image.patches.subarray(cell * channels, (cell + 1) * channels);
    bank.set(patch.map((value) => 2 * value), row * channels);
  });
  const { bits, rounded } = toHalf(bank);
  // Of the rounded patches, or an image would not be at distance zero from itself.
  const offset = Float32Array.from(chosen, ({ image, cell }, row) => {
    let squared = 0;
    for (let at = row * channels; at < (row + 1) * channels; at++) squared += (rounded[at] / 2) ** 2;
    return MAP_WEIGHT * image.map[cell] - squared;
  });
  return { bits, rounded, offset, channels };
};

const scoreOf = (distances, { PEAK_CELLS }) => {
  const highest = Float32Array.from(distances).sort().subarray(-PEAK_CELLS);
  return highest.reduce((sum, value) => sum + value, 0) / PEAK_CELLS;
};

/* The score of an image against patches of others, before it is scaled. */
const compareWith = ({ patches, length, own }, { rounded, offset, channels }, method) => {
  const nearest = new Float32Array(own.length).fill(-Infinity);
  // Four patches at a time: the weights need not be read for each.
  for (let cell = 0; cell < own.length; cell += 4)
    for (let row = 0, at = 0; row < offset.length; row++) {
      let first = offset[row], second = first, third = first, fourth = first;
      for (let from = cell * channels; from < (cell + 1) * channels; from++, at++) {
        const weight = rounded[at];
        first += patches[from] * weight;
        second += patches[from + channels] * weight;
        third += patches[from + 2 * channels] * weight;
        fourth += patches[from + 3 * channels] * weight;
      }
      if (first > nearest[cell]) nearest[cell] = first;
      if (second > nearest[cell + 1]) nearest[cell + 1] = second;
      if (third > nearest[cell + 2]) nearest[cell + 2] = third;
      if (fourth > nearest[cell + 3]) nearest[cell + 3] = fourth;
    }
  const distances = own.map(
    (value, cell) => Math.sqrt(Math.max(length[cell] - nearest[cell], method.SMALLEST)) + method.OWN_WEIGHT * value,
  );
  return scoreOf(distances, method);
};

/* The threshold that edgezsad/metrics/calibration.py estimates from few scores. */
const estimate = (scores, { USUAL_DEVIATION, PRIOR_SCORES, TIGHTER }) => {
  const logs = scores.map(Math.log);
  const mean = logs.reduce((sum, value) => sum + value, 0) / logs.length;
  const squared = logs.reduce((sum, value) => sum + (value - mean) ** 2, PRIOR_SCORES * USUAL_DEVIATION ** 2);
  return Math.exp(mean + TIGHTER * QUANTILE * Math.sqrt(squared / (logs.length - 1 + PRIOR_SCORES)));
};

const constant = (value) => ({ type: "float32", dims: [1, 1, 1, 1], data: new Float32Array([value]) });

/* Tensors with which the graph describes images and compares them with nothing. */
export const placeholder = (channels) => ({
  "bank.fp16": { type: "float16", dims: [1, channels, 1, 1], data: new Uint16Array(channels) },
  offset: { type: "float32", dims: [1], data: new Float32Array(1) },
  scale: constant(1),
  shift: constant(0),
});

/* What a part's detector consists of: {tensors, scores (of the good images, left out one by one), unlike (whether each
   resembles the others much less than they one another), threshold}.

   The threshold is that of `edgezsad adapt`, null for one image. */
export const adapted = (images, method) => {
  const others = images.map((image) => images.filter((other) => other !== image));
  const leftOut =
    images.length < 2 ? [] : images.map((image, row) => compareWith(image, selectPatches(others[row], method), method));
  // One image has nothing to be compared with but itself.
  const level = leftOut.length
    ? leftOut.reduce((sum, score) => sum + score, 0) / leftOut.length
    : scoreOf(images[0].own.map((own) => (1 + method.OWN_WEIGHT) * own), method);
  const rescale = (score) => method.GAIN * (score / level - 1);
  const withoutIt = (score) => (leftOut.length * level - score) / (leftOut.length - 1);
  const { bits, offset, channels } = selectPatches(images, method);
  return {
    tensors: {
      "bank.fp16": { type: "float16", dims: [offset.length, channels, 1, 1], data: bits },
      offset: { type: "float32", dims: [offset.length], data: offset },
      scale: constant(method.GAIN / level),
      shift: constant(-method.GAIN),
    },
    scores: leftOut.map(rescale),
    unlike: leftOut.map((score) => method.GAIN * (score / withoutIt(score) - 1) > method.OUTLIER),
    threshold: leftOut.length ? rescale(estimate(leftOut, method)) : null,
  };
};
