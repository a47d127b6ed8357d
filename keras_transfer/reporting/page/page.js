// Sorting and filtering. What is chosen stands in the address, behind the
// section: #figures?target=pets&shots=5&sort.transfer=2.ascending

const chosen = new URLSearchParams();

function readAddress() {
  const [, query] = location.hash.split("?");
  if (query === undefined) return; // a link to a section: what is chosen stays
  for (const key of [...chosen.keys()]) chosen.delete(key);
  for (const [key, value] of new URLSearchParams(query)) chosen.append(key, value);
}

function writeAddress() {
  const section = location.hash.split("?")[0];
  const rest = chosen.size ? `${section || "#"}?${chosen}` : section;
  history.replaceState(null, "", rest || location.pathname);
}

// ---- Tables: a button in every heading of the last row; pressed a third time, the order is again
// what it was. Missing values stay last, and rows below a row of one cell stay below it.

const MISSING = ["", "–", "-"];
const ORDERS = ["none", "ascending", "descending"];

function headings(table) {
  const taken = [], found = [];
  [...table.tHead.rows].forEach((row, y) => {
    let x = 0;
    for (const cell of row.cells) {
      while (taken[y]?.[x]) x++;
      for (let dy = 0; dy < cell.rowSpan; dy++)
        for (let dx = 0; dx < cell.colSpan; dx++) (taken[y + dy] ??= [])[x + dx] = true;
      if (cell.colSpan === 1 && y + cell.rowSpan === table.tHead.rows.length) found[x] = cell;
      x += cell.colSpan;
    }
  });
  return found;
}

function valueOf(row, column) {
  const cell = row.cells[column];
  const text = cell?.dataset.value ?? cell?.textContent.trim() ?? "";
  return MISSING.includes(text) ? null : text;
}

function sorted(rows, column, order) {
  const values = new Map(rows.map((row) => [row, valueOf(row, column)]));
  const numbers = [...values.values()].every((value) => value === null || !isNaN(value));
  const sign = order === "descending" ? -1 : 1;
  return [...rows].sort((first, second) => {
    const a = values.get(first), b = values.get(second);
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (numbers ? a - b : a.localeCompare(b, undefined, { numeric: true }));
  });
}

function makeSortable(table) {
  const columns = headings(table);
  const bodies = [...table.tBodies].map((body) => ({ body, rows: [...body.rows] }));
  const show = () => {
    const [place, order] = (chosen.get(`sort.${table.id}`) ?? "").split(".");
    const column = columns[place] && ORDERS.includes(order) ? Number(place) : null;
    columns.forEach((heading, x) => heading.setAttribute("aria-sort", x === column ? order : "none"));
    for (const { body, rows } of bodies) {
      if (column === null) {
        body.append(...rows);
        continue;
      }
      let part = [];
      for (const row of [...rows, null]) {
        if (row && row.cells.length > 1) part.push(row);
        else {
          body.append(...sorted(part, column, order), ...(row ? [row] : []));
          part = [];
        }
      }
    }
  };
  columns.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const now = heading.getAttribute("aria-sort");
      const next = ORDERS[(ORDERS.indexOf(now) + 1) % ORDERS.length];
      if (next === "none") chosen.delete(`sort.${table.id}`);
      else chosen.set(`sort.${table.id}`, `${column}.${next}`);
      show();
      writeAddress();
    });
  });
  return show;
}

// ---- Filters: in each group, nothing pressed means everything.

function makeFilters(form, prefix, apply) {
  const boxes = [...form.querySelectorAll("input")];
  const read = () => {
    for (const name of new Set(boxes.map((box) => box.name))) chosen.delete(prefix + name);
    for (const box of boxes) if (box.checked) chosen.append(prefix + box.name, box.value);
  };
  const show = () => {
    for (const box of boxes) box.checked = chosen.getAll(prefix + box.name).includes(box.value);
    const wanted = {};
    for (const box of boxes) {
      wanted[box.name] ??= new Set();
      if (box.checked) wanted[box.name].add(box.value);
    }
    form.querySelector("output").textContent = apply(wanted);
    form.querySelector("[type=reset]").disabled = !boxes.some((box) => box.checked);
  };
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", () => (read(), show(), writeAddress()));
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    for (const box of boxes) box.checked = false;
    read(), show(), writeAddress();
  });
  return show;
}

// What joins two marks has both their values, such as "5 10".
const withPairs = (values) => new Set([...values].flatMap((a) => [a, ...[...values].map((b) => `${a} ${b}`)]));

function matcher(wanted) {
  const facets = Object.entries(wanted).filter(([, values]) => values.size);
  const allowed = facets.map(([facet, values]) => [facet, withPairs(values)]);
  return (node) =>
    allowed.every(([facet, values]) => !(facet in node.dataset) || values.has(node.dataset[facet]));
}

function filterFigures(wanted) {
  const fits = matcher(wanted);
  for (const node of document.querySelectorAll(".mark, .link")) hide(node, !fits(node));
  for (const panel of document.querySelectorAll("svg .panel")) {
    const marks = [...panel.querySelectorAll(".mark")];
    hide(panel, !fits(panel) || (marks.length > 0 && !marks.some(isShown)));
  }
  let figures = 0, values = 0, all = 0;
  for (const figure of document.querySelectorAll("figure")) {
    const marks = [...figure.querySelectorAll(".mark")];
    const shown = marks.filter(isShown).length;
    hide(figure, marks.length > 0 && !shown);
    figures += shown > 0;
    values += shown;
    all += marks.length;
    arrange(figure);
  }
  point(null);
  return `${values} of ${all} values shown, in ${figures} ${figures === 1 ? "figure" : "figures"}`;
}

function filterRows(table) {
  return (wanted) => {
    const fits = matcher(wanted);
    const rows = [...table.tBodies].flatMap((body) => [...body.rows]);
    for (const row of rows) hide(row, !fits(row));
    return `${rows.filter(isShown).length} of ${rows.length} rows shown`;
  };
}

// ---- All together

const shows = [...document.querySelectorAll("table.sortable")].map(makeSortable);
for (const form of document.querySelectorAll("form.filters")) {
  const name = form.id.replace(/-rows$/, "");
  shows.push(
    name === form.id
      ? makeFilters(form, "", filterFigures)
      : makeFilters(form, `${name}.`, filterRows(document.getElementById(name))),
  );
}
document.querySelectorAll(".plot[tabindex]").forEach(makePlot);
document.addEventListener("scroll", () => tip.hidden || point(document.querySelector(".mark.on")), { passive: true });

function showAddress() {
  readAddress();
  for (const show of shows) show();
  writeAddress();
  const [section] = location.hash.split("?");
  if (section.length > 1) document.getElementById(section.slice(1))?.scrollIntoView();
}
addEventListener("hashchange", showAddress);
showAddress();
// Parts that are folded away are printed too.
const folded = [...document.querySelectorAll("details:not(.screen)")];
let opened = [];
addEventListener("beforeprint", () => {
  opened = folded.filter((part) => !part.open);
  for (const part of opened) part.open = true;
});
addEventListener("afterprint", () => {
  for (const part of opened) part.open = false;
});
