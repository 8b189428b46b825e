"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const key = (row, column) => {
    const cell = row.cells[column];
    return "number" in cell.dataset ? Number(cell.dataset.number) : cell.textContent;
  };
  const order = (a, b) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    if (typeof a === "number" && typeof b === "number") return a - b;
    return typeof a === typeof b ? a.localeCompare(b) : typeof a === "number" ? -1 : 1;
  };
  heads.forEach((head, column) => head.querySelector("button")?.addEventListener("click", () => {
    // numbers begin with the largest, words with A
    const numbers = [...table.tBodies[0].rows].some((row) => "number" in row.cells[column].dataset);
    const before = head.getAttribute("aria-sort");
    const down = before ? before === "ascending" : numbers;
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const empty = (row) => key(row, column) === "";
    const rows = [...table.tBodies[0].rows].sort((a, b) =>
      empty(a) || empty(b) || !down ? order(key(a, column), key(b, column)) : order(key(b, column), key(a, column)));
    table.tBodies[0].append(...rows);
  }));
}
