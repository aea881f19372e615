/* Tables of results can be downloaded as CSV; wide tables and figures scroll by keyboard. */
(() => {
  "use strict";

  // A longer table scrolls in a box.
  const LONGEST_IN_FULL = 40;
  // By length: a number with its standard deviation is never broken, a sentence is.
  const kindOf = (text) => (text.length <= 18 ? "short" : text.length <= 60 ? "wraps" : "long");
  const SCROLLING = ".table-box, .pst-scrollable-table-container, .drawing, figure.chart";
  const NUMBER = /^(?!0\d)[-+]?\d[\d,]*(\.\d+)?(e[-+]?\d+)?( ?±.*| ?%| ?\(.*\))?$/;
  // A folded cell keeps its text for the download.
  const textOf = (cell) => cell.dataset?.text ?? cell.textContent.trim().replace(/\s+/g, " ");

  const slug = (text) => text.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 60);

  /* RFC 4180 with a byte-order mark, which spreadsheets need to recognise UTF-8. */
  const csvOf = (table, names) => {
    const lines = [names, ...[...table.tBodies[0].rows].map((row) => [...row.cells].map(textOf))];
    // A spreadsheet would compute text that begins like a formula.
    const inert = (text) => (/^[=+\-@]/.test(text) && !/^[-+][-\d.,%±() to]*$/.test(text) ? `'${text}` : text);
    const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    return "\ufeff" + lines.map((line) => line.map((text) => quoted(inert(text))).join(",") + "\r\n").join("");
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

  /* Numbers are aligned to the right, and so is a column's header where all values are numbers or missing. */
  const alignNumbers = (rows, headers) => headers.forEach((header, column) => {
    const cells = rows.map((row) => row.cells[column]);
    const numbers = cells.filter((cell) => NUMBER.test(textOf(cell)));
    numbers.forEach((cell) => cell.classList.add("number"));
    const others = cells.filter((cell) => !numbers.includes(cell)).map(textOf);
    if (numbers.length && others.every((text) => ["", "-", "undefined", "not run"].includes(text))) {
      [header, ...cells].forEach((cell) => cell.classList.add("number"));
    }
  });

  /* A sentence that repeats the one above it is folded. */
  const foldRepeated = (rows) => rows.forEach((row, index) => [...row.cells].forEach((cell, column) => {
    const text = textOf(cell);
    if (!index || text.length < 60 || text !== textOf(rows[index - 1].cells[column])) return;
    const folded = document.createElement("details");
    const summary = document.createElement("summary");
    summary.textContent = "as above";
    folded.append(summary, ...cell.childNodes);
    cell.dataset.text = text;
    cell.classList.replace("long", "short");
    cell.append(folded);
  }));

  const enhance = (table, index) => {
    if (!table.closest(".cell_output")) return;
    const headers = table.tHead && table.tHead.rows.length === 1 ? [...table.tHead.rows[0].cells] : [];
    const body = table.tBodies.length === 1 ? table.tBodies[0] : null;
    // Tables laid out by hand, with merged cells, are left unchanged.
    if (!headers.length || !body || !body.rows.length) return;
    const plain = [table.tHead.rows[0], ...body.rows].every((row) =>
      row.cells.length === headers.length && [...row.cells].every((cell) => cell.colSpan === 1 && cell.rowSpan === 1));
    if (!plain) return;
    const names = headers.map(textOf);
    const title = table.caption ? textOf(table.caption) : `table ${index + 1}`;
    let box = table.closest(".pst-scrollable-table-container");
    if (!box) {
      // The button below stays in place when a wide table is scrolled.
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
    const rows = [...body.rows];
    for (const cell of rows.flatMap((row) => [...row.cells])) cell.classList.add(kindOf(textOf(cell)));
    alignNumbers(rows, headers);
    foldRepeated(rows);
    if (rows.length > LONGEST_IN_FULL) {
      box.classList.add("tall");
      (table.caption?.lastChild ?? table.createCaption()).append(` (${rows.length} rows; scroll)`);
    }
    addDownload(table, names, title, box);
  };

  /* A box that scrolls must be reachable by keyboard. */
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
    const observer = new ResizeObserver((changes) => changes.forEach((change) => makeReachable(change.target)));
    document.querySelectorAll(`.bd-article :is(${SCROLLING})`).forEach((box) => {
      makeReachable(box);
      observer.observe(box);
    });
  };
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", start);
  else start();
})();
