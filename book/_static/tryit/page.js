/* The page "Try it": takes a photograph from wherever the reader has it, lets the worker score it, and shows the result.

   Nothing but the page's scripts is loaded before the first photograph is given. No photograph leaves the browser. */

import { goodImages } from "./good.js";
import { enlarge, highest, painted } from "./heat.js";

const root = document.getElementById("tryit");
const part = (name) => root.querySelector(`[data-part="${name}"]`);
const SHOWN = 960;

let worker = null;
let facts = null;
// Promises of what is fetched: the runtime with the model "single" or "references".
let ready = {};
let latest = 0;
// What was scored last: {source, name}, and its result.
let given = null;
let shown = null;
const waiting = new Map();

class Problem extends Error {}

const say = (sentence) => {
  part("status").textContent = sentence;
};

const clear = () => {
  part("error").textContent = "";
};

const complain = (problem) => {
  say("");
  part("progress").hidden = true;
  part("error").textContent =
    typeof problem === "string"
      ? problem
      : problem instanceof Problem
        ? problem.message
        : `Something went wrong (${problem}); try again.`;
};

/* ---- the worker ---- */

const LOST = "The scoring stopped in this browser, perhaps for want of memory; load the page again, or use edgezsad predict.";

const start = () => {
  worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  worker.addEventListener("message", ({ data }) => {
    const { settle, refuse, tell } = waiting.get(data.id);
    if (data.tell === "progress") return tell?.(data.done, data.total);
    waiting.delete(data.id);
    if (data.tell !== "failed") return settle(data);
    if (data.again) ready = {};
    return refuse(Object.assign(new Problem(data.sentence), { again: data.again }));
  });
  worker.addEventListener("error", (event) => {
    event.preventDefault();
    worker.terminate();
    worker = null;
    ready = {};
    for (const { refuse } of waiting.values()) refuse(Object.assign(new Problem(LOST), { again: true }));
    waiting.clear();
    good.lose();
  });
};

let asked = 0;
const ask = (message, tell) =>
  new Promise((settle, refuse) => {
    if (!worker) start();
    const id = ++asked;
    waiting.set(id, { settle, refuse, tell });
    worker.postMessage({ id, ...message });
  });

const allFacts = async () => {
  let found;
  try {
    found = await (await fetch(new URL("files.json", import.meta.url))).json();
  } catch {
    throw new Problem("The list of files could not be fetched; check the connection and try again.");
  }
  if (!found.files.wasm)
    throw new Problem("This book was built without npm and lacks the runtime; build it again, or use edgezsad predict.");
  for (const file of Object.values(found.files)) file.url = new URL(file.url, import.meta.url).href;
  return found;
};

/* Runtime and model, once, with a progress bar. */
const open = (model) => {
  ready[model] ??= (async () => {
    say("Fetching runtime and model.");
    facts ??= await allFacts();
    const bar = part("progress");
    await ask({ ask: "open", facts, model }, (done, total) => {
      bar.hidden = false;
      bar.querySelector("progress").value = done / total;
      const megabytes = (bytes) => (bytes / 1e6).toFixed(1);
      bar.querySelector("span").textContent =
        done < total ? `${megabytes(done)} of ${megabytes(total)} MB` : "starting the runtime";
    });
    bar.hidden = true;
  })().catch((error) => {
    delete ready[model];
    throw error;
  });
  return ready[model];
};

/* ---- the result ---- */

const signed = (value, digits) => `${value < 0 ? "\u2212" : "+"}${Math.abs(value).toFixed(digits)}`;

const fade = () => {
  const share = part("opacity").value;
  part("heat").style.opacity = share / 100;
  part("opacity").setAttribute("aria-valuetext", `${share} percent`);
};

const draw = ({ picture, map, rows, columns }) => {
  const { width, height } = picture;
  for (const name of ["photograph", "heat"]) Object.assign(part(name), { width, height });
  part("photograph").getContext("2d").drawImage(picture, 0, 0);
  picture.close();
  const levels = enlarge(map, rows, columns, height, width);
  part("heat").getContext("2d").putImageData(painted(levels, height, width, facts.heat), 0, 0);
  const scale = part("scale");
  const context = scale.getContext("2d");
  for (let level = 0; level < 256; level++) {
    context.fillStyle = `#${facts.heat.colours.slice(6 * level, 6 * level + 6)}`;
    context.fillRect(level, 0, 1, scale.height);
  }
};

/* The verdict on what is shown; without good images there is none. */
const judge = () => {
  const threshold = good.threshold();
  const word = threshold === null ? "uncalibrated" : shown.score >= threshold ? "defective" : "normal";
  part("verdict").textContent = word;
  part("verdict").dataset.verdict = word;
  part("threshold").textContent = threshold === null ? "none" : signed(threshold, 3);
  part("advice").hidden = threshold !== null;
  return { word, threshold };
};

const show = (result, name) => {
  shown = result;
  if (good.count()) good.mark(result.score);
  const { word, threshold } = judge();
  const { where, value } = highest(result.map, result.rows, result.columns);
  const [low, high] = facts.heat.range;
  part("result").hidden = false;
  part("score").textContent = signed(result.score, 3);
  part("time").textContent = `${(result.milliseconds / 1000).toFixed(2)} s`;
  part("name").textContent = `${name}, ${result.width} × ${result.height} pixels`;
  part("low").textContent = signed(low, 0);
  part("high").textContent = signed(high, 0);
  draw(result);
  part("picture").setAttribute(
    "aria-label",
    `${name} with its heat map, which is highest at the ${where}, ${signed(value, 1)}.`,
  );
  say(
    `${name}: ${word}, score ${signed(result.score, 3)}` +
      `${threshold === null ? "" : `, threshold ${signed(threshold, 3)}`}. The heat map is highest at the ${where}.`,
  );
  const { score, map, rows, columns, width, height, milliseconds } = result;
  const detail = { name, verdict: word, score, threshold, map, rows, columns, width, height, milliseconds };
  root.dispatchEvent(new CustomEvent("tryit-scored", { detail }));
};

/* A photograph: a File or Blob, or a function that fetches one. A later one takes the place of one that is under way. */
const take = async (source, name) => {
  const turn = ++latest;
  given = { source, name };
  clear();
  root.setAttribute("aria-busy", "true");
  try {
    const model = good.count() ? "references" : "single";
    await open(model);
    if (turn !== latest) return;
    say("Scoring.");
    const file = typeof source === "function" ? await source() : source;
    const result = await ask({ ask: "score", file, shown: SHOWN, model });
    if (turn === latest) show(result, name);
    else result.picture.close();
  } catch (error) {
    if (turn === latest) complain(error);
  } finally {
    if (turn === latest) root.removeAttribute("aria-busy");
  }
};

const good = goodImages({
  root,
  part,
  ask,
  open,
  say,
  clear,
  complain,
  signed,
  method: () => facts.references,
  changed: (scores) => {
    if (scores && given) take(given.source, given.name);
    else if (shown) judge();
  },
});

/* ---- where photographs come from ---- */

const offered = (items) => [...items].find((file) => file.type.startsWith("image/")) ?? items[0];

const takeFirst = (items) => {
  const file = offered(items);
  if (file) take(file, file.name || "Pasted photograph");
  else complain("That is not a file; give a photograph.");
};

part("file").addEventListener("change", ({ target }) => {
  if (target.files.length) takeFirst(target.files);
  // The same file may be chosen again.
  target.value = "";
});

document.addEventListener("paste", (event) => {
  if (!event.clipboardData?.files.length) return;
  event.preventDefault();
  takeFirst(event.clipboardData.files);
});

// What is dropped outside of both boxes is judged.
const boxOf = (event) => (part("good").contains(event.target) ? "good" : "drop");
const highlight = (name) => {
  for (const box of ["good", "drop"]) part(box).classList.toggle("over", box === name);
};
const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
for (const kind of ["dragenter", "dragover"])
  document.addEventListener(kind, (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    highlight(boxOf(event));
  });
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) highlight(null);
});
document.addEventListener("drop", (event) => {
  if (!holdsFiles(event)) return;
  event.preventDefault();
  highlight(null);
  if (boxOf(event) === "good") good.files(event.dataTransfer.files);
  else takeFirst(event.dataTransfer.files);
});

const fetchExample = async (address) => {
  const answer = await fetch(address).catch(() => null);
  if (!answer?.ok) throw new Problem("The example could not be fetched; check the connection and try again.");
  return answer.blob();
};

for (const button of root.querySelectorAll("[data-example]"))
  button.addEventListener("click", () => take(() => fetchExample(button.dataset.example), button.dataset.name));

part("good-examples").addEventListener("click", ({ currentTarget }) =>
  good.give(
    currentTarget.dataset.files.split(" ").map((address, index) => ({
      name: `Good button ${index + 1}`,
      read: () => fetchExample(address),
    })),
  ),
);

part("opacity").addEventListener("input", fade);
fade();

/* ---- the camera ---- */

const camera = { stream: null };

const closeCamera = () => {
  camera.stream?.getTracks().forEach((track) => track.stop());
  camera.stream = part("video").srcObject = null;
  part("viewfinder").hidden = true;
  part("camera").hidden = false;
};

part("camera").addEventListener("click", async () => {
  clear();
  try {
    camera.stream = await navigator.mediaDevices.getUserMedia({
      video: { facingMode: "environment", width: { ideal: 1920 } },
      audio: false,
    });
  } catch {
    complain("The camera cannot be used: there is none, or it was not allowed; choose a file instead.");
    return;
  }
  part("viewfinder").hidden = false;
  part("camera").hidden = true;
  part("video").srcObject = camera.stream;
  await part("video").play();
  part("shoot").focus();
});

part("shoot").addEventListener("click", () => {
  const video = part("video");
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  closeCamera();
  part("camera").focus();
  canvas.toBlob((blob) => {
    if (blob) take(blob, "Camera photograph");
    else complain("The camera gave no picture; try again.");
  }, "image/png");
});

part("stop").addEventListener("click", () => {
  closeCamera();
  part("camera").focus();
});
addEventListener("pagehide", closeCamera);

say("");
root.dataset.ready = "true";
