for (const screen of document.querySelectorAll(".screen")) {
  const views = [...screen.querySelectorAll(".view-of")];
  const shown = () => views.find((view) => !view.hidden);
  // Words of the facts become menus where there is a choice.
  for (const place of screen.querySelectorAll("[data-switch]")) {
    const key = place.dataset.switch, view = place.closest(".view-of");
    const others = key === "metric" ? views : views.filter((one) => one.dataset.metric === view.dataset.metric);
    const choices = [...new Set(others.map((one) => one.dataset[key]))];
    if (choices.length < 2) continue;
    const menu = document.createElement("select");
    menu.setAttribute("aria-label", key);
    for (const choice of choices) menu.add(new Option(choice, choice, false, choice === view.dataset[key]));
    menu.addEventListener("change", () => {
      const wanted = { ...view.dataset, [key]: menu.value };
      const fits = views.filter((one) => one.dataset[key] === wanted[key]);
      const next = fits.find((one) => one.dataset.metric === wanted.metric && one.dataset.schedule === wanted.schedule) ?? fits[0];
      menu.value = view.dataset[key];
      for (const one of views) one.hidden = one !== next;
      next.querySelector(`[data-switch="${key}"] select`)?.focus();
    });
    place.replaceChildren(menu);
  }
  for (const view of views) {
    const svg = view.querySelector("figure svg"), rows = [...view.querySelectorAll("tbody tr")];
    const marks = (row, kind = "") => svg ? [...svg.querySelectorAll(`.mark${kind}[data-row="${row}"]`)] : [];
    const light = (row) => {
      view.classList.toggle("lit", row !== undefined);
      for (const one of view.querySelectorAll("[data-row]")) one.classList.toggle("lit", one.dataset.row === row);
    };
    for (const row of rows) {
      const box = document.createElement("input"), head = row.querySelector("th");
      box.type = "checkbox";
      box.checked = true;
      box.setAttribute("aria-label", `Show ${head.textContent.trim()}`);
      box.style.accentColor = head.querySelector(".arm").style.getPropertyValue("--arm");
      box.addEventListener("change", () => {
        row.classList.toggle("off", !box.checked);
        for (const mark of marks(row.dataset.row)) mark.classList.toggle("off", !box.checked);
      });
      head.prepend(box);
      head.classList.add("switched");
      row.addEventListener("pointerenter", () => light(row.dataset.row));
      row.addEventListener("pointerleave", () => light());
    }
    if (!svg) continue;
    // The nearest point of a visible line speaks, so that nobody has to hit a dot.
    const points = [...svg.querySelectorAll(".mark.point")];
    for (const point of points) {
      const title = point.querySelector("title");
      if (title) { point.dataset.tip = title.textContent; title.remove(); }
    }
    svg.addEventListener("pointermove", (event) => {
      let nearest, least = 28;
      for (const point of points) {
        if (point.classList.contains("off")) continue;
        const box = point.getBoundingClientRect();
        const away = Math.hypot(event.clientX - box.x - box.width / 2, event.clientY - box.y - box.height / 2);
        if (away < least) [nearest, least] = [point, away];
      }
      light(nearest?.dataset.row);
      say(nearest?.dataset.tip, event);
    });
    svg.addEventListener("pointerleave", () => { light(); say(); });
  }
}
const tip = document.createElement("div");
tip.className = "tip";
tip.setAttribute("role", "status");
tip.hidden = true;
document.body.append(tip);
function say(words, event) {
  tip.hidden = !words;
  if (!words) return;
  tip.textContent = words;
  const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
  const below = event.clientY + 18 + tip.offsetHeight < innerHeight;
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${below ? event.clientY + 18 : event.clientY - tip.offsetHeight - 12}px`;
}
for (const cell of document.querySelectorAll("td[data-tip]")) {
  cell.addEventListener("pointermove", (event) => say(cell.dataset.tip, event));
  cell.addEventListener("pointerleave", () => say());
}
// A link into something folded opens it.
function unfold() {
  const place = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let one = place; one; one = one.parentElement) if (one.tagName === "DETAILS") one.open = true;
  if (place) place.scrollIntoView();
}
addEventListener("hashchange", unfold);
addEventListener("click", (event) => {
  if (event.target.closest?.('a[href^="#"]')) setTimeout(unfold);
});
unfold();
// Paper has nothing to click, so the caveats and the words are printed open; parts below only if a reader opened them.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll(".folds details:not([open])")];
  for (const one of opened) one.open = true;
});
addEventListener("afterprint", () => {
  for (const one of opened) one.open = false;
  opened = [];
});
