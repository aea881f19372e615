/* Scores photographs, away from the page, which stays usable meanwhile. Messages in, each with a number `id`:

     {ask: "open", files}                   fetch runtime and model, and make them ready
     {ask: "score", file, shown}            a File or Blob; `shown`: longest side of the picture that comes back

   and out, with the same `id`: {tell: "progress", done, total}, {tell: "opened"},
   {tell: "scored", score, threshold, map, rows, columns, picture, width, height, milliseconds},
   {tell: "failed", sentence, again}; `again`: whether runtime and model must be opened once more. */

import { fetchAll, NotFetched } from "./download.js";
import { metadataOf } from "./metadata.js";
import { MOST_BYTES, NoPhotograph, readPhotograph } from "./photograph.js";
import { decode, planes, square } from "./preprocess.js";

let opened = null;

/* A sentence that the reader can do something with, in place of whatever was thrown. */
class Told extends Error {}

const open = async (files, tell) => {
  const [script, wasm, model] = await fetchAll([files.script, files.wasm, files.model], tell);
  if (typeof WebAssembly !== "object")
    throw new Told("This browser does not run WebAssembly, which scoring needs; use another one, or edgezsad predict.");
  try {
    const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
    const runtime = await import(address);
    URL.revokeObjectURL(address);
    // One thread needs no special headers of the server, so that the page works from any.
    Object.assign(runtime.env.wasm, { numThreads: 1, proxy: false, wasmBinary: wasm.buffer });
    runtime.env.logLevel = "error";
    const session = await runtime.InferenceSession.create(model, { executionProviders: ["wasm"] });
    const threshold = Number(metadataOf(model).threshold);
    if (!Number.isFinite(threshold)) throw new Error("the model carries no threshold");
    return { runtime, session, threshold, size: session.inputMetadata[0].shape[3] };
  } catch (error) {
    throw new Told(
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

const score = async (file, shown) => {
  const { runtime, session, threshold, size } = opened;
  const start = performance.now();
  const image = await decoded(file);
  const { width, height } = image;
  const input = new runtime.Tensor("float32", planes(square(image, size)), [1, 3, size, size]);
  const small = picture(image, shown);
  image.close();
  let found;
  try {
    found = await session.run({ image: input });
  } catch (error) {
    small.close();
    opened = null;
    throw new Told(`The model failed on this photograph (${String(error.message ?? error).slice(0, 120)}); try again.`);
  } finally {
    input.dispose();
  }
  const [rows, columns] = found.map.dims.slice(2);
  const result = {
    score: found.score.data[0],
    map: Float32Array.from(found.map.data),
    rows,
    columns,
    threshold,
    picture: small,
    width,
    height,
    milliseconds: performance.now() - start,
  };
  for (const tensor of Object.values(found)) tensor.dispose();
  return result;
};

const answer = async ({ id, ask, files, file, shown }) => {
  try {
    if (ask === "open") {
      opened ??= await open(files, (done, total) => self.postMessage({ id, tell: "progress", done, total }));
      self.postMessage({ id, tell: "opened" });
    } else {
      const result = await score(file, shown);
      self.postMessage({ id, tell: "scored", ...result }, [result.picture, result.map.buffer]);
    }
  } catch (error) {
    const known = [Told, NoPhotograph, NotFetched].some((kind) => error instanceof kind);
    const sentence = known ? error.message : `Something went wrong (${String(error).slice(0, 120)}); try again.`;
    self.postMessage({ id, tell: "failed", sentence, again: !opened });
  }
};

// One after the other: two photographs at once would need the memory of both.
let last = Promise.resolve();
self.addEventListener("message", ({ data }) => {
  last = last.then(() => answer(data));
});
