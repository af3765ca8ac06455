// Queries to begin with, each with what is known when it is asked. The demo collection answers them.

const NOW = "2024-07-15T10:00:00+08:00";

const PROFILE = {
  zh: { product: "CRM 系统", region: "华东区", fiscal_year_start: "10-01", interests: ["美股", "科技股"] },
  en: { product: "the CRM", region: "East China", fiscal_year_start: "10-01", interests: ["US stocks", "tech stocks"] },
};

const turns = (...texts) => texts.map((text, i) => ({ role: i % 2 ? "assistant" : "user", text }));

/** By language: `kind` names what is missing, or what becomes of the query. */
export const EXAMPLES = {
  zh: [
    {
      kind: "missing_entity",
      query: "这个功能怎么用?",
      history: turns(
        "听说新版上线了客户画像，是做什么的？",
        "客户画像会把一位客户的资料、交易和拜访记录汇总到一页，方便拜访前快速了解对方。",
      ),
      profile: PROFILE.zh,
      now: NOW,
    },
    { kind: "vague_dimension", query: "帮我查下数据", history: [], profile: PROFILE.zh, now: NOW },
    { kind: "ambiguity", query: "苹果最新消息", history: [], profile: PROFILE.zh, now: NOW },
    {
      kind: "followup",
      query: "那上个月呢",
      history: turns("华东区五月份的毛利率是多少？", "五月份华东区毛利率为 22.7%。"),
      profile: PROFILE.zh,
      now: NOW,
    },
    { kind: "asks_back", query: "苹果最新消息", history: [], profile: {}, now: NOW },
    { kind: "left_alone", query: "销售额含税吗", history: [], profile: PROFILE.zh, now: NOW },
  ],
  en: [
    {
      kind: "missing_entity",
      query: "How do I use this feature?",
      history: turns(
        "I heard the new version has customer profiles. What are they for?",
        "Customer profiles bring together everything known about one account: contacts, orders, visits and tags.",
      ),
      profile: PROFILE.en,
      now: NOW,
    },
    { kind: "vague_dimension", query: "Can you check the data", history: [], profile: PROFILE.en, now: NOW },
    { kind: "ambiguity", query: "latest Apple news", history: [], profile: PROFILE.en, now: NOW },
    {
      kind: "followup",
      query: "and the same month last year?",
      history: turns(
        "East China sales revenue June 2024 please",
        "It reached 1,412 in units of CNY 10,000, the best month on record.",
      ),
      profile: PROFILE.en,
      now: NOW,
    },
    { kind: "asks_back", query: "apple news", history: [], profile: {}, now: NOW },
    { kind: "left_alone", query: "does sales revenue include VAT?", history: [], profile: PROFILE.en, now: NOW },
  ],
};
