// The trace as bars over time.

import { el } from "./dom.js";
import { noted } from "./notes.js";
import { known, t, time } from "./words.js";

/** Return a table of the stages: when each began and how long it took. */
export function timeline(stages) {
  const end = Math.max(...stages.map((stage) => stage.start + stage.seconds), 1e-6);
  const column = (name, ...content) => el("th", { scope: "col", class: name }, ...content);
  const head = [
    column(null, t("stage")),
    column("lane", el("span", {}, "0"), el("span", {}, time(end))),
    column("n", t("time")),
    column("note", t("note")),
  ];
  const rows = [...stages].sort((one, other) => one.start - other.start).map((stage) => row(stage, end));
  return el("table", { class: "timeline" }, el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows));
}

function row({ stage, start, seconds, note }, end) {
  const filled = el("span", { class: `span ${stage.split(/[._]/)[0]}` });
  filled.style.setProperty("--from", start / end);
  filled.style.setProperty("--long", seconds / end);
  return el(
    "tr",
    {},
    el("th", { scope: "row", title: stage }, label(stage)),
    el("td", { class: "lane", title: `${time(start)} + ${time(seconds)}` }, filled),
    el("td", { class: "n" }, time(seconds)),
    el("td", { class: "note" }, noted(note)),
  );
}

function label(stage) {
  if (known(`stage_${stage}`)) return t(`stage_${stage}`);
  return stage.startsWith("rewrite.") ? t("stage_rewriter", stage.slice("rewrite.".length)) : stage;
}
