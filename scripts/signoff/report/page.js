for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = (row) => row.cells[column].dataset.sort ?? row.cells[column].textContent;
      const compare = (a, b) => a !== "" && b !== "" && !isNaN(a) && !isNaN(b) ? a - b : a.localeCompare(b, "en");
      const rows = [...table.tBodies[0].rows].sort((one, other) => {
        const [a, b] = [key(one), key(other)];
        return a === "" || b === "" ? (a === "") - (b === "") : (up ? 1 : -1) * compare(a, b);
      });
      table.tBodies[0].append(...rows);
    });
  });
}
for (const table of document.querySelectorAll("table.sortable")) {
  const rows = [...table.tBodies[0].rows];
  if (rows.length < 15) continue;
  const frame = table.parentElement, search = document.createElement("input"), count = document.createElement("output");
  Object.assign(search, { type: "search", placeholder: "Search", className: "search" });
  search.setAttribute("aria-label", `Search: ${frame.getAttribute("aria-label")}`);
  search.addEventListener("input", () => {
    const words = search.value.toLowerCase().split(/\s+/);
    for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
    count.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
  });
  frame.before(search, count);
}
for (const area of document.querySelectorAll("textarea.filled")) {
  const file = document.createElement("input");
  file.type = "file";
  file.setAttribute("aria-label", `${document.querySelector(`label[for="${area.id}"]`).textContent}: choose a file`);
  file.addEventListener("change", async () => { if (file.files[0]) area.value = await file.files[0].text(); });
  area.after(file);
}
