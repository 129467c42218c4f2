"use strict";
// Tables are sorted by the header that is clicked: worst, smallest or first letter first, then the other way round.
const ranks = ["RED", "FAIL", "BROKEN", "YELLOW", "UNTESTABLE", "UNTESTED", "GREEN", "PASS"];
const units = { ms: 0.001, s: 1, min: 60 };
const letters = new Intl.Collator("en", { numeric: true });

function key(cell) {
  const text = cell.textContent.trim();
  const rank = ranks.indexOf(text.split(" ")[0]);
  if (rank >= 0) return { kind: 0, value: rank, text };
  const number = /^(-?\d+(?:\.\d+)?)(?: (ms|s|min)| of .*| ?%.*)?$/.exec(text);
  if (number) return { kind: 0, value: Number(number[1]) * (units[number[2]] ?? 1), text };
  const empty = text === "" || text === "\u2014" || text === "not measured";
  return { kind: empty ? 2 : 1, value: 0, text };
}

function sort(table, header) {
  const descending = header.getAttribute("aria-sort") === "ascending";
  const rows = [...table.tBodies[0].rows].map((row) => ({ row, key: key(row.cells[header.cellIndex]) }));
  rows.sort((one, other) => {
    // What has no value stays below, whatever the direction.
    if (one.key.kind === 2 || other.key.kind === 2) return one.key.kind - other.key.kind;
    const order = one.key.kind - other.key.kind || one.key.value - other.key.value || letters.compare(one.key.text, other.key.text);
    return descending ? -order : order;
  });
  for (const cell of header.parentNode.cells) cell.setAttribute("aria-sort", "none");
  header.setAttribute("aria-sort", descending ? "descending" : "ascending");
  table.tBodies[0].append(...rows.map((entry) => entry.row));
}

for (const table of document.querySelectorAll("table")) {
  if (!table.tHead || !table.tBodies[0] || table.tBodies[0].rows.length < 2) continue;
  for (const header of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    header.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => sort(table, header));
  }
}
