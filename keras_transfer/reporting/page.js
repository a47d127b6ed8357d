// Sorts a table by the column whose heading is pressed; missing values stay last.
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const up = heading.getAttribute("aria-sort") !== "ascending";
      const value = (row) => {
        const text = row.cells[column].dataset.value;
        return text === undefined ? NaN : Number(text);
      };
      const rows = [...table.tBodies[0].rows].sort((first, second) => {
        const a = value(first), b = value(second);
        if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
        return up ? a - b : b - a;
      });
      table.tBodies[0].append(...rows);
      for (const other of headings) other.setAttribute("aria-sort", "none");
      heading.setAttribute("aria-sort", up ? "ascending" : "descending");
    });
  });
}
