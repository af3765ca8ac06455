// What is known about the asker: the conversation, the profile and the clock, to be edited. The fields are the truth.

import { place } from "./edits.js";
import { $, el } from "./dom.js";
import { onLanguage, t, translate } from "./words.js";

/** Let the fields be edited; `changed` hears of every change that a person makes. */
export function context(changed) {
  const told = () => {
    number();
    changed();
  };
  $("turns").addEventListener("input", told);
  $("values").addEventListener("input", told);
  $("now").addEventListener("input", told);
  $("add-turn").addEventListener("click", () => {
    const last = $("turns").lastElementChild;
    const role = last?.querySelector("select").value === "user" ? "assistant" : "user";
    $("turns").append(turnRow({ role, text: "" }, told));
    told();
    $("turns").lastElementChild.querySelector("textarea").focus();
  });
  $("add-value").addEventListener("click", () => {
    $("values").append(valueRow("", "", told));
    told();
    $("values").lastElementChild.querySelector("input").focus();
  });
  $("clear").addEventListener("click", () => {
    fill({}, told);
    told();
  });
  onLanguage(number);
  return { read, fill: (known) => fill(known, told), add: (turns) => add(turns, told), point, unpoint };
}

/** Return what the fields say, as a request has it. Turns without text go, so that the others count as they are sent. */
function read() {
  rows("turns").forEach((row) => row.querySelector("textarea").value.trim() || row.remove());
  number();
  const history = rows("turns").map((row) => ({
    role: row.querySelector("select").value,
    text: row.querySelector("textarea").value,
  }));
  const profile = Object.create(null); // a key may be called as every object's own are
  for (const { key, value } of values().filter((each) => each.key && each.value)) {
    profile[key] = key in profile ? [profile[key], value].flat() : value;
  }
  const request = {};
  if (history.length) request.history = history;
  if (Object.keys(profile).length) request.profile = profile;
  if ($("now").value.trim()) request.now = $("now").value.trim();
  return request;
}

function fill({ history = [], profile = {}, now = "" }, told) {
  $("turns").replaceChildren(...history.map((turn) => turnRow(turn, told)));
  const pairs = Object.entries(profile).flatMap(([key, value]) => [value].flat().map((each) => [key, each]));
  $("values").replaceChildren(...pairs.map(([key, value]) => valueRow(key, value, told)));
  $("now").value = now;
  number();
}

function add(turns, told) {
  $("turns").append(...turns.map((turn) => turnRow(turn, told)));
  number();
}

const rows = (id) => Array.from($(id).children);

const values = () =>
  rows("values").map((row) => {
    const [key, value] = Array.from(row.querySelectorAll("input"), (input) => input.value.trim());
    return { row, key, value };
  });

function turnRow({ role, text }, told) {
  const behind = el("div", { class: "behind", "aria-hidden": "true" });
  const area = el("textarea", { rows: 1, "data-t-label": "turn_text", oninput: () => mirror(row) });
  const option = (value) => el("option", { value, "data-t": value });
  const select = el("select", { "data-t-label": "role", onchange: told }, option("user"), option("assistant"));
  select.value = role;
  area.value = text;
  const row = el(
    "li",
    { class: "turn" },
    el("span", { class: "number", "aria-hidden": "true" }),
    select,
    el("span", { class: "tools" }, tool("move_up", "↑", up), tool("move_down", "↓", down), tool("remove_turn", "×", drop)),
    el("div", { class: "grows" }, behind, area),
  );
  function up() {
    row.previousElementSibling?.before(row);
    after("up");
  }
  function down() {
    row.nextElementSibling?.after(row);
    after("down");
  }
  function drop() {
    const next = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    (next?.querySelector("textarea") ?? $("add-turn")).focus();
    told();
  }
  function after(which) {
    row.querySelector(`[data-t-label=move_${which}]`).focus(); // moving takes the focus away
    told();
  }
  mirror(row);
  translate(row);
  return row;
}

function valueRow(key, value, told) {
  const drop = () => {
    const next = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    (next?.querySelector("input") ?? $("add-value")).focus();
    told();
  };
  const field = (name, content, list) => {
    const input = el("input", { type: "text", class: name, "data-t-label": name, "data-t-placeholder": name, list, spellcheck: "false" });
    input.value = content;
    return input;
  };
  const row = el(
    "li",
    { class: "value" },
    field("key", key, "keys"),
    el("span", { "aria-hidden": "true" }, "="),
    field("value", value),
    tool("remove_value", "×", drop),
  );
  translate(row);
  return row;
}

const tool = (label, sign, onclick) =>
  el("button", { type: "button", class: "tool", "data-t-label": label, "data-t-title": label, onclick }, sign);

/** Number the rows, in what is seen and in what is read out. */
function number() {
  for (const [id, empty] of [["turns", "no-turns"], ["values", "no-values"]]) {
    rows(id).forEach((row, i) => {
      const shown = row.querySelector(".number");
      if (shown) shown.textContent = i + 1;
      row.querySelectorAll("[data-t-label]").forEach((node) => {
        node.dataset.tValues = i + 1;
      });
      translate(row);
    });
    $(empty).hidden = rows(id).length > 0;
  }
  $("context-short").textContent = t("context_short", rows("turns").length, rows("values").length);
}

/** Lay a text behind the text field that is as high as it, with `found` in it marked. */
function mirror(row, found = "") {
  const behind = row.querySelector(".behind");
  const text = row.querySelector("textarea").value;
  const at = found ? text.toLowerCase().indexOf(found.toLowerCase()) : -1;
  const parts = at < 0 ? [text] : [text.slice(0, at), el("mark", {}, text.slice(at, at + found.length)), text.slice(at + found.length)];
  behind.replaceChildren(...parts, "\u200b"); // a last empty line has a height, too
}

/** Show where an evidence stands. `kind` colours it. */
function point(evidence, kind) {
  unpoint();
  const { turn, key, index, clock } = place(evidence);
  const row =
    rows("turns")[turn] ??
    values().filter((each) => each.key === key)[index]?.row ??
    (clock ? $("now").closest(".clock") : null);
  if (!row) return;
  row.classList.add("pointed", kind);
  if (row.matches(".turn")) mirror(row, evidence.text);
  const panel = $("context");
  if (panel.open && panel.scrollHeight > panel.clientHeight) row.scrollIntoView({ block: "nearest" });
}

function unpoint() {
  for (const row of document.querySelectorAll(".pointed")) {
    row.classList.remove("pointed", "missing_entity", "vague_dimension", "ambiguity");
    if (row.matches(".turn")) mirror(row);
  }
}
