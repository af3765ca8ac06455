// Everything that the pages say, in both languages, and the switch between them.

import { $, keep } from "./dom.js";

export const WORDS = {
  // the frame
  skip: ["Skip to the query", "跳到查询框"],
  tagline: ["Rewrites what people type into queries that can be searched", "把人们随口输入的话改写成能检索的查询"],
  playground: ["Playground", "试用"],
  reference: ["API reference", "接口文档"],
  theme_auto: ["Theme: system", "主题：跟随系统"],
  theme_light: ["Theme: light", "主题：浅色"],
  theme_dark: ["Theme: dark", "主题：深色"],
  close: ["Close", "关闭"],

  // asking
  query: ["Query", "查询"],
  query_hint: ["Type as you would to a colleague", "像问同事那样输入"],
  ask: ["Ask", "提问"],
  collection: ["Collection", "集合"],
  documents: [(n) => `${count(n)} ${n === 1 ? "document" : "documents"}`, (n) => `${count(n)} 篇`],
  unreadable: ["cannot be read", "无法读取"],
  no_collection: ["no collection yet", "还没有集合"],
  build: ["Build from files…", "用文件新建…"],
  examples: ["Examples", "示例"],
  followup: ["follow-up", "追问"],
  asks_back: ["asks back", "反问"],
  left_alone: ["left alone", "无需改写"],

  // what is known about the asker
  context: ["What is known", "已知信息"],
  context_short: [(t, p) => `${t} ${t === 1 ? "turn" : "turns"}, ${p} profile ${p === 1 ? "value" : "values"}`, (t, p) => `对话 ${t} 轮，用户信息 ${p} 条`],
  conversation: ["Conversation", "对话"],
  no_turns: ["No earlier turns. To ask a follow-up, choose “Continue from it” under an answer.", "没有之前的对话。要追问，请点答案下方的“接着问”。"],
  add_turn: ["Add turn", "添加一轮"],
  turn_text: [(n) => `Text of turn ${n}`, (n) => `第 ${n} 轮的内容`],
  role: [(n) => `Who said turn ${n}`, (n) => `第 ${n} 轮的说话人`],
  user: ["User", "用户"],
  assistant: ["Assistant", "助手"],
  move_up: [(n) => `Move turn ${n} up`, (n) => `上移第 ${n} 轮`],
  move_down: [(n) => `Move turn ${n} down`, (n) => `下移第 ${n} 轮`],
  remove_turn: [(n) => `Remove turn ${n}`, (n) => `删除第 ${n} 轮`],
  profile: ["Profile", "用户信息"],
  profile_note: ["Repeat a key for several values", "同一个键可以写多行"],
  no_profile: ["Nothing is known about the asker", "没有用户信息"],
  add_value: ["Add value", "添加一条"],
  key: ["Key", "键"],
  value: ["Value", "值"],
  remove_value: [(n) => `Remove value ${n}`, (n) => `删除第 ${n} 条`],
  clock: ["Clock", "时钟"],
  clock_hint: ["the server's", "服务器时间"],
  clear: ["Clear all", "全部清空"],

  // the rewrite
  typed: ["As typed", "原文"],
  rewritten: ["Rewritten", "改写"],
  rewrite: ["Rewritten", "已改写"],
  keep: ["Kept as typed", "保持原文"],
  clarify: ["Asks back", "反问"],
  confidence: ["confidence", "可信度"],
  by: [(name, time) => `by ${name} in ${time}`, (name, time) => `由 ${name} 完成，用时 ${time}`],
  untouched: [(time) => `no rewriter was needed, ${time}`, (time) => `无需改写器，用时 ${time}`],
  nothing_to_add: [(n, time) => `nothing to add: ${n} ${n === 1 ? "rewriter" : "rewriters"} looked, ${time}`, (n, time) => `没有可补的：${n} 个改写器看过，用时 ${time}`],
  nothing_taken: [(n, time) => `no edit taken: ${n} ${n === 1 ? "rewriter" : "rewriters"} looked, ${time}`, (n, time) => `没有采纳修改：${n} 个改写器看过，用时 ${time}`],
  explain: ["Point at a highlighted part, or tab to it, to see where it comes from.", "指向高亮处（或用 Tab 键），可看到依据。"],
  explain_tap: ["Tap a highlighted part to see where it comes from.", "点按高亮处，可看到依据。"],
  truncated: [
    "Some of the text was not read: of each turn its beginning was, of the latest turns more.",
    "有些文字没有读入：每轮对话读开头部分，越近的读得越多。",
  ],
  searching: ["Searching…", "检索中…"],
  rewriting: ["Rewriting…", "改写中…"],
  answered: [(what, n, time) => `${what}; ${n} results in ${time}`, (what, n, time) => `${what}，${n} 条结果，用时 ${time}`],
  removed: ["removed", "删除"],
  missing_entity: ["Missing entity", "缺少实体"],
  vague_dimension: ["Vague dimension", "维度不明"],
  ambiguity: ["Ambiguity", "有歧义"],

  // evidence
  evidence: ["Evidence", "依据"],
  edit_label: [(text, kind) => `${text}: ${kind}, show evidence`, (text, kind) => `${text}：${kind}，查看依据`],
  from_history: [(n, who) => `From turn ${n} of the conversation (${who})`, (n, who) => `来自对话第 ${n} 轮（${who}）`],
  from_answer: ["From your answer to the question", "来自您对反问的回答"],
  from_profile: [(key) => `From the profile: ${key}`, (key) => `来自用户信息：${key}`],
  from_catalog: ["From the catalog", "来自目录"],
  from_clock: ["From the clock", "来自时钟"],
  from_default: ["The catalog's default", "目录中的默认值"],
  short_history: [(n) => `turn ${n}`, (n) => `第 ${n} 轮`],
  short_answer: ["your answer", "您的回答"],
  short_profile: ["profile", "用户信息"],
  short_catalog: ["catalog", "目录"],
  short_clock: ["clock", "时钟"],
  short_default: ["default", "默认值"],
  change: ["Change", "修改"],
  inserted: ["inserted", "插入"],
  sureness: ["Confidence", "可信度"],
  kind: ["Problem", "问题"],
  slot: ["Slot", "槽位"],
  where: ["Where", "位置"],
  days: ["Days", "日期"],
  days_of: [(from, to) => `${from} to ${to}`, (from, to) => `${from} 至 ${to}`],

  // question, alternatives, dropped, degraded
  question_readings: ["All readings were searched meanwhile. Your answer asks the same query again.", "各种理解都已先行检索。选择后会带着您的回答重新检索。"],
  question_typed: ["The query was searched as typed meanwhile. Your answer asks it again.", "已先按原文检索。选择后会带着您的回答重新检索。"],
  you_answered: [(label) => `Answered: ${label}`, (label) => `已回答：${label}`],
  alternatives: ["Readings searched", "检索过的理解"],
  dropped: ["Proposed, but without evidence", "提出过但没有依据的修改"],
  degraded: ["Degraded", "已降级"],
  degraded_rewrite_timeout: ["The rewriters took too long; the query was searched as typed.", "改写超时，按原文检索。"],
  degraded_catalog_failed: ["The catalog's rewriter failed; the others went on.", "目录改写器出错，其余部分照常。"],
  degraded_history_failed: ["The conversation's rewriter failed; the others went on.", "对话改写器出错，其余部分照常。"],
  degraded_editor_failed: ["The editor could not be used; the other rewriters went on.", "编辑器不可用，其他改写器照常。"],
  degraded_llm_timeout: ["The language model took too long; the answer does without it.", "大模型超时，结果中没有它的部分。"],
  degraded_llm_unavailable: ["The language model cannot be reached; the answer does without it.", "连不上大模型，结果中没有它的部分。"],
  degraded_llm_overloaded: ["The language model is overloaded; the answer does without it.", "大模型过载，结果中没有它的部分。"],
  degraded_llm_refused: ["The language model refused to answer; the answer does without it.", "大模型拒绝回答，结果中没有它的部分。"],
  degraded_llm_invalid: ["What the language model said could not be used.", "大模型的回答无法使用。"],
  degraded_llm_failed: ["The language model cannot be set up; the answer does without it.", "大模型无法启用，结果中没有它的部分。"],
  degraded_dense_failed: ["The dense leg failed; only words were searched.", "向量检索出错，只做了关键词检索。"],
  degraded_dense_on_cpu: ["The GPU failed; vectors were searched on the CPU.", "GPU 出错，向量检索改在 CPU 上进行。"],
  degraded_fusion_failed: ["The collection's fitted fusion cannot be read; the default was used.", "集合的融合参数无法读取，用了默认值。"],
  degraded_rerank_failed: ["The reranker failed or was late; the order is that of the fusion.", "重排出错或超时，保持融合后的次序。"],
  degraded_no_leg_reads_query: ["No part of the search reads this language, so nothing was searched.", "没有检索路能读这种语言，未作检索。"],
  degraded_other: [(reason) => `A part failed (${reason}); the answer does without it.`, (reason) => `有一部分出错（${reason}），结果中没有它。`],

  // results
  results: ["Results", "检索结果"],
  results_typed: ["Results as typed", "原文的结果"],
  results_rewritten: ["Results with the rewrite", "改写后的结果"],
  results_readings: ["Results with all readings", "各种理解的结果"],
  results_note: ["original and rewrite fused", "原文与改写融合"],
  nothing_found: ["Nothing was found.", "没有找到结果。"],
  up: [(n) => `Up ${n}`, (n) => `上升 ${n} 位`],
  down: [(n) => `Down ${n}`, (n) => `下降 ${n} 位`],
  same: ["Same rank", "名次不变"],
  new: ["new", "新"],
  new_label: ["Not among the results as typed", "原文的结果中没有"],
  out: ["out", "移出"],
  out_label: ["No longer among the results", "不再出现在结果中"],
  score: ["score", "得分"],
  not_joined: ["This answer is not part of the conversation yet.", "这个答案还不在对话里。"],
  ask_next: ["Continue from it", "接着问"],
  ask_next_label: ["Put this query and its first result into the conversation", "把这次的查询和第一条结果放进对话"],
  joined: ["Put into the conversation. Type a follow-up above.", "已放进对话，可在上方输入追问。"],
  alone: [(query) => `Asked without a conversation. Does it follow up on “${query}”?`, (query) => `这次没有带上对话。是在追问“${query}”吗？`],
  follow: ["Ask it as a follow-up", "作为追问再问一次"],
  copy_curl: ["Copy as curl", "复制 curl 命令"],
  copied: ["Copied", "已复制"],
  as_json: ["Answer as JSON", "JSON 格式的回答"],

  // trace
  trace: ["Timeline", "耗时"],
  stage: ["Stage", "阶段"],
  time: ["Time", "用时"],
  note: ["Note", "说明"],
  stage_search_original: ["search, as typed", "检索原文"],
  stage_search_rewrite: ["search, rewritten", "检索改写"],
  stage_rewrite: ["wait for the rewrite", "等待改写"],
  stage_fuse: ["fuse", "融合"],
  stage_rerank: ["rerank", "重排"],
  stage_rewriter: [(name) => `rewriter ${name}`, (name) => `改写器 ${name}`],

  // the timeline's notes
  note_searched: [(texts, lists) => `${texts} ${texts === "1" ? "text" : "texts"}, ${lists} ${lists === "1" ? "list" : "lists"}`, (texts, lists) => `${texts} 条文本，${lists} 个列表`],
  note_lists: [(n) => `${n} ${n === "1" ? "list" : "lists"}`, (n) => `${n} 个列表`],
  note_read: [(legs) => `read by ${legs}`, (legs) => `检索路：${legs.replaceAll("lexical", "关键词").replaceAll("dense", "向量").replaceAll("no leg", "无").replaceAll(", ", "、")}`],
  note_none: ["none", "无"],
  note_decision: [(decision) => decision, (decision) => WORDS[decision][1]],
  note_nothing: ["nothing to add", "没有可补的"],
  note_no_time: ["not asked: no time left", "未询问：没有时间了"],
  note_found: ["not asked: what was typed finds what it says", "未询问：原文已能找到所说的内容"],
  note_not_asked: [(why) => `not asked: ${why}`, (why) => `未询问：${why}`],
  note_failed: [(reason) => `failed: ${reason}`, (reason) => `出错：${reason}`],
  note_judged: [
    (decision, sure, dropped, why) => `${decision} ${sure}${dropped ? `, ${dropped} ${dropped === "1" ? "edit" : "edits"} dropped` : ""}${why ? `: ${why}` : ""}`,
    (decision, sure, dropped, why) => `${WORDS[decision][1]} ${sure}${dropped ? `，${dropped} 处修改不取` : ""}${why ? `：${NOT_TAKEN[why] ?? why}` : ""}`,
  ],

  // empty
  welcome: ["What it does", "它做什么"],
  welcome_text: [
    "People ask in fragments. Querywright fills the gaps from the conversation, the profile, a catalog and the clock, shows the evidence for every edit, and searches with both texts. Three kinds of gaps:",
    "人们提问往往不完整。Querywright 用对话、用户信息、目录和时钟补全，每处修改都给出依据，并把原文和改写一起检索。要补的有三类：",
  ],
  welcome_missing_entity: ["Something is not named", "没说是什么"],
  welcome_vague_dimension: ["Which figure, where, when", "没说哪个指标、哪里、何时"],
  welcome_ambiguity: ["A name with several senses", "一个名字几种意思"],

  begin: ["How to begin", "从这里开始"],
  begin_drop: ["Drop files or folders anywhere on this page, or choose them:", "把文件或文件夹拖到页面任意处，或选择："],
  begin_tap: ["Choose the files to be searched:", "选择要检索的文件："],
  begin_ask: ["Ask, as you would ask a colleague. The collection is chosen above the query.", "像问同事那样提问。集合在查询框上方选择。"],
  begin_next: [
    "Choose “Continue from it” under an answer, and follow-ups are understood from the conversation.",
    "点答案下方的“接着问”，之后的追问会结合对话来理解。",
  ],

  // what goes wrong
  unreachable: ["The service cannot be reached", "连不上服务"],
  unreachable_detail: ["No answer came. Is it running, and is the network up?", "没有收到回应。服务在运行吗？网络通吗？"],
  problem_401: ["Key missing or unknown", "缺少密钥或密钥无效"],
  problem_403: ["Not allowed", "没有权限"],
  problem_404: ["Not found", "没有找到"],
  problem_409: ["Conflict", "有冲突"],
  problem_413: ["Too large", "内容过大"],
  problem_422: ["Invalid input", "输入有误"],
  problem_429: ["The service is busy", "服务正忙"],
  problem_503: ["The service cannot answer now", "服务暂时无法回答"],
  problem_507: ["The service's disk is full", "服务的磁盘已满"],
  try_in: [(n) => `Try again in ${n} s`, (n) => `${n} 秒后可重试`],
  try_again: ["Try again", "重试"],
  no_key: ["This service wants an API key: reload the page and give the key as the password.", "此服务需要密钥：请刷新页面，把密钥填作密码。"],
  broken_stream: ["The answer broke off", "回答中途断开"],

  // building
  build_title: ["Build a collection from files", "用文件新建集合"],
  build_drop: ["Drop files or folders here", "把文件或文件夹拖到这里"],
  build_types: [".md, .markdown, .txt and .jsonl, in UTF-8", "支持 .md、.markdown、.txt 和 .jsonl，UTF-8 编码"],
  choose_files: ["Choose files", "选择文件"],
  choose_folder: ["Choose a folder", "选择文件夹"],
  build_name: ["Name", "名称"],
  build_name_hint: ["a to z, 0 to 9, - and _, at most 64", "a 到 z、0 到 9、- 和 _，最多 64 个"],
  build_exists: ["This collection exists: the files are added to it.", "集合已存在：文件会加进去。"],
  start: ["Build", "新建"],
  add_files: ["Add files", "加入文件"],
  retry_failed: [(n) => `Retry ${n} failed`, (n) => `重试失败的 ${n} 个`],
  files: ["Files", "文件"],
  waiting: ["waiting", "等待"],
  file_changed: ["changed or gone since it was chosen: choose it again", "选择之后已改动或已删除：请重新选择"],
  sending: ["sending", "发送中"],
  not_taken: ["another kind of file: it is not sent", "不支持这种文件，不发送"],
  files_chosen: [(n, size) => `${count(n)} ${n === 1 ? "file" : "files"}, ${size}`, (n, size) => `${count(n)} 个文件，${size}`],
  built: [(docs, files) => `${count(docs)} ${docs === 1 ? "document" : "documents"} from ${count(files)} ${files === 1 ? "file" : "files"}.`, (docs, files) => `${count(files)} 个文件，共 ${count(docs)} 篇文档。`],
  built_failed: [(n) => `${count(n)} failed.`, (n) => `${count(n)} 个失败。`],
  progress: [(done, all) => `${count(done)} of ${count(all)} files`, (done, all) => `${count(done)} / ${count(all)} 个文件`],
  building: ["Progress", "进度"],
  ask_it: ["Ask it something", "开始提问"],
  stop: ["Stop", "停止"],

  // the reference
  reference_intro: ["Every route of this service, from its own description at", "此服务的全部接口，内容取自"],
  group_asking: ["Asking", "提问"],
  group_collections: ["Collections and documents", "集合与文档"],
  group_service: ["The service itself", "服务本身"],
  parameters: ["Parameters", "参数"],
  body: ["Body", "请求体"],
  example: ["Example", "示例"],
  responses: ["Responses", "响应"],
  required: ["required", "必填"],
  field: ["Field", "字段"],
  type: ["Type", "类型"],
  meaning: ["Meaning", "含义"],
  default_is: [(value) => `default ${value}`, (value) => `默认 ${value}`],
  try_it: ["Try it", "试一试"],
  send: ["Send", "发送"],
  in_path: ["path", "路径"],
  in_query: ["query", "查询参数"],
  in_header: ["header", "请求头"],
};

/** Why a rewrite is not taken, as the service says it. */
const NOT_TAKEN = {
  "nothing is left": "没有剩下的修改",
  "it brings nothing": "没有带来新内容",
  "not sure enough": "把握不够",
  "not what its edits make of the query": "与所列修改不符",
};

const changed = new Set();

/** Say whether the page speaks Chinese now. */
export const isChinese = () => document.documentElement.lang.startsWith("zh");

const count = (n) => n.toLocaleString("en-US");

/** Return a phrase in the language of the page. */
export function t(key, ...values) {
  const phrase = WORDS[key][isChinese() ? 1 : 0];
  return typeof phrase === "function" ? phrase(...values) : phrase;
}

/** Return a text, cut where it has more than `most` characters. */
export function cut(text, most) {
  const points = Array.from(text);
  return points.length > most ? `${points.slice(0, most - 1).join("")}…` : text;
}

/** Say whether there is such a phrase. */
export const known = (key) => Object.hasOwn(WORDS, key);

/** Return seconds as people read them: 0.4 ms, 23 ms, 1.20 s. */
export function time(seconds) {
  if (seconds >= 1) return `${seconds.toFixed(2)} s`;
  const ms = seconds * 1000;
  return `${ms >= 10 ? ms.toFixed(0) : ms.toFixed(ms >= 0.1 ? 1 : 2)} ms`;
}

/** Fill in what `root` says: text under data-t, attributes under data-t-label, -placeholder, -title. */
export function translate(root) {
  const ATTRIBUTES = { tLabel: "aria-label", tPlaceholder: "placeholder", tTitle: "title" };
  for (const node of root.querySelectorAll("[data-t], [data-t-label], [data-t-placeholder], [data-t-title]")) {
    const values = (node.dataset.tValues ?? "").split(" ").filter(Boolean);
    if (node.dataset.t) node.textContent = t(node.dataset.t, ...values);
    for (const [from, to] of Object.entries(ATTRIBUTES)) {
      if (node.dataset[from]) node.setAttribute(to, t(node.dataset[from], ...values));
    }
  }
}

/** Call `listener` after each change of the language. */
export const onLanguage = (listener) => changed.add(listener);

/** Let the buttons of the frame switch language and theme. */
export function frame() {
  const root = document.documentElement;
  const themes = ["auto", "light", "dark"];
  const show = () => {
    translate(document);
    const [language, theme] = [$("language"), $("theme")];
    language.textContent = isChinese() ? "English" : "中文";
    language.lang = isChinese() ? "en" : "zh-CN";
    theme.textContent = t(`theme_${root.dataset.theme}`);
  };
  $("language").addEventListener("click", () => {
    root.lang = isChinese() ? "en" : "zh-CN";
    keep("language", root.lang);
    show();
    changed.forEach((listener) => listener());
  });
  $("theme").addEventListener("click", () => {
    root.dataset.theme = themes[(themes.indexOf(root.dataset.theme) + 1) % themes.length];
    keep("theme", root.dataset.theme);
    show();
  });
  show();
}
