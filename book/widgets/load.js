/**
 * Brings a widget to life when it comes near the window: its module and its numbers are fetched then,
 * and not before. A classic script, because a browser refuses modules to a page that was opened as a
 * file; there, and wherever a part is missing, the picture is shown that paper has.
 */
(() => {
  const here = document.currentScript.src;
  const fetched = (path) => new URL(path, here).href;

  async function mount(widget) {
    const stage = widget.querySelector(".widget-stage");
    const name = widget.dataset.widget;
    const ready = window.readyWidgets?.[name]; // in a classic script
    if (location.protocol === "file:" && !ready)
      return showPicture(widget, "It moves when the book is served, as by “make serve”.");
    const asWritten = stage.innerHTML;
    try {
      const { mount: begin, start } = ready ?? (await load(name));
      begin(stage, start);
      const again = widget.querySelector(".widget-again");
      again.hidden = false;
      again.addEventListener("click", () => {
        stage.innerHTML = asWritten;
        begin(stage, start);
      });
    } catch (reason) {
      showPicture(widget, "It could not be loaded; this is how it begins.");
      throw reason;
    }
  }

  async function load(name) {
    const [module, numbers] = await Promise.all([
      import(fetched(`${name}.mjs`)),
      fetch(fetched(`data/${name}.json`)),
    ]);
    return { mount: module.default, start: await numbers.json() };
  }

  function showPicture(widget, why) {
    widget.classList.add("still");
    widget.append(why);
  }

  const near = new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        near.unobserve(target);
        mount(target);
      }
    },
    { rootMargin: "600px" },
  );
  for (const widget of document.querySelectorAll("[data-widget]")) near.observe(widget);
})();
