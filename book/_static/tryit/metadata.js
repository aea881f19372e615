/* The metadata of an ONNX file: ModelProto.metadata_props, field 14 of onnx.proto, each a key (1) and a value (2). */

const PROPERTIES = 14;

const fields = function* (bytes) {
  let at = 0;
  const number = () => {
    // Not by shifting: lengths may need more than 31 bits.
    for (let value = 0, unit = 1; ; unit *= 128) {
      if (at >= bytes.length) throw new RangeError("the model is cut off");
      const byte = bytes[at++];
      value += (byte & 127) * unit;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const tag = number();
    const [field, kind] = [Math.floor(tag / 8), tag % 8];
    if (kind === 2) {
      const length = number();
      yield [field, bytes.subarray(at, at + length)];
      at += length;
    } else if (kind === 0) number();
    else if (kind === 1 || kind === 5) at += kind === 1 ? 8 : 4;
    else throw new RangeError("not an ONNX file");
  }
};

/* bytes: Uint8Array of the file. Returns an object, key to value, both text. */
export const metadataOf = (bytes) => {
  const found = {};
  const utf8 = new TextDecoder();
  for (const [field, part] of fields(bytes)) {
    if (field !== PROPERTIES) continue;
    const property = Object.fromEntries(fields(part));
    found[utf8.decode(property[1])] = property[2] ? utf8.decode(property[2]) : "";
  }
  return found;
};
