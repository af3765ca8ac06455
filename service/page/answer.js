// What a query was answered with, drawn from the state anew at each change.

import { pieces } from "./edits.js";
import { bar, brief } from "./evidence.js";
import { results } from "./hits.js";
import { timeline } from "./timeline.js";
import { el } from "./dom.js";
import { cut, known, t, time } from "./words.js";

const QUOTED = 60; // characters of the query before

/**
 * Return what is shown of `state`: {request, original, rewrite, answer, stages, chosen, before, joined}. `act` holds
 * what its buttons do: choose(option), next(), follow(), copy(button). `card` shows evidence.
 */
export function answerView(state, act, card) {
  const { request, rewrite, answer, original, stages } = state;
  return [
    rewriteCard(state, act, card),
    ...(rewrite ? told(rewrite, answer) : []),
    rewrite?.clarification ? question(rewrite, act) : null,
    rewrite?.alternatives.length ? readings(rewrite.alternatives) : null,
    rewrite?.dropped.length ? dropped(rewrite.dropped) : null,
    answer ? goingOn(state, act) : null,
    results(original, answer?.hits, rewrite),
    stages.length ? el("section", { class: "trace" }, el("h3", {}, t("trace")), timeline(stages)) : null,
    answer ? raw(request, answer) : null,
  ]
    .flat()
    .filter(Boolean);
}

function rewriteCard({ request, rewrite, answer, chosen }, act, card) {
  const cuts = rewrite ? pieces(rewrite) : { before: [{ text: request.query, edit: null }], after: [] };
  const line = (name, ...content) => [el("dt", {}, t(name)), el("dd", { class: name }, ...content)];
  const part = (draw) => (piece) => (piece.edit === null ? piece.text : draw(piece, rewrite.edits[piece.edit], request, card));
  const changed = rewrite && rewrite.decision !== "keep" && rewrite.rewrite !== rewrite.original;
  return el(
    "section",
    { class: "card" },
    el(
      "dl",
      { class: "lines" },
      line("typed", cuts.before.map(part(before))),
      changed ? line("rewritten", cuts.after.map(part(after))) : null,
      rewrite ? null : line("rewritten", el("span", { class: "quiet" }, t("rewriting"))),
    ),
    rewrite ? el("div", { class: "verdict" }, verdict(rewrite, chosen), answer ? actions(act) : null) : null,
    changed && rewrite.edits.length ? legend(rewrite.edits) : null,
  );
}

function before(piece, edit, request, card) {
  const node = el("span", { class: `was ${edit.problem}${piece.text ? "" : " caret"}`, "data-edit": piece.edit }, piece.text);
  card.watch(node, edit, piece.edit, request);
  return node;
}

function after(piece, edit, request, card) {
  const core = piece.text.trim();
  const [lead, trail] = core ? piece.text.split(core, 2) : [piece.text, ""];
  const node = el(
    "span",
    {
      class: `edit ${edit.problem}${core ? "" : " gone"}`,
      role: "button",
      tabindex: 0,
      "data-edit": piece.edit,
      "aria-label": t("edit_label", core || t("removed"), t(edit.problem)),
    },
    el("ruby", {}, core || "×", el("rt", {}, brief(edit.evidence, request))),
  );
  card.watch(node, edit, piece.edit, request);
  return [lead, node, trail];
}

function verdict(rewrite, chosen) {
  return el(
    "p",
    {},
    el("strong", { class: `decision ${rewrite.decision}` }, t(rewrite.decision)),
    el("span", {}, `${t("confidence")} `, bar(rewrite.confidence)),
    el("span", { class: "quiet" }, by(rewrite)),
    chosen ? el("span", { class: "chosen" }, t("you_answered", chosen)) : null,
  );
}

/** Say who made the rewrite, or who looked for one in vain. */
function by({ rewriter, seconds, steps }) {
  const spent = time(seconds);
  if (rewriter !== "none") return t("by", rewriter, spent);
  const looked = steps.filter(({ note }) => !note.startsWith("not asked"));
  if (!looked.length) return t("untouched", spent);
  const all = looked.every(({ note }) => note === "nothing to add");
  return t(all ? "nothing_to_add" : "nothing_taken", looked.length, spent);
}

const small = (key, onclick, title = null) => el("button", { type: "button", class: "small", onclick, title }, t(key));
const actions = (act) => el("p", { class: "actions" }, small("copy_curl", (event) => act.copy(event.currentTarget)));

/** Offer what makes the next query a follow-up, and what makes this one a follow-up to the one `before`. */
function goingOn({ rewrite, answer, before, joined }, act) {
  const line = (text, ...more) => el("p", { class: "next" }, el("span", { class: "quiet" }, text), ...more);
  return [
    before && !rewrite.clarification ? line(t("alone", cut(before.request.query, QUOTED)), small("follow", act.follow)) : null,
    joined ? line(t("joined")) : null,
    answer.hits.length && !joined ? line(t("not_joined"), small("ask_next", act.next, t("ask_next_label"))) : null,
  ];
}

function legend(edits) {
  const kinds = [...new Set(edits.map((edit) => edit.problem))];
  return el(
    "p",
    { class: "legend" },
    kinds.map((kind) => el("span", { class: `sign ${kind}` }, t(kind))),
    el("span", { class: "quiet drags" }, t("explain")),
    el("span", { class: "quiet taps" }, t("explain_tap")),
  );
}

function told(rewrite, answer) {
  const reason = answer?.degraded ?? rewrite.degraded;
  const words = known(`degraded_${reason}`) ? t(`degraded_${reason}`) : t("degraded_other", reason);
  return [
    reason ? el("p", { class: "notice warn" }, el("strong", {}, t("degraded")), " ", words, " ", el("code", {}, reason)) : null,
    rewrite.truncated ? el("p", { class: "quiet small" }, t("truncated")) : null,
  ];
}

function question({ clarification: { question, options }, alternatives }, act) {
  const button = (option) => el("button", { type: "button", onclick: () => act.choose(option) }, option.label);
  return el(
    "section",
    { class: "card question", "aria-label": t("clarify") },
    el("h3", {}, question),
    el("p", { class: "options" }, options.map(button)),
    el("p", { class: "quiet" }, t(alternatives.length ? "question_readings" : "question_typed")),
  );
}

function readings(alternatives) {
  const total = alternatives.reduce((sum, each) => sum + each.weight, 0) || 1;
  const row = (each) => el("li", {}, el("span", {}, each.rewrite), bar(each.weight / total));
  return el("section", { class: "plain" }, el("h3", {}, t("alternatives")), el("ul", { class: "readings" }, alternatives.map(row)));
}

function dropped(edits) {
  const row = ({ slot, replacement, reason }) => el("li", {}, el("code", {}, slot), " ", el("del", {}, replacement.trim()), " ", el("span", { class: "quiet" }, reason));
  return el("section", { class: "plain" }, el("h3", {}, t("dropped")), el("ul", {}, edits.map(row)));
}

function raw(request, answer) {
  const text = JSON.stringify(answer, null, 2);
  return el("details", { class: "raw" }, el("summary", {}, t("as_json")), el("pre", { tabindex: 0 }, text));
}
