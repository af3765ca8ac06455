// Files into a collection, a few at a time, with what became of each.

import { Problem, call, json } from "./api.js";
import { $, el } from "./dom.js";
import { onLanguage, t, translate } from "./words.js";

const AT_ONCE = 2;
const TAKEN = /\.(md|markdown|txt|jsonl)$/i;
const PATIENCE = 5; // how often a busy service is asked again before a person is

/** Let files be chosen or dropped anywhere. `names` tells the collections there are, `done(name)` hears of a built one. */
export function build(names, done) {
  const dialog = $("build");
  const state = { files: [], running: false, stopped: false };

  function show() {
    const taken = state.files.filter((file) => file.state !== "refused");
    const ended = taken.filter((file) => file.state === "done");
    const failed = taken.filter((file) => file.state === "failed");
    const exists = names().includes($("build-name").value);
    $("files").hidden = !state.files.length;
    $("build-size").textContent = state.files.length ? t("files_chosen", taken.length, size(taken)) : "";
    $("build-exists").hidden = !exists || state.running || ended.length > 0;
    $("build-start").textContent = failed.length ? t("retry_failed", failed.length) : t(exists ? "add_files" : "start");
    $("build-start").disabled = state.running || !taken.some((file) => file.state !== "done");
    $("build-stop").hidden = !state.running;
    $("build-name").disabled = state.running || ended.length > 0;
    $("build-progress").hidden = !state.running && !ended.length;
    $("build-progress").max = taken.length || 1;
    $("build-progress").value = ended.length + failed.length;
    $("build-said").textContent = said(state, taken, ended, failed);
    $("build-done").hidden = state.running || !ended.length;
  }

  function add(found) {
    if (state.running || !found.length) return;
    if (!state.files.some((file) => file.state !== "done")) state.files = [];
    if (!state.files.length) $("build-name").value ||= named(found, names());
    const chosen = new Set(found.map(({ path }) => path)); // what is chosen again has been mended
    state.files = [...state.files.filter((file) => !chosen.has(file.path)), ...found.map(listed)];
    $("files").replaceChildren(...state.files.map((file) => file.row));
    show();
  }

  async function start(event) {
    event.preventDefault();
    Object.assign(state, { running: true, stopped: false });
    const queue = state.files.filter((file) => ["waiting", "failed"].includes(file.state));
    queue.forEach((file) => tell(file, "waiting"));
    show();
    const name = $("build-name").value;
    try {
      if (!names().includes(name)) await make(name);
      await Promise.all(Array.from({ length: AT_ONCE }, () => work(name, queue)));
      if (!state.stopped) await call(`v1/collections/${name}/flush`, { method: "POST" });
    } catch (problem) {
      $("build-problem").textContent = problem.detail;
    }
    state.running = false;
    await done(name);
    show();
  }

  async function make(name) {
    $("build-problem").textContent = "";
    await call("v1/collections", json({ name }));
  }

  async function work(name, queue) {
    while (queue.length && !state.stopped) {
      const file = queue.shift();
      tell(file, "sending");
      try {
        const { count } = await patient(() => upload(name, file));
        file.documents = count;
        tell(file, "done", t("documents", count));
      } catch (problem) {
        tell(file, "failed", problem.detail);
      }
      show();
    }
  }

  const choose = (input) => add(Array.from(input.files, (file) => ({ file, path: file.webkitRelativePath || file.name })));
  for (const id of ["pick-files", "pick-folder"]) {
    $(id).addEventListener("change", () => {
      choose($(id));
      $(id).value = ""; // so that the same can be chosen again
    });
  }
  $("choose-files").addEventListener("click", () => $("pick-files").click());
  $("choose-folder").addEventListener("click", () => $("pick-folder").click());
  $("build-form").addEventListener("submit", start);
  $("build-name").addEventListener("input", show);
  $("build-stop").addEventListener("click", () => Object.assign(state, { stopped: true }));
  $("build-done").addEventListener("click", () => dialog.close());
  $("build-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    if (!state.running) state.files = [];
    $("build-name").value = state.running ? $("build-name").value : "";
    $("query").focus();
  });
  dropping(open, add);
  onLanguage(show);

  function open() {
    if (dialog.open) return;
    show();
    $("build-problem").textContent = "";
    dialog.showModal();
  }
  return { open };
}

function said(state, taken, ended, failed) {
  if (state.running) return t("progress", ended.length + failed.length, taken.length);
  if (!ended.length && !failed.length) return "";
  const documents = ended.reduce((sum, file) => sum + file.documents, 0);
  return t("built", documents, ended.length) + (failed.length ? ` ${t("built_failed", failed.length)}` : "");
}

async function upload(name, { file, path }) {
  await file.slice(0, 1).arrayBuffer().catch(() => {
    throw new Problem({ detail: t("file_changed") }); // the browser would only say that nothing could be sent
  });
  const options = { method: "POST", headers: { "content-type": "application/octet-stream" }, body: file };
  return call(`v1/collections/${name}/files?file=${encodeURIComponent(path)}`, options);
}

/** Do `work`; where the service is busy, again when it says so. */
async function patient(work) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await work();
    } catch (problem) {
      if (!problem.retryAfter || tries >= PATIENCE) throw problem;
      await new Promise((resolve) => setTimeout(resolve, problem.retryAfter * 1000));
    }
  }
}

function listed({ file, path }) {
  const status = el("span", { class: "status" });
  const row = el("li", {}, el("span", { class: "path" }, path), status);
  const made = { file, path, row, status, state: "waiting", documents: 0 };
  tell(made, TAKEN.test(path) ? "waiting" : "refused");
  return made;
}

function tell(file, state, detail = "") {
  const key = { waiting: "waiting", sending: "sending", refused: "not_taken" }[state];
  file.state = state;
  file.row.className = state;
  file.status.textContent = detail;
  if (key) file.status.dataset.t = key;
  else delete file.status.dataset.t;
  translate(file.row);
}

/** Propose a collection's name that is not among `names`: the folder's, as far as a name may hold it. */
function named(found, names) {
  const [, folder = ""] = found.map(({ path }) => /^([^/]+)\//.exec(path)).find(Boolean) ?? [];
  const plain = folder.toLowerCase().replaceAll(/[^a-z0-9_-]+/g, "-").replaceAll(/^-+|-+$/g, "").slice(0, 60) || "documents";
  let name = plain;
  for (let n = 2; names.includes(name); n += 1) name = `${plain}-${n}`;
  return name;
}

function size(files) {
  const bytes = files.reduce((sum, { file }) => sum + file.size, 0);
  return bytes < 1e6 ? `${Math.ceil(bytes / 1000)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

/** Take files that are dropped anywhere on the page. */
function dropping(open, add) {
  const holds = (event) => event.dataTransfer?.types.includes("Files");
  const mark = (on) => document.body.classList.toggle("dropping", on);
  addEventListener("dragover", (event) => {
    if (!holds(event)) return;
    event.preventDefault();
    mark(true);
  });
  addEventListener("dragleave", (event) => event.relatedTarget || mark(false));
  addEventListener("drop", async (event) => {
    if (!holds(event)) return;
    event.preventDefault();
    mark(false);
    const entries = Array.from(event.dataTransfer.items, (item) => item.webkitGetAsEntry()).filter(Boolean);
    open();
    add((await Promise.all(entries.map(walk))).flat());
  });
}

/** Return the files under a dropped entry, hidden ones left out. */
async function walk(entry) {
  if (entry.name.startsWith(".")) return [];
  if (entry.isFile) return [{ file: await new Promise((resolve, reject) => entry.file(resolve, reject)), path: entry.fullPath.slice(1) }];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // at most a hundred at once
    if (!some.length) return (await Promise.all(found.map(walk))).flat();
    found.push(...some);
  }
}
