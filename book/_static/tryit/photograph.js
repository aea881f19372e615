/* What an image file is, from its bytes alone: its kind, its size, how it is turned; and the same file without all that
   would make a browser change its pixels by itself.

   The library applies the EXIF orientation and takes pixel values as they are stored, whatever colour profile is named
   (edgezsad/data/images.py). Browsers differ in both, so orientation and profile are taken out before they decode.
   Sources: ITU-T T.81 (JPEG markers), the PNG specification, EXIF 2.32. */

// Of one photograph, in pixels: four bytes of memory each. The library takes more, but a phone's browser does not.
export const MOST_PIXELS = 64e6;
// Of one file: eight bytes a pixel, and whatever else a camera writes.
export const MOST_BYTES = 8 * MOST_PIXELS;

/* Why a file cannot be scored, as a sentence for the reader. */
export class NoPhotograph extends Error {}

const text = (bytes, start, length) => String.fromCharCode(...bytes.subarray(start, start + length));
const view = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const starts = (bytes, ...values) => values.every((value, index) => bytes[index] === value);

/* EXIF orientation, 1 to 8, of a TIFF structure; damaged EXIF counts as upright. */
export const orientationOf = (tiff) => {
  try {
    const data = view(tiff);
    const order = text(tiff, 0, 2);
    if (order !== "II" && order !== "MM") return 1;
    const little = order === "II";
    const first = data.getUint32(4, little);
    for (let entry = 0; entry < data.getUint16(first, little); entry++) {
      const at = first + 2 + 12 * entry;
      if (data.getUint16(at, little) !== 0x0112) continue;
      const value = data.getUint16(at + 8, little);
      return value >= 1 && value <= 8 ? value : 1;
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  return 1;
};

const withoutParts = (bytes, parts) => {
  const kept = [];
  let from = 0;
  for (const [start, end] of parts) {
    kept.push(bytes.subarray(from, start));
    from = end;
  }
  return [...kept, bytes.subarray(from)];
};

const readJpeg = (bytes) => {
  const data = view(bytes);
  const found = { kind: "image/jpeg", turn: 1, drop: [] };
  for (let at = 2; at + 4 <= bytes.length; ) {
    if (bytes[at] !== 0xff) break;
    const marker = bytes[at + 1];
    if (marker === 0xff) {
      at += 1;
      continue;
    }
    const end = at + 2 + data.getUint16(at + 2);
    // Start of frame, of any coding; what lies between are tables.
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
      found.height = data.getUint16(at + 5);
      found.width = data.getUint16(at + 7);
      found.channels = bytes[at + 9];
    } else if (marker === 0xe1) {
      if (text(bytes, at + 4, 6) === "Exif\0\0") found.turn = orientationOf(bytes.subarray(at + 10, end));
      found.drop.push([at, end]);
    } else if (marker === 0xe2) {
      // Colour profiles, and the further pictures that some phones store.
      found.drop.push([at, end]);
    } else if (marker === 0xda) {
      break;
    }
    at = end;
  }
  return found;
};

const PNG_COLOURS = new Set(["iCCP", "sRGB", "gAMA", "cHRM", "cICP", "mDCV", "cLLI", "mDCv", "cLLi", "eXIf"]);

const readPng = (bytes) => {
  const data = view(bytes);
  const found = { kind: "image/png", turn: 1, drop: [], channels: 3 };
  for (let at = 8; at + 12 <= bytes.length; ) {
    const end = at + 12 + data.getUint32(at);
    const name = text(bytes, at + 4, 4);
    if (name === "IHDR") {
      found.width = data.getUint32(at + 8);
      found.height = data.getUint32(at + 12);
    }
    if (name === "eXIf") found.turn = orientationOf(bytes.subarray(at + 8, end - 4));
    if (PNG_COLOURS.has(name) && end <= bytes.length) found.drop.push([at, end]);
    at = end;
  }
  return found;
};

const readBmp = (bytes) => {
  const data = view(bytes);
  const old = data.getUint32(14, true) === 12;
  return {
    kind: "image/bmp",
    turn: 1,
    drop: [],
    channels: 3,
    width: old ? data.getUint16(18, true) : Math.abs(data.getInt32(18, true)),
    height: old ? data.getUint16(20, true) : Math.abs(data.getInt32(22, true)),
  };
};

const read = (bytes) => {
  if (starts(bytes, 0xff, 0xd8, 0xff)) return readJpeg(bytes);
  if (starts(bytes, 0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a)) return readPng(bytes);
  if (starts(bytes, 0x42, 0x4d)) return readBmp(bytes);
  if (starts(bytes, 0x49, 0x49, 0x2a, 0) || starts(bytes, 0x4d, 0x4d, 0, 0x2a))
    throw new NoPhotograph("This is a TIFF file, which browsers do not show; save it as PNG, or use edgezsad predict.");
  throw new NoPhotograph("This file is not a photograph that can be read here; choose a JPEG, PNG or BMP file.");
};

/* What a file is.

   bytes: Uint8Array, the whole file.
   Returns {width, height (as stored), turn (EXIF orientation, 1 to 8), blob (to be decoded; pixels as they are stored)}.
   Throws NoPhotograph, with a sentence for the reader. */
export const readPhotograph = (bytes) => {
  let found;
  try {
    found = read(bytes);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  if (!found || !found.width || !found.height)
    throw new NoPhotograph("This photograph is damaged or cut off; copy it again, or choose another one.");
  const { width, height, turn, channels } = found;
  if (width * height > MOST_PIXELS) {
    const size = `${width.toLocaleString("en")} × ${height.toLocaleString("en")}`;
    throw new NoPhotograph(
      `This photograph of ${size} pixels is too large for the browser (at most ${MOST_PIXELS / 1e6} million); ` +
        "make it smaller, or use edgezsad predict.",
    );
  }
  if (channels === 4)
    throw new NoPhotograph("This photograph is in CMYK, which browsers show each in their way; save it as RGB.");
  return { width, height, turn, blob: new Blob(withoutParts(bytes, found.drop), { type: found.kind }) };
};
