/* Python, in a worker of the page. Every file comes from beside this one; the page hears how much has
   come, and which file has not. The first message starts Python, each is one cell to run. */

const beside = (path) => new URL(path, import.meta.url).href;
const PYODIDE = beside("../pyodide/");
const PACK = "/course";

const ask = self.fetch;
let loaded = 0;
let python;

/* Pyodide's own fetches go through here, too: it would only log that a file is missing, and wait for ever. */
self.fetch = async (address, options) => {
  try {
    return await counted(await ask(address, options));
  } catch (reason) {
    const file = new URL(address.url ?? address, import.meta.url).pathname.split("/").at(-1);
    postMessage({ failed: `${file} could not be loaded (${reason.message}), and Python needs it.` });
    throw reason;
  }
};

async function counted(response) {
  if (!response.ok) throw new Error(`status ${response.status}`);
  const parts = [];
  const reader = response.body.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    parts.push(part.value);
    loaded += part.value.length;
    postMessage({ loaded });
  }
  return new Response(new Blob(parts), { headers: { "content-type": response.headers.get("content-type") } });
}

/* Pyodide, NumPy and the course; then `run(source, name)` of cell.py. */
async function start(imports) {
  const pack = fetch(beside("pack.zip"));
  const { loadPyodide } = await import(`${PYODIDE}pyodide.mjs`);
  const packages = /^import numpy\b/m.test(imports) ? ["numpy"] : []; // named here, it comes with the rest
  const pyodide = await loadPyodide({ indexURL: PYODIDE, packageBaseUrl: PYODIDE, packages });
  pyodide.unpackArchive(await (await pack).arrayBuffer(), "zip", { extractDir: PACK });
  pyodide.runPython(`import sys; sys.path.append("${PACK}")`);
  const cell = pyodide.pyimport("cell");
  const namespace = pyodide.toPy({ __name__: "__main__" });
  const run = (source, name) => cell.run(source, name, namespace);
  const wrong = run(imports, "imports");
  if (wrong) throw new Error(wrong);
  return run;
}

self.onmessage = async ({ data: { imports, source, name } }) => {
  try {
    python ??= start(imports);
    const run = await python;
    postMessage({ running: true });
    postMessage({ output: run(source, name) });
  } catch (reason) {
    postMessage({ failed: `Python stopped: ${reason.message}` });
  }
};
