/* node slides.mjs < {browser, root, pages}: what of every slide is cut off at 1280 × 720, and what its page asks for. */

import { readFileSync } from "node:fs";
import { launched } from "./launch.mjs";
import { serve } from "./server.mjs";

const ROOM = { width: 1280, height: 720 };
const { browser: executablePath, root, pages } = JSON.parse(readFileSync(0, "utf8"));
const browser = await launched(executablePath);
const site = await serve(root);
const page = await browser.newPage({ viewport: ROOM });

/* MathJax's letters, all of them: a slide that is not shown asks for none, and widths are theirs. */
const letters = () => Promise.all([...document.fonts].map((face) => face.load())).then(() => true);

/* In the page: goes through all slides, and lists what sticks out of the one that is shown. */
function walk({ width, height }) {
  const seen = [];
  for (let number = 0; number < Reveal.getTotalSlides(); number += 1) {
    Reveal.slide(number);
    const slide = Reveal.getCurrentSlide();
    const inside = [...slide.querySelectorAll(".chapter, h1, h2, .shown > *, img, mjx-container, td, code")];
    const out = inside.filter((one) => {
      const { left, right, top, bottom } = one.getBoundingClientRect();
      return left < 0 || right > width + 0.5 || top < 0 || bottom > height + 0.5;
    });
    const loaded = [...slide.querySelectorAll("img")].every((one) => one.naturalWidth > 0);
    const size = Math.min(...inside.map((one) => parseFloat(getComputedStyle(one).fontSize)));
    seen.push({
      heading: slide.querySelector("h1, h2").textContent.trim(),
      kind: slide.className.split(" ")[0],
      out: out.map((one) => `${one.tagName}: ${one.textContent.slice(0, 60)}`),
      loaded,
      size,
      tex: /\\[a-zA-Z]+|\$/.test(slide.innerText),
      errors: slide.querySelectorAll("mjx-merror").length,
    });
  }
  return seen;
}

const result = {};
for (const path of pages) {
  const [elsewhere, wrong] = [[], []];
  page.on("request", (one) => one.url().startsWith(site.origin) || elsewhere.push(one.url()));
  page.on("requestfailed", (one) => wrong.push(one.url()));
  page.on("response", (one) => one.status() < 400 || wrong.push(one.url().replace(site.origin, "")));
  page.on("pageerror", (error) => wrong.push(error.message));
  await page.goto(`${site.origin}/${path}`, { waitUntil: "load" });
  await page.waitForSelector("html[data-set]", { state: "attached" });
  await page.evaluate(letters);
  result[path] = { slides: await page.evaluate(walk, ROOM), elsewhere, wrong };
  page.removeAllListeners();
}
console.log(JSON.stringify(result));
await browser.close();
site.close();
