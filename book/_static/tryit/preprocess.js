/* The library's preprocessing (edgezsad/data/images.py), once more for the page: RGB over white, turned upright, resized
   to a square by Pillow's bilinear filter, 0 to 255 as float32 in planes.

   A canvas scales in a way that no standard fixes, so the arithmetic is written out. It follows what Pillow documents
   of its filter and repeats its fixed-point numbers, so that equal pixels in are equal pixels out: weights of a
   triangle as wide as the reduction, rounded to 22 bits, one direction before the other, each rounded to 8 bits. */

const PRECISION = 22;
const ROUND = 2 ** (PRECISION - 1);
// Rows, or columns, that are taken from a decoded photograph at a time: one whole would take its memory twice.
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

/* Rows shorter: `rows` of them, each of `width` pixels of so many channels, to `size` pixels of RGB each.

   out: Uint8Array, written to from row `top` on. Whole numbers below 2 ** 31 throughout. */
const narrow = (pixels, channels, rows, width, size, { firsts, counts, values, most }, out, top) => {
  for (let row = 0; row < rows; row++) {
    let to = 3 * (top + row) * size;
    for (let column = 0; column < size; column++) {
      let red = ROUND, green = ROUND, blue = ROUND;
      let from = channels * (row * width + firsts[column]);
      const end = column * most + counts[column];
      for (let index = column * most; index < end; index++) {
        const weight = values[index];
        red = (red + Math.imul(pixels[from], weight)) | 0;
        green = (green + Math.imul(pixels[from + 1], weight)) | 0;
        blue = (blue + Math.imul(pixels[from + 2], weight)) | 0;
        from += channels;
      }
      out[to] = red >> PRECISION;
      out[to + 1] = green >> PRECISION;
      out[to + 2] = blue >> PRECISION;
      to += 3;
    }
  }
};

/* Columns shorter: `columns` of them, of so many channels, to `size` pixels of RGB each.

   out: Uint8Array of rows of `width` pixels, written to from column `left` on. */
const shorten = (pixels, channels, columns, size, { firsts, counts, values, most }, out, width, left) => {
  for (let row = 0; row < size; row++) {
    const end = row * most + counts[row];
    let to = 3 * (row * width + left);
    for (let column = 0; column < columns; column++) {
      let red = ROUND, green = ROUND, blue = ROUND;
      let from = channels * (firsts[row] * columns + column);
      for (let index = row * most; index < end; index++) {
        const weight = values[index];
        red = (red + Math.imul(pixels[from], weight)) | 0;
        green = (green + Math.imul(pixels[from + 1], weight)) | 0;
        blue = (blue + Math.imul(pixels[from + 2], weight)) | 0;
        from += channels * columns;
      }
      out[to] = red >> PRECISION;
      out[to + 1] = green >> PRECISION;
      out[to + 2] = blue >> PRECISION;
      to += 3;
    }
  }
};

/* Whether Pillow takes columns before rows, since version 13 (its pull request 9549): where the height shrinks by more
   than twice as many pixels as the width. The order shows, by one level here and there. */
const columnsFirst = (width, height, size) => height > size && height - size > 2 * (width - size);

/* A photograph as the square that is scored: Uint8Array (size, size, 3), RGB.

   image: ImageBitmap, upright.
   size: side of the square in pixels. */
export const square = (image, size) => {
  const { width, height } = image;
  const upright = columnsFirst(width, height, size);
  const canvas = new OffscreenCanvas(upright ? Math.min(BAND, width) : width, upright ? height : Math.min(BAND, height));
  const context = canvas.getContext("2d", { willReadFrequently: true, colorSpace: "srgb" });
  context.imageSmoothingEnabled = false;
  // What is transparent lies over white.
  context.fillStyle = "white";
  const take = (left, top, columns, rows) => {
    context.fillRect(0, 0, columns, rows);
    context.drawImage(image, left, top, columns, rows, 0, 0, columns, rows);
    return context.getImageData(0, 0, columns, rows).data;
  };
  const across = weights(width, size);
  const down = weights(height, size);
  const half = new Uint8Array(3 * size * (upright ? width : height));
  const out = new Uint8Array(3 * size * size);
  if (upright) {
    for (let left = 0; left < width; left += BAND) {
      const columns = Math.min(BAND, width - left);
      shorten(take(left, 0, columns, height), 4, columns, size, down, half, width, left);
    }
    narrow(half, 3, size, width, size, across, out, 0);
  } else {
    for (let top = 0; top < height; top += BAND) {
      const rows = Math.min(BAND, height - top);
      narrow(take(0, top, width, rows), 4, rows, width, size, across, half, top);
    }
    shorten(half, 3, size, size, down, out, size, 0);
  }
  canvas.width = canvas.height = 0;
  return out;
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
