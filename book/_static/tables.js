/* Tables of results can be sorted by any column and downloaded as CSV; without this script they are plain tables.

   A header becomes a button: once for rising, twice for falling, three times for the order of the page. Numbers are
   compared as numbers, whatever stands behind them ("91.6 ± 0.3", "1,725"); what is no number in a column of numbers
   ("not run") comes last. The file holds every row, in the order that is shown. */
(() => {
  "use strict";

  // A table of fewer rows is seen at a glance; prose seldom has one whose order could be another.
  const SHORTEST_TO_SORT = { results: 3, prose: 8 };
  // One of more rows scrolls in a box.
  const LONGEST_IN_FULL = 40;
  // In letters: a number with its spread is never broken, a sentence is.
  const kindOf = (text) => (text.length <= 18 ? "short" : text.length <= 60 ? "wraps" : "long");
  const SCROLLING = ".table-box, .pst-scrollable-table-container, .drawing, figure.chart";
  const NUMBER = /^[+\u2212-]?\s?\d[\d,]*(\.\d+)?(e[+-]?\d+)?/i;
  const compareText = new Intl.Collator("en", { numeric: true }).compare;

  const textOf = (cell) => cell.textContent.trim().replace(/\s+/g, " ");

  const numberOf = (text) => {
    const found = text.match(NUMBER);
    return found ? Number(found[0].replace(/[,\s]/g, "").replace("\u2212", "-")) : NaN;
  };

  /* The rows in the order of a column; equal ones stay as they stood. */
  const sorted = (rows, column, direction) => {
    const keys = new Map(rows.map((row) => {
      const text = textOf(row.cells[column]);
      return [row, { text, number: numberOf(text) }];
    }));
    const numbers = [...keys.values()].filter((key) => !Number.isNaN(key.number)).length;
    const asNumbers = 2 * numbers >= rows.length;
    const sign = direction === "descending" ? -1 : 1;
    return [...rows].sort((first, second) => {
      const a = keys.get(first), b = keys.get(second);
      if (asNumbers) {
        const missing = Number.isNaN(a.number) - Number.isNaN(b.number);
        if (missing) return missing;
        if (a.number !== b.number && !Number.isNaN(a.number)) return sign * (a.number - b.number);
      }
      return sign * compareText(a.text, b.text);
    });
  };

  const makeSortable = (table, headers) => {
    const body = table.tBodies[0];
    const asOnPage = [...body.rows];
    headers.forEach((header, column) => {
      if (!textOf(header) || header.querySelector("a, button")) return;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...(header.querySelector(":scope > p") || header).childNodes);
      header.replaceChildren(button);
      header.scope = "col";
      button.addEventListener("click", () => {
        const next = { ascending: "descending", descending: null }[header.getAttribute("aria-sort")];
        const direction = next === undefined ? "ascending" : next;
        headers.forEach((other) => other.removeAttribute("aria-sort"));
        if (direction) header.setAttribute("aria-sort", direction);
        body.append(...(direction ? sorted(asOnPage, column, direction) : asOnPage));
      });
    });
  };

  const slug = (text) => text.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 60);

  /* RFC 4180; the mark at the beginning tells spreadsheets that it is UTF-8. */
  const csvOf = (table, names) => {
    const lines = [names, ...[...table.tBodies[0].rows].map((row) => [...row.cells].map(textOf))];
    const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    return "\ufeff" + lines.map((line) => line.map(quoted).join(",") + "\r\n").join("");
  };

  const addDownload = (table, names, title, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "download-table";
    button.textContent = "Download as CSV";
    button.setAttribute("aria-label", `Download as CSV: ${title}`);
    button.addEventListener("click", () => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([csvOf(table, names)], { type: "text/csv" }));
      const page = location.pathname.split("/").pop().replace(/\.html$/, "");
      link.download = `${slug(page)}-${slug(title)}.csv`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
    place.after(button);
  };

  const enhance = (table, index) => {
    const result = Boolean(table.closest(".cell_output"));
    const headers = table.tHead && table.tHead.rows.length === 1 ? [...table.tHead.rows[0].cells] : [];
    const body = table.tBodies.length === 1 ? table.tBodies[0] : null;
    // What is not one row of headers over rows as wide as it is laid out by hand, and left alone.
    if (!headers.length || !body || !body.rows.length) return;
    const plain = [table.tHead.rows[0], ...body.rows].every((row) =>
      row.cells.length === headers.length && [...row.cells].every((cell) => cell.colSpan === 1 && cell.rowSpan === 1));
    const long = body.rows.length >= SHORTEST_TO_SORT[result ? "results" : "prose"];
    if (!plain || !(result || long)) return;
    const names = headers.map(textOf);
    const title = table.caption ? textOf(table.caption) : `table ${index + 1}`;
    let box = table.closest(".pst-scrollable-table-container");
    if (!box) {
      // A box of its own, so that the button below does not move when a wide table is scrolled.
      box = document.createElement("div");
      box.className = "table-box";
      table.replaceWith(box);
      box.append(table);
    }
    if (table.caption) {
      const line = document.createElement("span");
      line.append(...table.caption.childNodes);
      table.caption.append(line);
    }
    for (const cell of [...body.rows].flatMap((row) => [...row.cells])) cell.classList.add(kindOf(textOf(cell)));
    box.classList.toggle("tall", body.rows.length > LONGEST_IN_FULL);
    if (long) makeSortable(table, headers);
    addDownload(table, names, title, box);
  };

  /* Whoever has no mouse scrolls a wide table or figure with the arrow keys, and for that must be able to reach it. */
  const makeReachable = (box) => {
    const scrolls = box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight;
    if (!scrolls) {
      box.removeAttribute("tabindex");
      return;
    }
    const caption = box.querySelector("caption, figcaption");
    box.tabIndex = 0;
    if (box.tagName !== "FIGURE") box.setAttribute("role", "group");
    box.setAttribute("aria-label", caption ? textOf(caption) : "scrolls sideways");
  };

  const start = () => {
    document.querySelectorAll(".bd-article table").forEach(enhance);
    // As often as a window, or a change of letters, changes what has room.
    const observer = new ResizeObserver((changes) => changes.forEach((change) => makeReachable(change.target)));
    document.querySelectorAll(`.bd-article :is(${SCROLLING})`).forEach((box) => {
      makeReachable(box);
      observer.observe(box);
    });
  };
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", start);
  else start();
})();
