/* What every page does for its reader. Without this script the pages are complete, only less convenient. */

/* A box that scrolls sideways can be reached, and so scrolled, by keyboard; in a wider window, or once its fold is
   open, it may scroll no more, or only then. */
const BOXES = `div.highlight pre, .output pre, div.math, mjx-container[display="true"], figure,
  .pst-scrollable-table-container, .indextable`;

/* Widths are rounded: what fits may seem a pixel wider than its box. */
function makeReachable(box) {
  if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
  else box.removeAttribute("tabindex");
}

function keepScrollingBoxesReachable() {
  const sizes = new ResizeObserver((changes) => changes.forEach(({ target }) => makeReachable(target)));
  for (const box of document.querySelectorAll(BOXES)) sizes.observe(box);
}

/* MathJax makes each formula a stop of the Tab key, for its menu: three hundred on a page. The menu stays
   on the right mouse button; the formula's MathML stays for screen readers. */
function takeFormulasOutOfTheTabOrder() {
  for (const formula of document.querySelectorAll("mjx-container")) formula.tabIndex = -1;
}

/* What opens a part of the sidebar is a bare arrow: it is named after the page whose parts it shows. */
function nameWhatOpensTheSidebar() {
  for (const summary of document.querySelectorAll(".bd-links summary")) {
    summary.setAttribute("aria-label", `Parts of ${summary.closest("li").querySelector("a").textContent.trim()}`);
  }
}

/* On a phone (book.css) a figure can be shown at its full size, in a box that scrolls. */
function addEnlargeButtons() {
  for (const figure of document.querySelectorAll("figure:has(img)")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "enlarge";
    button.textContent = "Enlarge the figure";
    button.setAttribute("aria-pressed", "false");
    button.onclick = () => {
      const enlarged = figure.classList.toggle("enlarged");
      button.setAttribute("aria-pressed", String(enlarged));
      makeReachable(figure);
    };
    figure.before(button);
  }
}

/* Chapters that the reader has ticked, kept in this browser and told to nobody. */
const READ = "selfattention-read";

function readChapters() {
  return new Set(JSON.parse(localStorage.getItem(READ) ?? "[]"));
}

function chapterOf(address) {
  return address.match(/\/notebooks\/(\d\d_\w+)\.html/)?.[1];
}

function showProgress() {
  const read = readChapters();
  for (const link of document.querySelectorAll(".bd-links a[href]")) {
    link.classList.toggle("read", read.has(chapterOf(link.href)));
  }
}

function addProgressMark() {
  const chapter = chapterOf(location.href);
  const end = document.querySelector(".bd-article");
  if (!chapter || !end) return;
  const label = document.createElement("label");
  label.className = "progress-mark";
  const box = document.createElement("input");
  box.type = "checkbox";
  box.checked = readChapters().has(chapter);
  box.onchange = () => {
    const read = readChapters();
    box.checked ? read.add(chapter) : read.delete(chapter);
    localStorage.setItem(READ, JSON.stringify([...read]));
    showProgress();
  };
  label.append(box, "I have read this chapter (kept in this browser only)");
  end.append(label);
}

document.addEventListener("DOMContentLoaded", () => {
  nameWhatOpensTheSidebar();
  addEnlargeButtons();
  addProgressMark();
  showProgress();
});

window.addEventListener("load", async () => {
  await window.MathJax?.startup?.promise;
  takeFormulasOutOfTheTabOrder();
  keepScrollingBoxesReachable();
});
/* Paper is white: a page read in the dark is printed by day. */
let shown;
window.addEventListener("beforeprint", () => {
  shown = document.documentElement.dataset.theme;
  document.documentElement.dataset.theme = "light";
});
window.addEventListener("afterprint", () => (document.documentElement.dataset.theme = shown));
