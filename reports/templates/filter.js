for (const table of document.querySelectorAll("table.sortable:not(.change)")) {
  const rows = [...table.tBodies[0].rows];
  if (rows.length < 10) continue;
  const field = document.createElement("input"), count = document.createElement("span"), bar = document.createElement("p");
  field.type = "search";
  field.placeholder = "Filter rows";
  field.setAttribute("aria-label", `Filter rows of ${table.parentElement.getAttribute("aria-label")}`);
  count.setAttribute("role", "status");
  bar.className = "filter";
  bar.append(field, count);
  table.parentElement.before(bar);
  const show = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
    const shown = rows.filter((row) => !row.hidden).length;
    count.textContent = words.length ? `${shown} of ${rows.length}` : `${rows.length} rows`;
  };
  field.addEventListener("input", show);
  show();
}
