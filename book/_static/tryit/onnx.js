/* Adds tensors, metadata and outputs to an ONNX file by appending bytes, as edgezsad/export/onnx_append.py does: two
   protocol-buffer messages one after the other are their union. */

// Numbers of fields in onnx.proto3: of ModelProto, then of GraphProto.
const GRAPH = 7, METADATA = 14;
const INITIALIZER = 5, OUTPUT = 12;
const TYPES = { float32: 1, float16: 10 };

const utf8 = new TextEncoder();

const joined = (parts) => {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
};

/* Seven bits in each byte, the lowest first; the eighth says that more follow. */
const varint = (value) => {
  const found = [];
  for (; value > 127; value = Math.floor(value / 128)) found.push((value & 127) | 128);
  return Uint8Array.from([...found, value]);
};

const number = (field, value) => joined([varint(field * 8), varint(value)]);
const message = (field, ...parts) => {
  const payload = joined(parts);
  return joined([varint(field * 8 + 2), varint(payload.length), payload]);
};
const text = (field, value) => message(field, utf8.encode(value));

/* TensorProto: dims, data type, name, raw little-endian data. */
const tensor = (name, { type, dims, data }) =>
  message(
    INITIALIZER,
    ...dims.map((side) => number(1, side)),
    number(2, TYPES[type]),
    text(8, name),
    message(9, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)),
  );

/* ValueInfoProto of an FP32 tensor. */
const output = (name, shape) => {
  const sides = shape.map((side) => message(1, number(1, side)));
  return message(OUTPUT, text(1, name), message(2, message(1, number(1, TYPES.float32), message(2, ...sides))));
};

/* An ONNX file with more in it.

   model: Uint8Array. tensors: name to {type, dims, data (typed array)}. metadata: key to value. outputs: name to shape. */
export const appended = (model, { tensors = {}, metadata = {}, outputs = {} }) =>
  joined([
    model,
    message(
      GRAPH,
      ...Object.entries(tensors).map(([name, values]) => tensor(name, values)),
      ...Object.entries(outputs).map(([name, shape]) => output(name, shape)),
    ),
    ...Object.entries(metadata).map(([key, value]) => message(METADATA, text(1, key), text(2, value))),
  ]);

/* SHA-256 in hexadecimal; browsers have it on secure addresses only. */
export const sha256 = async (bytes) => {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
};

/* A part's file with its own hash as the last metadata entry, which `edgezsad predict` compares. */
export const sealed = async (model) => appended(model, { metadata: { sha256: await sha256(model) } });

/* FP16 numbers of FP32 ones below 65,504, rounded to nearest, ties to even: {bits: Uint16Array, rounded: Float32Array}. */
export const toHalf = (values) => {
  const rounded = Float32Array.from(values);
  const words = new Uint32Array(rounded.buffer);
  const bits = new Uint16Array(values.length);
  for (let index = 0; index < words.length; index++) {
    const sign = words[index] & 0x80000000;
    words[index] ^= sign;
    if (words[index] < 0x38800000) {
      // Subnormal: a multiple of 2 ** -24, which is the precision of FP32 numbers between 0.5 and 1.
      rounded[index] += 0.5;
      bits[index] = words[index] - 0x3f000000;
      rounded[index] -= 0.5;
    } else {
      words[index] = (words[index] + 0xfff + ((words[index] >> 13) & 1)) & ~0x1fff;
      bits[index] = (words[index] - 0x38000000) >> 13;
    }
    words[index] |= sign;
    bits[index] |= sign >>> 16;
  }
  return { bits, rounded };
};
