/* The page "Try it": takes a photograph from wherever the reader has it, lets the worker score it, and shows the result.

   Nothing but this script is loaded before the first photograph is given. The photograph never leaves the browser. */

import { enlarge, highest, painted } from "./heat.js";

const root = document.getElementById("tryit");
const part = (name) => root.querySelector(`[data-part="${name}"]`);
const SHOWN = 960;

let worker = null;
let facts = null;
let ready = null;
let latest = 0;
const waiting = new Map();

class Told extends Error {}

const say = (sentence) => {
  part("status").textContent = sentence;
};

const complain = (sentence) => {
  say("");
  part("progress").hidden = true;
  part("error").textContent = sentence;
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
    if (data.again) ready = null;
    return refuse(new Told(data.sentence));
  });
  worker.addEventListener("error", (event) => {
    event.preventDefault();
    worker.terminate();
    worker = ready = null;
    for (const { refuse } of waiting.values()) refuse(new Told(LOST));
    waiting.clear();
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

/* Runtime and model, once; told of while they come. */
const open = () => {
  ready ??= (async () => {
    try {
      facts ??= await (await fetch(new URL("files.json", import.meta.url))).json();
    } catch {
      throw new Told("The list of files could not be fetched; check the connection and try again.");
    }
    const base = new URL(".", import.meta.url);
    const files = Object.fromEntries(
      Object.entries(facts.files).map(([name, file]) => [name, { ...file, url: new URL(file.url, base).href }]),
    );
    const bar = part("progress");
    await ask({ ask: "open", files }, (done, total) => {
      bar.hidden = false;
      bar.querySelector("progress").value = done / total;
      const megabytes = (bytes) => (bytes / 1e6).toFixed(1);
      bar.querySelector("span").textContent =
        done < total ? `${megabytes(done)} of ${megabytes(total)} MB` : "starting the runtime";
    });
    bar.hidden = true;
  })().catch((error) => {
    ready = null;
    throw error;
  });
  return ready;
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

const show = (result, name) => {
  const defective = result.score >= result.threshold;
  const word = defective ? "defective" : "normal";
  const { where, value } = highest(result.map, result.rows, result.columns);
  const [low, high] = facts.heat.range;
  part("result").hidden = false;
  part("verdict").textContent = word;
  part("verdict").dataset.verdict = word;
  part("score").textContent = signed(result.score, 3);
  part("threshold").textContent = signed(result.threshold, 3);
  part("time").textContent = `${(result.milliseconds / 1000).toFixed(2)} s`;
  part("name").textContent = `${name}, ${result.width} × ${result.height} pixels`;
  part("low").textContent = signed(low, 0);
  part("high").textContent = signed(high, 0);
  draw(result);
  part("picture").setAttribute(
    "aria-label",
    `${name} with its heat map, which is highest at the ${where}, ${signed(value, 1)} logits.`,
  );
  say(
    `${name}: ${word}, score ${signed(result.score, 3)}, threshold ${signed(result.threshold, 3)}. ` +
      `The heat map is highest at the ${where}.`,
  );
  const { score, threshold, map, rows, columns, width, height, milliseconds } = result;
  const detail = { name, score, threshold, map, rows, columns, width, height, milliseconds };
  root.dispatchEvent(new CustomEvent("tryit-scored", { detail }));
};

/* A photograph: a File or Blob, or a function that fetches one. A later one takes the place of one that is under way. */
const take = async (source, name) => {
  const turn = ++latest;
  part("error").textContent = "";
  say(ready ? "Scoring." : "Fetching runtime and model.");
  root.setAttribute("aria-busy", "true");
  try {
    await open();
    if (turn !== latest) return;
    say("Scoring.");
    const file = typeof source === "function" ? await source() : source;
    const result = await ask({ ask: "score", file, shown: SHOWN });
    if (turn === latest) show(result, name);
    else result.picture.close();
  } catch (error) {
    if (turn === latest) complain(error instanceof Told ? error.message : `Something went wrong (${error}); try again.`);
  } finally {
    if (turn === latest) root.removeAttribute("aria-busy");
  }
};

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

const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
for (const kind of ["dragenter", "dragover"])
  document.addEventListener(kind, (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    part("drop").classList.add("over");
  });
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) part("drop").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  if (!holdsFiles(event)) return;
  event.preventDefault();
  part("drop").classList.remove("over");
  takeFirst(event.dataTransfer.files);
});

for (const button of root.querySelectorAll("[data-example]"))
  button.addEventListener("click", () => {
    const fetchIt = async () => {
      const answer = await fetch(button.dataset.example).catch(() => null);
      if (!answer?.ok) throw new Told("The example could not be fetched; check the connection and try again.");
      return answer.blob();
    };
    take(fetchIt, button.dataset.name);
  });

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
  part("error").textContent = "";
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
