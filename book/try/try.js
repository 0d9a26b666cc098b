/**
 * “Try it”: puts an editor in the place of a cell, and runs what is written there in the worker that
 * holds Python. Nothing is fetched before the first Run. The cells of a page share what they define,
 * as those of a notebook do.
 */
(() => {
  const here = document.currentScript.src;
  const { imports, bytes } = document.querySelector("#try-it .try").dataset;
  const megabytes = (count) => Math.round(count / 1e6);
  let worker; // from the first Run until Python is stopped or fails
  let running; // the cell that Python is at work on

  const EDITOR = `
    <textarea wrap="off" spellcheck="false" autocapitalize="off" autocomplete="off"></textarea>
    <div class="try-buttons">
      <button type="button">Run</button><button type="button">Reset</button>
      <span>Ctrl+Enter runs the cell, Tab leaves it.</span>
    </div>
    <pre role="status"></pre>`;

  function open(place) {
    const printed = place.previousElementSibling; // the cell as it stands on the page
    const starter = printed.querySelector("pre").textContent.trimEnd();
    const name = place.dataset.name;
    place.innerHTML = EDITOR;
    printed.hidden = true;

    const text = place.querySelector("textarea");
    const [button, reset] = place.querySelectorAll("button");
    const cell = { name, text, button, says: place.querySelector("pre") };
    text.setAttribute("aria-label", `Python, ${name}`);
    text.addEventListener("input", () => fit(text));
    text.addEventListener("keydown", (event) => press(event, cell));
    button.addEventListener("click", () => (running === cell ? stop() : run(cell)));
    reset.addEventListener("click", () => {
      write(text, starter);
      if (running !== cell) say(cell, "");
    });
    write(text, starter);
    text.focus();
  }

  function write(text, source) {
    text.value = source;
    fit(text);
  }

  function fit(text) {
    text.rows = Math.min(30, text.value.split("\n").length + 1);
  }

  /* Tab goes on to the buttons, as everywhere; a new line starts where the one above does. */
  function press(event, cell) {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    if (event.ctrlKey || event.metaKey || event.shiftKey) {
      if (running !== cell) run(cell);
      return;
    }
    const above = cell.text.value.slice(0, cell.text.selectionStart).split("\n").at(-1);
    const indent = above.match(/^ */)[0] + (above.trimEnd().endsWith(":") ? "    " : "");
    document.execCommand("insertText", false, `\n${indent}`); // the one way that can be undone
  }

  function say(cell, words) {
    if (cell.says.textContent !== words) cell.says.textContent = words;
  }

  function run(cell) {
    if (running) return say(cell, "Python is at work in another cell. Wait for it, or stop it there.");
    if (location.protocol === "file:") return say(cell, "It runs when the book is served, as by “make serve”.");
    running = cell;
    cell.button.textContent = "Stop";
    say(cell, worker ? "Running …" : `Loading Python, ${megabytes(bytes)} MB …`);
    worker ??= start();
    worker.postMessage({ imports, source: cell.text.value, name: cell.name });
  }

  function start() {
    const python = new Worker(new URL("worker.mjs", here), { type: "module" });
    python.onerror = () => end("worker.mjs could not be loaded, and Python needs it. Run tries again.");
    python.onmessage = ({ data: { loaded, output, failed } }) => {
      if (failed) end(`${failed} Run tries again.`);
      else if (output !== undefined) finish(output || "Done; the cell shows nothing.");
      else if (loaded) say(running, `Loading Python: ${megabytes(loaded)} of ${megabytes(bytes)} MB …`);
      else say(running, "Running …");
    };
    return python;
  }

  function stop() {
    end("Stopped. What the cells had defined is gone; Run starts Python again.");
  }

  function end(words) {
    worker.terminate();
    worker = undefined;
    finish(words);
  }

  function finish(words) {
    running.button.textContent = "Run";
    say(running, words);
    running = undefined;
  }

  for (const place of document.querySelectorAll(".try")) {
    const button = place.querySelector("button");
    button.hidden = false;
    button.addEventListener("click", () => open(place));
  }
})();
