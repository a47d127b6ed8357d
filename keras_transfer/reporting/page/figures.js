"use strict";
// Figures: panels in place, and the value of the mark under or near the pointer, or gone through by
// arrow keys. page.js, which comes next, hides marks and panels.

const hide = (node, hidden) => node.classList.toggle("off", hidden);
const isShown = (node) => !node.classList.contains("off");

// Panels that are left move to the first places, and the picture ends below them.
function arrange(figure) {
  const svg = figure.querySelector("svg");
  const panels = svg ? [...svg.querySelectorAll(".panel")] : [];
  if (!panels.length || !isShown(figure)) return;
  svg.dataset.box ??= svg.getAttribute("viewBox");
  const places = panels.map(placeOf);
  const left = panels.filter(isShown);
  left.forEach((panel, i) => {
    const from = placeOf(panel), to = places[i];
    panel.setAttribute("transform", `translate(${to.x - from.x} ${to.y - from.y})`);
  });
  const lost = Math.max(...places.map((p) => p.y)) - places[left.length - 1].y;
  const [x, y, width, height] = svg.dataset.box.split(" ").map(Number);
  svg.setAttribute("viewBox", `${x} ${y} ${width} ${height - lost}`);
  const lowest = Math.max(...places.map((p) => p.y + p.height));
  for (const part of panels[0].parentNode.children) {
    if (part.matches(".panel") || part.tagName !== "g") continue;
    const top = (part.dataset.top ??= part.getBBox().y);
    if (top >= lowest) part.setAttribute("transform", `translate(0 ${-lost})`);
  }
}

// Where a panel's frame was drawn: its first shape.
function placeOf(panel) {
  if (!panel.dataset.place) {
    const { x, y, width, height } = panel.querySelector("path").getBBox();
    panel.dataset.place = JSON.stringify({ x, y, width, height });
  }
  return JSON.parse(panel.dataset.place);
}

const NEAR = 20; // pixels
const tip = document.getElementById("tip");
const spoken = document.getElementById("spoken");
const titles = new Map(
  [...document.querySelectorAll("#figure-filters [name=target]")].map((box) => [box.value, box.nextElementSibling.textContent]),
);

// Of several panels, it is said which.
function words(mark) {
  const several = mark.closest("svg").querySelectorAll(".panel").length > 1;
  const title = several && titles.get(mark.dataset.target);
  return (title ? `${title}: ` : "") + mark.dataset.text;
}

function point(mark) {
  document.querySelector(".mark.on")?.closest(".plot")?.classList.remove("pointed");
  document.querySelector(".mark.on")?.classList.remove("on");
  tip.hidden = !mark;
  if (!mark) return;
  mark.classList.add("on");
  mark.closest(".plot").classList.add("pointed");
  tip.textContent = words(mark);
  const box = mark.getBoundingClientRect(), size = tip.getBoundingClientRect();
  const x = box.x + box.width / 2 - size.width / 2;
  const above = box.y - size.height - 8;
  tip.style.left = `${Math.max(4, Math.min(x, document.documentElement.clientWidth - size.width - 4))}px`;
  tip.style.top = `${above > 4 ? above : box.bottom + 8}px`;
}

function nearest(plot, x, y) {
  let found = null, least = NEAR;
  for (const mark of plot.querySelectorAll(".mark:not(.off)")) {
    const box = mark.getBoundingClientRect();
    if (!box.width && !box.height) continue; // in a panel that is hidden
    const dx = Math.max(box.left - x, 0, x - box.right), dy = Math.max(box.top - y, 0, y - box.bottom);
    const middle = Math.hypot(x - box.x - box.width / 2, y - box.y - box.height / 2);
    const far = Math.hypot(dx, dy) + middle / 1e4; // of those that overlap, the one in the middle
    if (far < least) [found, least] = [mark, far];
  }
  return found;
}

function makePlot(plot) {
  const at = (event) => point(nearest(plot, event.clientX, event.clientY));
  plot.addEventListener("pointermove", at);
  plot.addEventListener("pointerdown", at); // a finger does not move before it touches
  plot.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && point(null));
  const step = (to) => {
    const marks = [...plot.querySelectorAll(".mark:not(.off)")];
    if (!marks.length) return;
    const last = marks.length - 1, now = marks.findIndex((mark) => mark.matches(".on"));
    const next = { first: 0, last, on: Math.min(now + 1, last), back: Math.max(now - 1, 0) }[to];
    marks[next].scrollIntoView({ block: "nearest", inline: "nearest" });
    point(marks[next]);
    spoken.textContent = `${words(marks[next])}; ${next + 1} of ${marks.length}`;
  };
  const keys = { ArrowRight: "on", ArrowDown: "on", ArrowLeft: "back", ArrowUp: "back", Home: "first", End: "last" };
  plot.addEventListener("keydown", (event) => {
    if (event.key === "Escape") point(null);
    if (!(event.key in keys)) return;
    event.preventDefault();
    step(keys[event.key]);
  });
  plot.addEventListener("focus", () => plot.matches(":focus-visible") && step("on"));
  plot.addEventListener("blur", () => point(null));
}
