// Looks at the page as a reader would see it, with everything folded open, and tells the page around it.
addEventListener("load", () => setTimeout(() => {
  // The first screen before anything is touched, and what its switches do.
  const screen = document.querySelector(".screen"), first = {};
  if (screen) {
    const figure = screen.querySelector("figure"), view = () => screen.querySelector(".view-of:not([hidden])");
    const before = document.createRange();
    before.setStart(document.body, 0);
    before.setEndBefore(figure);
    const seen = before.cloneContents();
    for (const one of seen.querySelectorAll("script, style, option, [hidden]")) one.remove();
    first.words = seen.textContent.split(/\s+/).filter(Boolean).length;
    first.bottom = view().querySelector(".answer").getBoundingClientRect().bottom;
    const row = view().querySelector("tbody tr"), marks = [...view().querySelectorAll(`.mark[data-row="${row.dataset.row}"]`)];
    const drawn = () => marks.filter((mark) => getComputedStyle(mark).display !== "none").length;
    const counts = [marks.length, drawn()];
    row.querySelector("input").click();
    counts.push(drawn());
    row.querySelector("input").click();
    first.marks = [...counts, drawn()];
    const tip = document.querySelector(".tip"), said = () => (tip.hidden ? "" : tip.textContent);
    const point = view().querySelector(`.mark.point[data-row="${row.dataset.row}"]`), box = point.getBoundingClientRect();
    const at = { clientX: box.x + box.width / 2 + 3, clientY: box.y + box.height / 2, bubbles: true };
    const svg = view().querySelector("svg"), cell = row.querySelector("td[data-tip]");
    svg.dispatchEvent(new PointerEvent("pointermove", at));
    first.tips = [said()];
    svg.dispatchEvent(new PointerEvent("pointerleave", at));
    first.tips.push(said());
    cell.dispatchEvent(new PointerEvent("pointermove", at));
    first.tips.push(said());
    cell.dispatchEvent(new PointerEvent("pointerleave", at));
    const key = (one) => `${one.dataset.metric}; ${one.dataset.schedule}`;
    first.views = [key(view())];
    for (let left = 3; left; left -= 1) {
      const menu = view().querySelector("select");
      if (!menu) break;
      menu.selectedIndex = (menu.selectedIndex + 1) % menu.options.length;
      menu.dispatchEvent(new Event("change"));
      first.views.push(key(view()));
    }
    first.shown = screen.querySelectorAll(".view-of:not([hidden])").length;
    first.choices = new Set([...screen.querySelectorAll(".view-of")].map(key)).size;
    // Back to the default, which everything else is about.
    for (const [place, one] of [...screen.querySelectorAll(".view-of")].entries()) one.hidden = place > 0;
  }
  for (const details of document.querySelectorAll("details")) details.open = true;
  const found = { first, width: innerWidth, wide: [], cut: [], overlapping: [], tiny: [], network: [] };
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
