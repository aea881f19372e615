/* The library's preprocessing (edgezsad/data/images.py), once more for the page: RGB over white, turned upright, resized
   to a square by Pillow's bilinear filter, 0 to 255 as float32 in planes.

   A canvas scales in a way that no standard fixes, so the arithmetic is written out. It follows what Pillow documents
   of its filter and repeats its fixed-point numbers, so that equal pixels in are equal pixels out: weights of a
   triangle as wide as the reduction, rounded to 22 bits, rows before columns, each rounded to 8 bits. */

const PRECISION = 22;
const ROUND = 2 ** (PRECISION - 1);
// Rows that are taken from a decoded photograph at a time: a large one whole would take its memory twice.
const BAND = 128;

/* For each of `to` pixels: the first of `from` that counts, how many do, and their weights. */
export const weights = (from, to) => {
  const scale = from / to;
  const reach = Math.max(scale, 1);
  const most = Math.ceil(reach) * 2 + 1;
  const firsts = new Int32Array(to);
  const counts = new Int32Array(to);
  const values = new Int32Array(to * most);
  for (let pixel = 0; pixel < to; pixel++) {
    const centre = (pixel + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - reach + 0.5), 0);
    const count = Math.min(Math.trunc(centre + reach + 0.5), from) - first;
    const shares = [];
    let sum = 0;
    for (let index = 0; index < count; index++) {
      const share = Math.max(0, 1 - Math.abs((index + first - centre + 0.5) * (1 / reach)));
      shares.push(share);
      sum += share;
    }
    shares.forEach((share, index) => {
      values[pixel * most + index] = Math.trunc(0.5 + (share / sum) * 2 ** PRECISION);
    });
    firsts[pixel] = first;
    counts[pixel] = count;
  }
  return { firsts, counts, values, most };
};

/* Rows of RGBA, `rows` of them, each `width` long, to rows of RGB, each `size` long. */
const narrow = (pixels, rows, width, size, { firsts, counts, values, most }, out, offset) => {
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < size; column++) {
      let red = ROUND, green = ROUND, blue = ROUND;
      const at = 4 * (row * width + firsts[column]);
      for (let index = 0; index < counts[column]; index++) {
        const weight = values[column * most + index];
        red += pixels[at + 4 * index] * weight;
        green += pixels[at + 4 * index + 1] * weight;
        blue += pixels[at + 4 * index + 2] * weight;
      }
      const to = offset + 3 * (row * size + column);
      out[to] = red >> PRECISION;
      out[to + 1] = green >> PRECISION;
      out[to + 2] = blue >> PRECISION;
    }
  }
};

/* Columns: `height` rows of RGB to `size` rows. */
const shorten = (rows, size, { firsts, counts, values, most }) => {
  const length = 3 * size;
  const out = new Uint8Array(size * length);
  for (let row = 0; row < size; row++) {
    for (let place = 0; place < length; place++) {
      let sum = ROUND;
      for (let index = 0; index < counts[row]; index++)
        sum += rows[(firsts[row] + index) * length + place] * values[row * most + index];
      out[row * length + place] = sum >> PRECISION;
    }
  }
  return out;
};

/* A photograph as the square that is scored: Uint8Array (size, size, 3), RGB.

   image: ImageBitmap, upright.
   size: side of the square in pixels. */
export const square = (image, size) => {
  const { width, height } = image;
  const canvas = new OffscreenCanvas(width, Math.min(BAND, height));
  const context = canvas.getContext("2d", { willReadFrequently: true, colorSpace: "srgb" });
  context.imageSmoothingEnabled = false;
  const across = weights(width, size);
  const narrowed = new Uint8Array(height * size * 3);
  for (let top = 0; top < height; top += BAND) {
    const rows = Math.min(BAND, height - top);
    // What is transparent lies over white.
    context.fillStyle = "white";
    context.fillRect(0, 0, width, rows);
    context.drawImage(image, 0, top, width, rows, 0, 0, width, rows);
    const pixels = context.getImageData(0, 0, width, rows).data;
    narrow(pixels, rows, width, size, across, narrowed, 3 * top * size);
  }
  canvas.width = canvas.height = 0;
  return shorten(narrowed, size, weights(height, size));
};

// Of an orientation, what a canvas does to the pixels as they are stored: (x, y) to (a x + c y + e, b x + d y + f).
const TURNS = {
  2: (w) => [-1, 0, 0, 1, w, 0],
  3: (w, h) => [-1, 0, 0, -1, w, h],
  4: (w, h) => [1, 0, 0, -1, 0, h],
  5: () => [0, 1, 1, 0, 0, 0],
  6: (w, h) => [0, 1, -1, 0, h, 0],
  7: (w, h) => [0, -1, -1, 0, h, w],
  8: (w) => [0, -1, 1, 0, 0, w],
};

/* A photograph (see photograph.js) as an upright ImageBitmap, pixel for pixel. Throws what the browser throws. */
export const decode = async ({ blob, turn }) => {
  const image = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "default" });
  if (!(turn in TURNS)) return image;
  const { width, height } = image;
  const canvas = turn >= 5 ? new OffscreenCanvas(height, width) : new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { colorSpace: "srgb" });
  context.imageSmoothingEnabled = false;
  context.setTransform(...TURNS[turn](width, height));
  context.drawImage(image, 0, 0);
  image.close();
  return canvas.transferToImageBitmap();
};

/* RGB (size, size, 3) as the graph takes it: Float32Array (1, 3, size, size), 0 to 255. */
export const planes = (pixels) => {
  const length = pixels.length / 3;
  const out = new Float32Array(3 * length);
  for (let pixel = 0; pixel < length; pixel++)
    for (let channel = 0; channel < 3; channel++) out[channel * length + pixel] = pixels[3 * pixel + channel];
  return out;
};
