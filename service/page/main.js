// The playground: what is typed and known goes out, what comes back is drawn.

import { answerView } from "./answer.js";
import { Problem, ask, call, curl, guarded } from "./api.js";
import { build } from "./build.js";
import { context } from "./context.js";
import { $, el, keep, kept } from "./dom.js";
import { evidence } from "./evidence.js";
import { EXAMPLES } from "./examples.js";
import { problemView } from "./problem.js";
import { cut, frame, isChinese, onLanguage, t, time } from "./words.js";

const SHOWN = 10; // results
const DEMO = "demo"; // the collection that the examples are about
const SAID = 300; // characters of a result that go into the conversation

const known = context(() => card.hide());
const card = evidence(known);
let collections = [];
let running = new AbortController();
let state = null; // what was asked, and what came of it so far
const withKey = guarded().catch(() => false); // what fails is said by what is asked for next

// ------------------------------------------------------------------------------------------- asking

function request() {
  const collection = $("collection").value || undefined;
  return { query: $("query").value, ...known.read(), collection, k: SHOWN };
}

/** Ask what is typed; `chosen` is the option of the question before, with its token. */
async function asked(chosen = null) {
  const asking = chosen ? state.request : request();
  if (!asking.query.trim()) return;
  running.abort();
  running = new AbortController();
  const { signal } = running;
  const clarification = chosen ? { token: chosen.token, value: chosen.value } : undefined;
  const before = answeredBefore(asking);
  const mine = { request: { ...asking, clarification }, original: null, rewrite: null, answer: null, stages: [], chosen, before };
  state = mine;
  draw();
  say(t("searching"));
  const begun = performance.now();
  try {
    const answer = await ask(mine.request, (event, data) => signal.aborted || heard(mine, event, data), signal);
    Object.assign(mine, { answer, rewrite: answer.rewrite, stages: answer.trace });
    const spent = time((performance.now() - begun) / 1000);
    say(t("answered", t(answer.rewrite.decision), answer.hits.length, spent));
  } catch (problem) {
    if (signal.aborted) return;
    if (!(problem instanceof Problem)) throw problem;
    mine.problem = problem;
    say("");
  }
  draw();
}

/** Return the state before, where what is asked now may follow up on it, but nothing of it goes along. */
function answeredBefore({ query, collection, history }) {
  if (!state?.answer?.hits.length || history || collection !== state.request.collection) return null;
  return query === state.request.query ? state.before : { ...state, before: null };
}

function heard(mine, event, data) {
  if (event === "stage") mine.stages = [...mine.stages, data];
  if (event === "hits") mine.original = data.hits;
  if (event === "rewrite") mine.rewrite = data;
  draw();
}

const act = {
  choose: (option) => asked({ ...option, token: state.rewrite.clarification.token, question: state.rewrite.clarification.question }),
  next() {
    known.add(turns(state));
    state.joined = true;
    draw();
    say(t("joined"));
    $("query").value = "";
    $("query").focus();
  },
  follow() {
    known.add(turns(state.before));
    $("query").value = state.request.query;
    asked();
  },
  async copy(button) {
    const text = curl("v1/query", state.request, await withKey);
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = t("copied");
      say(t("copied"));
      setTimeout(() => (button.textContent = t("copy_curl")), 1500);
    } catch {
      $("answer").querySelector("pre.command")?.remove(); // only pages of this machine or over TLS may copy
      button.parentElement.after(el("pre", { class: "command", tabindex: 0 }, text));
    }
  },
};

/** Return what was asked and answered as turns of a conversation. */
function turns({ request, chosen, answer }) {
  const said = (role, text) => ({ role, text });
  const question = chosen ? [said("assistant", chosen.question), said("user", chosen.label)] : [];
  return [said("user", request.query), ...question, said("assistant", cut(answer.hits[0].text, SAID))];
}

// ------------------------------------------------------------------------------------------ drawing

const say = (text) => ($("status").textContent = text);

function draw() {
  card.hide();
  if (!state) {
    $("answer").replaceChildren(isDemo() ? welcome() : beginning());
    return;
  }
  const { problem, chosen } = state;
  const again = () => asked(chosen);
  const shown = problem ? [problemView(problem, again)] : answerView({ ...state, chosen: chosen?.label }, act, card);
  $("answer").replaceChildren(...shown);
  $("answer").setAttribute("aria-busy", String(!problem && !state.answer));
}

function welcome() {
  const row = (kind) => {
    const { query } = own().find((example) => example.kind === kind);
    const [, searched] = WELCOME[isChinese() ? "zh" : "en"].find(([name]) => name === kind);
    return el(
      "li",
      {},
      el("span", { class: `sign ${kind}` }, t(`welcome_${kind}`)),
      el("span", { class: "from" }, query),
      el("span", { class: "to" }, searched),
    );
  };
  return el(
    "section",
    { class: "welcome" },
    el("h2", {}, t("welcome")),
    el("p", {}, t("welcome_text")),
    el("ul", {}, ["missing_entity", "vague_dimension", "ambiguity"].map(row)),
  );
}

/** Say how to begin where there are no examples. */
function beginning() {
  const open = el("button", { type: "button", class: "small", onclick: building.open }, t("build"));
  const drop = [el("span", { class: "drags" }, t("begin_drop")), el("span", { class: "taps" }, t("begin_tap"))];
  const steps = [[drop, " ", open], t("begin_ask"), t("begin_next")];
  return el(
    "section",
    { class: "welcome begin" },
    el("h2", {}, t("begin")),
    el("ol", {}, steps.map((step) => el("li", {}, el("span", {}, step)))),
  );
}

const isDemo = () => $("collection").value === DEMO;

const WELCOME = {
  zh: [
    ["missing_entity", "CRM 系统中客户画像功能的操作指南"],
    ["vague_dimension", "查询 2024 年 6 月华东区销售额(万元)"],
    ["ambiguity", "Apple 公司 2024 年 Q3 财报发布时间"],
  ],
  en: [
    ["missing_entity", "user guide for customer profiles in the CRM"],
    ["vague_dimension", "show sales revenue (CNY 10,000) for East China in June 2024"],
    ["ambiguity", "Apple Inc. Q3 2024 earnings release date"],
  ],
};

const own = () => EXAMPLES[isChinese() ? "zh" : "en"];

function examples() {
  const chip = (language) => (example) =>
    el(
      "button",
      {
        type: "button",
        class: "chip",
        onclick() {
          $("query").value = example.query;
          known.fill(example);
          state = null; // nothing that an example follows up on
          asked();
        },
      },
      el("span", { class: `sign ${example.kind}` }, t(example.kind)),
      el("span", { lang: language === "zh" ? "zh-CN" : "en" }, example.query),
    );
  const languages = isChinese() ? ["zh", "en"] : ["en", "zh"];
  const line = (language) => el("p", { class: `chips ${language}` }, EXAMPLES[language].map(chip(language)));
  $("examples").replaceChildren(...languages.map(line));
  $("examples").hidden = !isDemo();
}

// -------------------------------------------------------------------------------------- collections

function choices() {
  const label = ({ name, documents }) => `${name} · ${documents === null ? t("unreadable") : t("documents", documents)}`;
  const wanted = $("collection").value || kept("collection") || DEMO;
  const options = collections.map((info) => el("option", { value: info.name }, label(info)));
  $("collection").replaceChildren(...(options.length ? options : [el("option", { value: "" }, t("no_collection"))]));
  if (collections.some(({ name }) => name === wanted)) $("collection").value = wanted;
}

async function listCollections(chosen = null) {
  try {
    collections = await call("v1/collections");
  } catch (problem) {
    $("answer").replaceChildren(problemView(problem, () => location.reload()));
    return;
  }
  choices();
  if (chosen && collections.some(({ name }) => name === chosen)) {
    $("collection").value = chosen;
    keep("collection", chosen);
  }
  examples();
  draw();
}

// --------------------------------------------------------------------------------------- the page

function typing(target) {
  return target.matches("input, textarea, select") || $("build").open;
}

frame();
const building = build(() => collections.map(({ name }) => name), listCollections);
$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  asked();
});
$("collection").addEventListener("change", () => {
  keep("collection", $("collection").value);
  examples();
  draw();
});
$("build-open").addEventListener("click", building.open);
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
  event.preventDefault();
  $("query").focus();
  $("query").select();
});
onLanguage(() => {
  choices();
  examples();
  draw();
});
const narrow = matchMedia("(max-width: 60rem)");
const fold = () => ($("context").open = !narrow.matches);
narrow.addEventListener("change", fold);
fold();
known.fill({});
await listCollections();
if (!narrow.matches) $("query").focus({ preventScroll: true }); // on a phone that would bring up the keyboard
document.documentElement.dataset.ready = "";
