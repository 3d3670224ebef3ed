// Looks at the page as a reader would see it, with everything folded open, and tells the page around it.
addEventListener("load", () => setTimeout(() => {
  for (const details of document.querySelectorAll("details")) details.open = true;
  const found = { width: innerWidth, wide: [], cut: [], overlapping: [], tiny: [], network: [] };
  const name = (element) => `${element.tagName} ${element.textContent.trim().slice(0, 40)}`;
  const text = (element) => element.checkVisibility() && element.textContent.trim();

  if (document.documentElement.scrollWidth > innerWidth) found.wide.push(`page ${document.documentElement.scrollWidth}`);
  for (const element of document.body.querySelectorAll("*")) {
    if (!element.checkVisibility() || element.closest("script, option")) continue;
    const box = element.getBoundingClientRect(), style = getComputedStyle(element);
    const scrolls = element.parentElement.closest(".scroll");
    if (!scrolls && box.width && (box.left < -1 || box.right > innerWidth + 1)) found.wide.push(name(element));
    if (scrolls && box.right - scrolls.getBoundingClientRect().left + scrolls.scrollLeft > scrolls.scrollWidth + 1)
      found.cut.push(name(element));
    const clips = style.overflowX !== "visible" && !element.matches(".scroll, svg, svg *, input, img");
    if (clips && element.scrollWidth > element.clientWidth + 1) found.cut.push(name(element));
    if (element.matches("caption") && box.width > innerWidth) found.cut.push(name(element));
    if (element.matches("th, td, li, p, dt, dd") && element.scrollWidth > element.clientWidth + 1) found.cut.push(name(element));
  }
  for (const svg of document.querySelectorAll("svg")) {
    const frame = svg.getBoundingClientRect();
    const boxes = [...svg.querySelectorAll("text")].filter(text).map((t) => [t, t.getBoundingClientRect()]);
    const scale = frame.width / svg.viewBox.baseVal.width;
    for (const [label] of boxes)
      if (parseFloat(getComputedStyle(label).fontSize) * scale < 10.5) found.tiny.push(name(label));
    boxes.forEach(([label, a], i) => {
      if (a.left < frame.left - 1 || a.right > frame.right + 1 || a.top < frame.top - 1 || a.bottom > frame.bottom + 1)
        found.cut.push(`svg ${name(label)}`);
      for (const [other, b] of boxes.slice(i + 1)) {
        const x = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (x > 1 && y > 0.3 * Math.min(a.height, b.height)) found.overlapping.push(`${name(label)} / ${name(other)}`);
      }
    });
  }
  found.network = performance.getEntriesByType("resource").map((e) => e.name).filter((n) => !n.startsWith("data:"));

  const shades = (element) => [getComputedStyle(element).color, getComputedStyle(element).backgroundColor];
  found.dark = matchMedia("(prefers-color-scheme: dark)").matches;
  found.body = shades(document.body);
  found.axes = [...document.querySelectorAll("svg text")].slice(0, 1).map((t) => getComputedStyle(t).fill);

  const key = (cell) => cell.dataset.value ?? cell.textContent.trim();
  found.sorted = [...document.querySelectorAll("table.sortable")].map((table) => {
    const column = table.tHead.rows[0].cells.length - 1, head = table.tHead.rows[0].cells[column];
    const values = () => [...table.tBodies[0].rows].map((row) => key(row.cells[column]));
    const before = values();
    head.querySelector("button").click();
    const up = [values(), head.getAttribute("aria-sort")];
    head.querySelector("button").click();
    return { before, up, down: [values(), head.getAttribute("aria-sort")] };
  });
  found.filtered = [...document.querySelectorAll(".filter")].map((bar) => {
    const rows = [...bar.nextElementSibling.querySelectorAll("tbody tr")], input = bar.querySelector("input");
    const show = (words) => {
      input.value = words;
      input.dispatchEvent(new Event("input"));
      return rows.filter((row) => row.checkVisibility()).map((row) => row.textContent);
    };
    return { rows: rows.length, label: input.getAttribute("aria-label"), lapjv: show("LAPJV"), none: show("no such row"),
             all: show("").length };
  });
  parent.postMessage(JSON.stringify(found), "*");
}, 50));
