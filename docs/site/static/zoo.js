// Makes the table of the zoo searchable and sortable; without JavaScript it stays a plain table.
document.addEventListener("DOMContentLoaded", () => {
  const table = document.querySelector("table.zoo");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const text = (row, column) => row.cells[column].textContent.trim();
  const tools = document.createElement("div");
  tools.className = "zoo-tools";

  const search = document.createElement("input");
  search.type = "search";
  search.placeholder = "Name, family, task, export ...";
  search.setAttribute("aria-label", "Search the models");
  const select = (column, all) => {
    const box = document.createElement("select");
    box.setAttribute("aria-label", all);
    box.add(new Option(all, ""));
    for (const value of [...new Set(rows.map((row) => text(row, column)))].filter(Boolean).sort()) {
      box.add(new Option(value, value));
    }
    return box;
  };
  const filters = [[1, select(1, "all families")], [2, select(2, "all tasks")], [6, select(6, "any parity")]];
  const count = document.createElement("output");
  tools.append(search, ...filters.map(([, box]) => box), count);
  (table.closest(".table-wrapper") || table).before(tools);

  const show = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const line = row.textContent.toLowerCase();
      const fits = words.every((word) => line.includes(word))
        && filters.every(([column, box]) => !box.value || text(row, column) === box.value);
      row.hidden = !fits;
      shown += fits;
    }
    count.textContent = `${shown} of ${rows.length} models`;
  };
  search.addEventListener("input", show);
  for (const [, box] of filters) box.addEventListener("change", show);

  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...(head.querySelector("p") || head).childNodes);
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const numeric = rows.some((row) => /^[\d.]+$/.test(text(row, column)));
      // the highest figures and the first names come first
      const up = head.ariaSort ? head.ariaSort === "descending" : !numeric;
      for (const other of table.tHead.rows[0].cells) other.ariaSort = null;
      head.ariaSort = up ? "ascending" : "descending";
      rows.sort((first, second) => {
        const [a, b] = [text(first, column), text(second, column)];
        if (!a || !b) return (a ? 0 : 1) - (b ? 0 : 1);   // empty cells last, whatever the direction
        const order = numeric ? parseFloat(a) - parseFloat(b) : a.localeCompare(b);
        return up ? order : -order;
      });
      body.append(...rows);
    });
  });
  show();
});
