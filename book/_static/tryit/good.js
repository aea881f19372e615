/* The page's images of good parts: the list, the histogram of their scores with the threshold, and the part's file. */

const THUMBNAIL = 160;
const BARS = 32;
const NONE = { scores: [], unlike: [], threshold: null };
const SVG = "http://www.w3.org/2000/svg";

/* Of the page: its root and functions; `method`: constants of edgezsad/references.py; `changed` is called when the good
   images or the threshold have changed, with true if scores have too. */
export const goodImages = ({ root, part, ask, open, say, clear, complain, signed, method, changed }) => {
  // {key, name, item (of the list), score (null for a single image)}
  let images = [];
  // As adapt chooses it, and as it is now; null with fewer than two images.
  let suggested = null;
  let threshold = null;
  let byHand = false;
  let judged = null;
  let keys = 0;

  const calibration = () =>
    byHand ? `set by hand in the browser on ${images.length} good images` : method().texts[images.length];

  const draw = () => {
    const slider = part("limit");
    const [low, high] = [Number(slider.min), Number(slider.max)];
    const share = (score) => (score - low) / (high - low);
    const counts = new Array(BARS).fill(0);
    for (const { score } of images) counts[Math.min(BARS - 1, Math.floor(BARS * share(score)))]++;
    const most = Math.max(...counts);
    const add = (name, attributes) => {
      const shape = document.createElementNS(SVG, name);
      for (const [key, value] of Object.entries(attributes)) shape.setAttribute(key, value);
      part("histogram").append(shape);
    };
    part("histogram").replaceChildren();
    counts.forEach((count, bar) => {
      const height = (76 * count) / most;
      if (count) add("rect", { class: "bar", x: (1000 * bar) / BARS + 2, y: 100 - height, width: 1000 / BARS - 4, height });
    });
    const x = 1000 * share(threshold);
    add("line", { class: "limit", x1: x, x2: x, y1: 0, y2: 100 });
    if (judged !== null) {
      const at = 1000 * Math.min(1, Math.max(0, share(judged)));
      add("path", { class: "judged", d: `M${at - 14} 0 H${at + 14} L${at} 22 Z` });
    }
    const flagged = images.filter(({ score }) => score >= threshold).length;
    const scores = images.map(({ score }) => signed(score, 1)).join(", ");
    part("histogram").setAttribute("aria-label", `Histogram of the scores of the good images: ${scores}.`);
    part("limit-value").textContent = signed(threshold, 2);
    part("basis").textContent = calibration();
    part("reset").disabled = !byHand;
    slider.setAttribute("aria-valuetext", `${signed(threshold, 2)}, ${flagged} of ${images.length} good images flagged`);
  };

  const limit = (value, moved) => {
    threshold = value;
    byHand = moved;
    if (value !== null) draw();
  };

  /* Shows the scores of the good images, and the threshold. */
  const settle = (found) => {
    suggested = found.threshold;
    judged = null;
    images.forEach((image, index) => {
      image.score = found.scores[index] ?? null;
      const score = image.score === null ? "" : `, ${signed(image.score, 1)}`;
      const unlike = found.unlike[index] ? ": unlike the others; is it defective?" : "";
      image.item.querySelector("span").textContent = image.name + score + unlike;
    });
    part("clear").hidden = !images.length;
    part("calibration").hidden = suggested === null;
    if (suggested !== null) {
      const [low, high] = [Math.min(...found.scores), Math.max(...found.scores)];
      part("limit").min = Math.floor(low - 1);
      part("limit").max = Math.ceil(high + Math.max(8, high - low));
      part("limit").value = suggested;
    }
    limit(suggested, false);
    const { scores, unlike } = found;
    const detail = { names: images.map(({ name }) => name), scores, unlike, threshold };
    root.dispatchEvent(new CustomEvent("tryit-adapted", { detail }));
  };

  const adapt = async () => {
    if (images.length > 1) say("Comparing the good images.");
    settle(images.length ? await ask({ ask: "adapt" }) : NONE);
    changed(true);
  };

  const forget = async (gone) => {
    images = images.filter((image) => !gone.includes(image));
    for (const { item } of gone) item.remove();
    await ask({ ask: "forget", keys: gone.map(({ key }) => key) });
    await adapt();
    say(images.length ? `${images.length} good images.` : "No good images.");
  };

  const show = (image, picture) => {
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width: picture.width, height: picture.height });
    canvas.getContext("2d").drawImage(picture, 0, 0);
    picture.close();
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "remove";
    button.setAttribute("aria-label", `remove ${image.name}`);
    button.addEventListener("click", () => {
      const next = image.item.nextElementSibling ?? image.item.previousElementSibling;
      (next?.querySelector("button") ?? part("good-file")).focus();
      after(() => forget([image]));
    });
    image.item.append(canvas, document.createElement("span"), button);
    part("good-list").append(image.item);
  };

  const describe = async (sources) => {
    const problems = [];
    const before = images.length;
    const most = method().texts.length - 1;
    const wanted = sources.slice(0, most - images.length);
    if (wanted.length < sources.length) problems.push(`At most ${most} good images; the rest was left out.`);
    for (const [index, { name, read }] of wanted.entries()) {
      say(`Good image ${index + 1} of ${wanted.length}.`);
      const image = { key: ++keys, name, item: document.createElement("li"), score: null };
      try {
        const { picture } = await ask({ ask: "describe", file: await read(), shown: THUMBNAIL, key: image.key });
        show(image, picture);
        images.push(image);
      } catch (error) {
        problems.push(`${name}: ${error.message}`);
        if (error.again) break;
      }
    }
    if (images.length > before) await adapt();
    say(
      threshold === null
        ? `${images.length} good image${images.length === 1 ? "" : "s"}. Give more for a threshold.`
        : `${images.length} good images, threshold ${signed(threshold, 2)}. Now give an image to judge.`,
    );
    if (problems.length) part("error").textContent = problems.join(" ");
  };

  // One request after the other.
  let last = Promise.resolve();
  const after = (act) => {
    last = last.then(async () => {
      clear();
      part("good").setAttribute("aria-busy", "true");
      try {
        await act();
      } catch (error) {
        complain(error);
      }
      part("good").removeAttribute("aria-busy");
    });
  };

  /* sources: [{name, read (returns a File or Blob)}]. */
  const give = (sources) =>
    after(async () => {
      await open("references");
      await describe(sources);
    });
  const files = (list) => give(Array.from(list, (file) => ({ name: file.name, read: () => file })));

  part("good-file").addEventListener("change", ({ target }) => {
    if (target.files.length) files(target.files);
    target.value = "";
  });
  part("clear").addEventListener("click", () => {
    part("good-file").focus();
    after(() => forget(images));
  });
  part("limit").addEventListener("input", ({ target }) => {
    limit(Number(target.value), true);
    changed(false);
  });
  part("limit").addEventListener("change", () => {
    if (judged !== null) say(`Threshold ${signed(threshold, 2)}: ${part("verdict").textContent}.`);
  });
  part("reset").addEventListener("click", () => {
    part("limit").value = suggested;
    part("limit").focus();
    limit(suggested, false);
    changed(false);
  });
  part("download").addEventListener("click", () =>
    after(async () => {
      if (!crypto.subtle) throw new Error("The file needs a hash, which browsers compute on https pages only.");
      const { bytes } = await ask({ ask: "part", threshold, calibration: calibration() });
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([bytes], { type: "application/octet-stream" }));
      link.download = "part.onnx";
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
      say(`part.onnx, ${(bytes.length / 1e6).toFixed(1)} MB, saved.`);
    }),
  );

  return {
    give,
    files,
    count: () => images.length,
    threshold: () => threshold,
    /* Marks the score of the image that is judged. */
    mark: (score) => {
      judged = score;
      if (threshold !== null) draw();
    },
    /* After the worker, and with it the images, was lost. */
    lose: () => {
      for (const { item } of images) item.remove();
      images = [];
      settle(NONE);
    },
  };
};
