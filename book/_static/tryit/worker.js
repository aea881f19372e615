/* Scores images, away from the page, which stays usable meanwhile. Messages in, each with a number `id`:

     {ask: "open", facts, model}            fetch the runtime and a model, "single" or "references", and make them ready
     {ask: "score", file, shown, model}     a File or Blob; `shown`: longest side of the picture that comes back
     {ask: "describe", file, shown, key}    an image of a good part
     {ask: "forget", keys}                  such images
     {ask: "adapt"}                         to the images of good parts
     {ask: "part", threshold, calibration}  the part's file, for edgezsad predict

   and out, with the same `id`: {tell: "progress", done, total}, {tell: "done", ...}, where `done` has what was asked for,
   {tell: "failed", sentence, again}; `again`: whether runtime and model must be opened once more. */

import { fetchAll, NotFetched } from "./download.js";
import { appended, sealed, sha256 } from "./onnx.js";
import { MOST_BYTES, NoPhotograph, readPhotograph } from "./photograph.js";
import { decode, planes, square } from "./preprocess.js";
import { adapted, description, placeholder } from "./references.js";

const DESCRIPTION = ["patches", "detector_map", "own_distance"];
// Of the width to height of good images, from the first one's.
const MOST_DIFFERENT = 1.25;

let runtime = null;
// Single: the shipped graph. References: the one that compares, with the good images that it holds.
const sessions = { single: null, references: null };
let method = null;
let base = null;
// Images of good parts by key, and what was made of them.
const good = new Map();
let part = null;
let stale = true;

/* A sentence that the reader can do something with, in place of whatever was thrown. */
class Problem extends Error {}

const start = async (script, wasm) => {
  if (typeof WebAssembly !== "object")
    throw new Problem("This browser does not run WebAssembly, which scoring needs; use another one, or edgezsad predict.");
  const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
  const found = await import(address);
  URL.revokeObjectURL(address);
  // One thread needs no special headers of the server, so that the page works from any.
  Object.assign(found.env.wasm, { numThreads: 1, proxy: false, wasmBinary: wasm.buffer });
  found.env.logLevel = "error";
  return found;
};

const session = (model) => runtime.InferenceSession.create(model, { executionProviders: ["wasm"] });

/* The graph with other reference patches. */
const reopen = async (tensors) => {
  await sessions.references?.release();
  sessions.references = null;
  const shape = (channels) => [1, channels, method.PATCH_SIDE, method.PATCH_SIDE];
  const outputs = Object.fromEntries(DESCRIPTION.map((name) => [name, shape(name === "patches" ? method.PATCH_CHANNELS : 1)]));
  sessions.references = await session(appended(base, { tensors, outputs }));
};

const open = async ({ files, references }, model, tell) => {
  if (runtime && sessions[model]) return;
  const wanted = [files[model], ...(runtime ? [] : [files.script, files.wasm])];
  const [graph, script, wasm] = await fetchAll(wanted, tell, Object.values(files));
  method = references;
  try {
    runtime ??= await start(script, wasm);
    if (model === "single") {
      sessions.single = await session(graph);
    } else {
      base = graph;
      stale = true;
      await reopen(placeholder(method.PATCH_CHANNELS));
    }
  } catch (error) {
    if (error instanceof Problem) throw error;
    throw new Problem(
      `The runtime did not start in this browser (${String(error.message ?? error).slice(0, 120)}); ` +
        "use another one, or edgezsad predict.",
    );
  }
};

/* The picture for the page: as large as it is shown, no larger. */
const picture = (image, shown) => {
  const scale = Math.min(1, shown / Math.max(image.width, image.height));
  const canvas = new OffscreenCanvas(
    Math.max(1, Math.round(image.width * scale)),
    Math.max(1, Math.round(image.height * scale)),
  );
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "medium";
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas.transferToImageBitmap();
};

const decoded = async (file) => {
  if (file.size > MOST_BYTES) throw new NoPhotograph("This file is too large for a photograph; choose another one.");
  const photograph = readPhotograph(new Uint8Array(await file.arrayBuffer()));
  try {
    return await decode(photograph);
  } catch {
    throw new NoPhotograph("This photograph is damaged or cut off; copy it again, or choose another one.");
  }
};

/* Decodes a file and runs a model on it; returns its outputs, as arrays, and the picture for the page. */
const run = async (file, shown, model, outputs) => {
  const image = await decoded(file);
  const { width, height } = image;
  const { shape } = sessions[model].inputMetadata[0];
  const input = new runtime.Tensor("float32", planes(square(image, shape[3])), shape);
  const small = picture(image, shown);
  image.close();
  try {
    const found = await sessions[model].run({ image: input }, outputs);
    const arrays = Object.fromEntries(outputs.map((name) => [name, Float32Array.from(found[name].data)]));
    const [rows, columns] = found[outputs.at(-1)].dims.slice(2);
    for (const tensor of Object.values(found)) tensor.dispose();
    return { ...arrays, rows, columns, picture: small, width, height };
  } catch (error) {
    small.close();
    runtime = sessions.single = sessions.references = null;
    throw new Problem(`The model failed on this photograph (${String(error.message ?? error).slice(0, 120)}); try again.`);
  } finally {
    input.dispose();
  }
};

const tasks = {
  open: ({ facts, model }, tell) => open(facts, model, tell),

  score: async ({ file, shown, model }) => {
    if (model === "references" && stale) {
      await reopen(part.tensors);
      stale = false;
    }
    const begin = performance.now();
    const { score, ...found } = await run(file, shown, model, ["score", "map"]);
    return { ...found, score: score[0], milliseconds: performance.now() - begin };
  },

  describe: async ({ file, shown, key }) => {
    const hash = crypto.subtle ? await sha256(await file.arrayBuffer()) : key;
    const begin = performance.now();
    const found = await run(file, shown, "references", DESCRIPTION);
    const { width, height } = found;
    const [first] = good.values();
    const ratio = first ? (width / height) * (first.height / first.width) : 1;
    if ([...good.values()].some((other) => other.hash === hash)) throw new Problem("given twice.");
    if (Math.max(ratio, 1 / ratio) > MOST_DIFFERENT)
      throw new Problem("another shape than the first good image; give images of one part and one camera.");
    const image = { hash, width, height, ...description(found.patches, found.detector_map, found.own_distance, method) };
    good.set(key, image);
    return { picture: found.picture, milliseconds: performance.now() - begin };
  },

  forget: ({ keys }) => {
    for (const key of keys) good.delete(key);
  },

  adapt: () => {
    part = adapted([...good.values()], method);
    stale = true;
    const { scores, unlike, threshold } = part;
    return { scores, unlike, threshold };
  },

  part: async ({ threshold, calibration }) => {
    const metadata = {
      references: JSON.stringify(Array.from(good.values(), ({ hash }) => hash)),
      date: new Date().toISOString().slice(0, 10),
      base_sha256: await sha256(base),
      rotations: "none",
      ...(threshold === null ? {} : { threshold: String(threshold), calibration }),
    };
    return { bytes: await sealed(appended(base, { tensors: part.tensors, metadata })) };
  },
};

const answer = async ({ id, ask, ...message }) => {
  try {
    const result = await tasks[ask](message, (done, total) => self.postMessage({ id, tell: "progress", done, total }));
    const moved = [result?.picture, result?.map?.buffer, result?.bytes?.buffer].filter(Boolean);
    self.postMessage({ id, tell: "done", ...result }, moved);
  } catch (error) {
    const known = [Problem, NoPhotograph, NotFetched].some((kind) => error instanceof kind);
    const sentence = known ? error.message : `Something went wrong (${String(error).slice(0, 120)}); try again.`;
    self.postMessage({ id, tell: "failed", sentence, again: !runtime });
  }
};

// One after the other: two photographs at once would need the memory of both.
let last = Promise.resolve();
self.addEventListener("message", ({ data }) => {
  last = last.then(() => answer(data));
});
