// Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
// The sample browser. Model output is only ever inserted as text: there is no innerHTML here.
"use strict";

const $ = (id) => document.getElementById(id);
const ROW = 58; // height of a row of the list in pixels, as in report.css
const wide = matchMedia("(min-width: 60rem)");
const count = new Intl.NumberFormat("en");
let data, problems, samples;
let starts = []; // for each set of problems, the number of characters that its prompts begin with in common
let view = new Uint32Array(0); // numbers of the samples that pass the filters
let active = 0; // position in the view
let query = null; // what is searched for, as a regular expression

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

// Marks the matches of the search in a text.
function marked(text) {
  const parts = [];
  let end = 0;
  for (const match of query ? text.matchAll(query) : []) {
    parts.push(text.slice(end, match.index), element("mark", { class: "hit" }, match[0]));
    end = match.index + match[0].length;
  }
  return [...parts, text.slice(end)];
}

async function load() {
  const text = $("data").textContent;
  const bytes = Uint8Array.fromBase64 ? Uint8Array.fromBase64(text) : Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  $("data").remove(); // otherwise its text would be held twice
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

// Filters

function fillFilters() {
  const sorted = (values) => [...new Set(values)].sort((a, b) => `${a}`.localeCompare(`${b}`, "en", { numeric: true }));
  const reasons = data.names.drop_reason.filter((reason) => reason !== null);
  const doubts = [...new Set(Object.values(samples.doubt))];
  const sizes = data.sets.map(() => 0);
  for (const problem of samples.problem) sizes[problems.set[problem]]++;
  for (const [number, name] of data.sets.entries()) {
    const input = element("input", { type: "radio", name: "set", value: number, checked: number === 0 });
    $("sets").append(element("label", {}, input, setName(name), element("span", {}, count.format(sizes[number]))));
  }
  $("sets").hidden = data.sets.length < 2;
  const choices = {
    iteration: sorted(samples.iteration).map((number) => [number, number ? `iteration ${number}` : "base model"]),
    sampler: data.names.sampler.map((name, number) => [number, name]),
    result: [["kept", "kept"], ...doubts.map((doubt) => [`?${doubt}`, `kept, ${doubt}`]),
      ["dropped", "not kept"], ...reasons.map((reason) => [`:${reason}`, `not kept: ${reason}`])],
    group: sorted((problems.group ?? []).filter((group) => group !== null)).map((group) => [group, groupName(group)]),
  };
  choices.label = [["+", "labelled"], ["-", "not labelled"], ...Object.keys(LABELS).map((name) => [name, name])];
  for (const [name, options] of Object.entries(choices)) {
    $(name).append(new Option(`all ${name}s`, ""), ...options.map(([value, label]) => new Option(label, value)));
    $(name).parentElement.hidden = options.length < 2;
  }
}

const setName = (name) => (name === "samples" ? "training" : name === "eval" ? "evaluation" : name.replace(/^eval_/, ""));
const groupName = (group) => `${data.settings.eval_group_column ?? ""} ${group}`.trim();
const setOf = () => Number(new FormData($("filters")).get("set"));
const reasonOf = (sample) => data.names.drop_reason[samples.drop_reason[sample]];

function filter() {
  const filters = ["iteration", "sampler", "result", "group", "label"].map($);
  const [iteration, sampler, result, group, label] = filters.map((filter) => filter.value);
  const set = setOf();
  const text = $("search").value;
  const pattern = text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const search = text && new RegExp(pattern, "iu");
  query = text ? new RegExp(pattern, "giu") : null;
  const wanted = problems.id?.map((_, problem) => problems.set[problem] === set && (!group || problems.group[problem] === group));
  const found = search && problems.id.map((_, problem) =>
    wanted[problem] && (search.test(seen(problem, "prompt")) || search.test(problems.answer[problem] ?? "")));
  const reasons = data.names.drop_reason.map((reason) =>
    !result || (result === "kept" || result.startsWith("?") ? reason === null : result === "dropped" ? reason !== null : `:${reason}` === result));
  const current = view[active];
  view = Uint32Array.from(samples.problem.keys()).filter((sample) =>
    wanted[samples.problem[sample]] &&
    (!iteration || samples.iteration[sample] == iteration) &&
    (!sampler || samples.sampler[sample] == sampler) &&
    reasons[samples.drop_reason[sample]] &&
    (!result.startsWith("?") || samples.doubt[sample] === result.slice(1)) &&
    (!label || (label === "-" ? !labels.has(sample) : label === "+" ? labels.has(sample) : labels.get(sample)?.includes(label))) &&
    (!search || found[samples.problem[sample]] || search.test(samples.completion[sample]) || search.test(plain(samples.prompt[sample]) ?? "")));
  const distinct = new Set(Array.from(view, (sample) => samples.problem[sample]));
  const named = filters.filter((filter) => filter.value).map((filter) => filter.selectedOptions[0].text);
  const shown = data.total > samples.problem.length
    ? ` (${count.format(samples.problem.length)} of the run's ${count.format(data.total)} samples are in this page)` : "";
  $("status").textContent = `${count.format(view.length)} ${setName(data.sets[set])} samples of ` +
    `${count.format(distinct.size)} problems${["", ...named].join(", ")}${text && `, with “${text}”`}${shown}`;
  $("active").textContent = named.length ? `: ${named.join(", ")}` : "";
  active = Math.max(0, view.indexOf(current)); // the current sample stays, if it passes the filters
  $("spacer").style.height = `${view.length * ROW}px`;
  reveal();
  if (wide.matches) show();
}

// The list: only the rows in sight are in the document.

function draw() {
  const list = $("list");
  const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 4);
  const last = Math.min(view.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + 4);
  const rows = [];
  for (let position = first; position < last; position++) rows.push(row(position));
  $("spacer").replaceChildren(...rows);
  if (view.length) list.setAttribute("aria-activedescendant", `row-${active}`);
  else list.removeAttribute("aria-activedescendant");
}

function row(position) {
  const sample = view[position];
  const problem = samples.problem[sample];
  const ends = snippet(sample);
  const node = element("div",
    { role: "option", id: `row-${position}`, class: "row", "aria-selected": `${position === active}`, "aria-setsize": view.length, "aria-posinset": position + 1 },
    element("div", { class: "row-head" }, badge(sample), element("b", {}, `#${problems.id[problem]}`), ` · iteration ${samples.iteration[sample]} · ${samplerOf(sample)}`,
      ...(labels.get(sample) ?? []).map((name) => element("span", { class: "group label" }, name)),
      problems.group[problem] === null ? null : element("span", { class: "group" }, groupName(problems.group[problem]))),
    typeof ends === "string" ? element("div", { class: "snippet" }, ...marked(ends)) : element("div", { class: "snippet ends" }, ...ends));
  node.style.top = `${position * ROW}px`;
  node.dataset.position = position;
  return node;
}

function snippet(sample) {
  const line = (text) => text.replace(/\s+/g, " ").trim();
  const prompt = plain(promptOf(sample));
  for (const text of query ? [samples.completion[sample], prompt] : []) {
    const at = text.search(query);
    if (at >= 0) return (at > 20 ? "…" : "") + line(text.slice(Math.max(0, at - 20), at + 160));
  }
  // The most telling parts: how the question begins, and the answer.
  const start = starts[problems.set[samples.problem[sample]]];
  return [element("span", {}, line(prompt.slice(start, start + 300))), element("span", {}, `→ ${tail(line(samples.completion[sample].slice(-200)), wide.matches ? 20 : 12)}`)];
}

// The number of characters that all prompts of a set begin with, such as an instruction, up to the last space in them.
function commonStart(set) {
  let common = null;
  for (const problem of problems.id.keys()) {
    if (problems.set[problem] !== set) continue;
    const prompt = seen(problem, "prompt");
    if (common === null) common = prompt;
    let length = 0;
    while (length < common.length && common[length] === prompt[length]) length++;
    common = common.slice(0, length);
  }
  const several = problems.set.filter((other) => other === set).length > 1;
  return several ? /^[^]*\s|/.exec(common)[0].length : 0;
}

const tail = (text, length) => (text.length > length ? `…${text.slice(-length).replace(/^\S+ /, "")}` : text);

function badge(sample) {
  const reason = reasonOf(sample);
  const doubt = samples.doubt[sample];
  if (doubt) return element("span", { class: "badge doubtful" }, `✓ kept, ${doubt}`);
  return element("span", { class: `badge ${reason === null ? "kept" : "dropped"}` }, reason === null ? "✓ kept" : `✗ ${reason}`);
}

const DOUBTS = {
  "no rationale": "Kept, since its answer is right. It has no rationale, only an answer.",
  "not derived": "Kept, since its answer is right. No calculation in it leads to this answer.",
};

const samplerOf = (sample) => data.names.sampler[samples.sampler[sample]];

function reveal() {
  const list = $("list");
  const top = active * ROW;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
  draw();
}

function move(position, open = wide.matches) {
  if (!view.length) return;
  active = Math.min(Math.max(position, 0), view.length - 1);
  reveal();
  if (open) show();
}

// The sample

// The messages of a prompt, or null for a text.
function messagesOf(text) {
  if (!text?.startsWith("[{")) return null;
  try {
    const found = JSON.parse(text);
    return found.every(({ role }) => role !== undefined) ? found : null;
  } catch {
    return null; // it only looked like messages
  }
}

const asText = (value) => (typeof value === "string" ? value : JSON.stringify(value) ?? "");
const plain = (text) => messagesOf(text)?.map(({ role, content }) => `${role}: ${asText(content)}`).join("\n\n") ?? text;

const seen = (problem, column) => {
  const text = column === "prompt" ? problems.prompt[problem] : problems.prompts[problem][column];
  return text === undefined ? null : plain(text);
};

// An environment may say something else to each sample of a problem.
const promptOf = (sample) => samples.prompt[sample] ?? problems.prompt[samples.problem[sample]];

// Marks as the hint what a text has in addition to the plain prompt.
function hintMarked(text, prompt) {
  let start = 0;
  let end = 0;
  while (start < prompt.length && text[start] === prompt[start]) start++;
  while (end < prompt.length - start && text[text.length - 1 - end] === prompt[prompt.length - 1 - end]) end++;
  const hint = text.slice(start, text.length - end);
  return [...marked(text.slice(0, start)), hint && element("mark", { class: "hint", title: "the hint" }, hint), ...marked(text.slice(text.length - end))];
}

function promptBox(sample, column, fewShot) {
  const problem = samples.problem[sample];
  const prompt = plain(promptOf(sample));
  const examples = data.examples[problems.examples[problem][column]];
  const node = element("div", { class: "text" });
  if (fewShot && examples) node.append(fewShotBox(examples));
  const text = column === "prompt" ? prompt : seen(problem, column);
  node.append(text === null ? "Not stored with this run." : element("pre", {}, ...hintMarked(text, prompt)));
  return node;
}

// A conversation with tools: its turns after the prompt, as groups of a turn and the results of its calls.
function turnsOf(sample) {
  if (samples.turns[sample] === undefined) return null;
  const groups = [];
  for (const turn of JSON.parse(samples.turns[sample])) {
    const last = groups.at(-1);
    if (turn.role === "tool" && last && last.results.length < last.calls.length) last.results.push(turn);
    else groups.push({ turn, calls: Array.isArray(turn.tool_calls) ? turn.tool_calls : [], results: [] });
  }
  return groups;
}

function callText(call) {
  const { name, arguments: given } = call?.function ?? {};
  const isObject = given !== null && typeof given === "object" && !Array.isArray(given);
  const shown = isObject ? Object.entries(given).map(([key, value]) => `${key}: ${asText(value)}`).join(", ") : asText(given ?? "");
  return `${asText(name ?? "unknown")}(${shown})`;
}

// What the sample's turns say, line by line.
function linesOf(sample) {
  const texts = turnsOf(sample)?.flatMap(({ turn, calls, results }) => [
    ...(contentOf(turn) ? [contentOf(turn)] : []), ...calls.flatMap((call, number) => [callText(call), ...(results[number] ? [`→ ${contentOf(results[number])}`] : [])])]);
  return (texts?.join("\n") ?? samples.completion[sample]).split("\n");
}

// Thoughts of the model are a field of their own in the templates that have them.
const contentOf = (turn) => [turn.reasoning_content, turn.content].filter((part) => part !== null && part !== undefined && part !== "").map(asText).join("\n\n");

function turnBox(role, name, ...children) {
  const who = name === undefined || name === null ? asText(role) : `${asText(role)} ${asText(name)}`;
  return element("li", { class: `turn ${role === "assistant" ? "own" : ""}` }, element("h5", {}, who), ...children);
}

function callBox(call, result) {
  const text = callText(call);
  const answer = result ? contentOf(result) : "not answered";
  const found = query !== null && `${text} ${answer}`.search(query) >= 0;
  return element("details", { class: "call", open: found },
    element("summary", {}, element("span", {}, ...marked(text)), " → ", element("span", {}, ...marked(answer))),
    element("h5", {}, "call"), element("pre", {}, ...marked(JSON.stringify(call?.function?.arguments ?? {}, null, 2))),
    element("h5", {}, "result"), element("pre", {}, ...marked(answer)));
}

function conversation(sample, column, fewShot) {
  const problem = samples.problem[sample];
  const own = messagesOf(promptOf(sample)) ?? [{ role: "prompt", content: promptOf(sample) }];
  const seenText = samples.hinted_prompt[sample] ?? (column && column !== "prompt" ? problems.prompts[problem][column] : null);
  const given = messagesOf(seenText) ?? (seenText == null ? own : [{ role: "prompt", content: seenText }]);
  const examples = data.examples[problems.examples[problem][column ?? "prompt"]];
  const list = element("ol", { class: "turns", "aria-label": "Turns" });
  for (const [number, message] of given.entries()) {
    const content = contentOf(message);
    const without = own.length === given.length ? contentOf(own[number]) : content;
    list.append(turnBox(message.role, message.name, element("pre", {}, ...hintMarked(content, without))));
  }
  for (const { turn, calls, results } of turnsOf(sample)) {
    const content = contentOf(turn);
    list.append(turnBox(turn.role, turn.name, content ? element("pre", {}, ...marked(content)) : null, ...calls.map((call, number) => callBox(call, results[number]))));
  }
  return element("section", {}, element("h4", {}, "The conversation"), fewShot && examples ? fewShotBox(examples) : null, list);
}

const fewShotBox = (examples) =>
  element("details", {}, element("summary", {}, `few-shot examples, ${count.format(examples.length)} characters`), element("pre", {}, ...marked(plain(examples))));

function panels(sample) {
  const problem = samples.problem[sample];
  const { few_shot_iterations: last, few_shot_train: fewShotTrain, sample_weighting: weighting, loss_normalization: normalization, distillation } = data.settings;
  const column = data.columns[samplerOf(sample)];
  const reason = reasonOf(sample);
  const held = data.sets[problems.set[problem]] !== "samples";
  const isConversation = samples.turns[sample] !== undefined;
  const fewShot = last == null || Math.max(samples.iteration[sample], 1) <= last;
  const left = isConversation ? conversation(sample, column, fewShot)
    : element("section", {}, element("h4", {}, column ? "What the model saw" : "The prompt, without a hint"), promptBox(sample, column ?? "prompt", fewShot));
  const right = element("section", {}, element("h4", {}, "What it is trained on"));
  const note = (text) => right.append(element("p", { class: "note" }, text));
  // As in `STaRConfig.counts_draws` and `trains_on_failed`. Runs of older versions have no `distillation`.
  const countsDraws = !["uniform", "reward"].includes(weighting ?? "uniform") || distillation != null || normalization === "problems";
  const learnsFromFailed = ["advantage", "teacher", "teacher_advantage"].includes(weighting) || distillation != null;
  const failedToo = learnsFromFailed && (reason === "wrong" || reason === "truncated");
  // As in `at_threshold`
  const threshold = data.thresholds[samples.iteration[sample]];
  const judged = threshold !== undefined && (reason === null || reason === "wrong");
  const reaches = judged && samples.reward[sample] !== null && samples.reward[sample] >= threshold;
  if (held) note("Nothing: an evaluation problem.");
  else if (judged && !reaches) note(`Nothing: its reward is below ${threshold}, the threshold of the iteration.`);
  else if (reason !== null && !failedToo && !reaches) note(`Nothing: ${reason}.`);
  else {
    const shown = samples.hint_shown[sample];
    if (!isConversation) right.append(promptBox(sample, shown ? column ?? "prompt" : "prompt", fewShotTrain));
    const trained = !isConversation ? "The completion follows; only it has a loss."
      : `${shown ? "The conversation" : "The conversation without the hint"}. Only what the model wrote has a loss.`;
    note(`${shown ? "The hint is left in, by the sampler's choice. " : ""}${trained} ${countsDraws ? "It counts as often as it was drawn." : "Left out if a duplicate, or over the cap per problem."}`);
  }
  return element("div", isConversation ? {} : { class: "columns" }, left, right);
}

function facts(sample) {
  const number = (value) => (value === null ? "none" : `${Number(value.toPrecision(4))}`);
  const problem = samples.problem[sample];
  const shown = {
    answer: problems.answer[problem],
    [data.settings.eval_group_column ?? "group"]: problems.group[problem],
    reward: number(samples.reward[sample]),
    ...(data.rewards.length > 1 ? Object.fromEntries(data.rewards.map((name, index) => [name, number(samples.rewards[index][sample])])) : {}),
    tokens: count.format(samples.tokens[sample]) + (samples.untrained[sample] ? `, ${samples.untrained[sample]} of them not trained on` : ""),
    ended: data.names.finish_reason[samples.finish_reason[sample]],
    "log-probability": samples.logprob[sample] === undefined ? null : number(samples.logprob[sample]),
    more: samples.extra[sample],
  };
  const entries = Object.entries(shown).filter(([, value]) => value !== null && value !== undefined);
  return element("dl", { class: "sample-facts" }, ...entries.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
}

// Shows all samples of the problem, one column per iteration. Lines that the previous iteration lacks are marked.
function history(sample) {
  const problem = samples.problem[sample];
  let first = sample;
  while (samples.problem[first - 1] === problem) first--;
  const columns = new Map();
  for (let other = first; samples.problem[other] === problem; other++) {
    const iteration = samples.iteration[other];
    columns.set(iteration, [...(columns.get(iteration) ?? []), other]);
  }
  const node = element("div", { class: "history scroll", tabindex: 0, role: "region", "aria-label": "The problem over the iterations" });
  let before = null;
  for (const [iteration, others] of columns) {
    const column = element("section", {}, element("h5", {}, iteration ? `Iteration ${iteration}` : "Base model"));
    for (const other of others) {
      const button = element("button", { type: "button", class: "pick", "aria-current": other === sample && "true" },
        badge(other), ` ${samplerOf(other)}${samples.index[other] ? ` ${samples.index[other]}` : ""}`);
      button.addEventListener("click", () => show(other));
      const lines = linesOf(other).map((line) =>
        element("span", { class: before && line.trim() && !before.has(line) ? "line new" : "line" }, ...marked(line), "\n"));
      column.append(button, element("pre", {}, ...lines));
    }
    before = new Set(others.flatMap(linesOf));
    node.append(column);
  }
  return node;
}

function show(sample = view[active]) {
  const detail = $("detail");
  if (sample === undefined) {
    shownSample = null;
    detail.replaceChildren(element("p", { class: "note" }, "No sample passes the filters."));
    return;
  }
  const button = (label, act, name = label) => {
    const node = element("button", { type: "button", "aria-label": name }, label);
    node.addEventListener("click", act);
    return node;
  };
  detail.replaceChildren(
    element("div", { class: "bar-top" }, element("span", { class: "only-narrow" }, button("‹ List", close, "Back to the list")),
      element("span", { class: "only-narrow" }, button("↑", () => move(active - 1, true), "Previous sample"), button("↓", () => move(active + 1, true), "Next sample"))),
    element("h3", {}, badge(sample), ` Problem ${problems.id[samples.problem[sample]]}, iteration ${samples.iteration[sample]}, ${samplerOf(sample)}`,
      samples.index[sample] ? `, sample ${samples.index[sample]}` : ""),
    samples.doubt[sample] ? element("p", { class: "note" }, DOUBTS[samples.doubt[sample]] ?? "") : "",
    facts(sample),
    panels(sample),
    ...(samples.turns[sample] !== undefined ? [] : [
      element("h4", {}, "What it wrote"),
      element("div", { class: "text" }, element("pre", { class: "completion" }, ...marked(samples.completion[sample])))]),
    labelBox(sample),
    element("h4", {}, "The problem over the iterations"),
    history(sample),
    element("p", { class: "note" }, "A bar marks lines that the previous iteration does not have."));
  if (!wide.matches) open();
  const columns = detail.querySelector(".history");
  columns.scrollLeft = columns.querySelector("[aria-current]").parentElement.offsetLeft - columns.offsetLeft - 40;
}

// Labels that a person gives to samples: the classes of failures of appendix A of the STaR paper, and "sound".

const LABELS = {
  "sound": "The reasoning is right and leads to the answer",
  "question implies answer": "The question already says the answer, and the rationale repeats it",
  "begging the question": "The answer is stated as its own reason",
  "exercise to the reader": "The facts are repeated, and the step to the answer is left out",
  "world state assertion": "The answer is asserted as a fact about the world, without a reason",
  "red herring": "What is said is right or wrong, but has nothing to do with the answer",
  "hint shortcutting": "The hint is taken over, by reasons that do not lead to it",
};
let labels = new Map(); // the labels of a sample, by its number
let labelsKept = true; // whether the browser keeps them
let shownSample = null; // the sample that the keys 0 to 6 label

// Names a sample, whichever samples this page holds. The text is in it, so that the labels of an overwritten run get lost.
function labelKey(sample) {
  const problem = samples.problem[sample];
  let digest = 0;
  for (const character of samples.completion[sample]) digest = (31 * digest + character.codePointAt(0)) | 0;
  return JSON.stringify([data.sets[problems.set[problem]], samples.iteration[sample], samplerOf(sample), problems.id[problem], samples.index[sample], digest]);
}

const labelStorage = () => `star-trl labels ${location.pathname}`;

function restoreLabels() {
  try {
    const stored = JSON.parse(localStorage.getItem(labelStorage())) ?? {};
    if (Object.keys(stored).length) {
      for (const sample of samples.problem.keys()) {
        const found = stored[labelKey(sample)];
        if (found) labels.set(sample, found);
      }
    }
  } catch {
    labelsKept = false;
  }
}

function toggleLabel(sample, name) {
  const others = (labels.get(sample) ?? []).filter((other) => other !== name && (other === "sound") === (name === "sound"));
  const names = labels.get(sample)?.includes(name) ? others : Object.keys(LABELS).filter((other) => other === name || others.includes(other));
  if (names.length) labels.set(sample, names);
  else labels.delete(sample);
  try {
    // Labels of samples that this page leaves out stay.
    const stored = JSON.parse(localStorage.getItem(labelStorage())) ?? {};
    if (names.length) stored[labelKey(sample)] = names;
    else delete stored[labelKey(sample)];
    localStorage.setItem(labelStorage(), JSON.stringify(stored));
  } catch {
    labelsKept = false;
  }
  document.querySelectorAll("#detail .labels button").forEach((button) =>
    button.setAttribute("aria-pressed", `${names.includes(button.dataset.label)}`));
  draw();
  countLabels();
}

function labelBox(sample) {
  const buttons = Object.entries(LABELS).map(([name, meaning], number) => {
    const node = element("button", { type: "button", title: meaning, "data-label": name, "aria-pressed": `${labels.get(sample)?.includes(name) ?? false}` },
      element("kbd", {}, `${number}`), ` ${name}`);
    node.addEventListener("click", () => toggleLabel(sample, name));
    return node;
  });
  shownSample = sample;
  return element("details", { class: "labels", open: labels.size > 0 }, element("summary", {}, "Label its reasoning"), element("div", {}, ...buttons));
}

function countLabels() {
  const counts = new Map();
  for (const [sample, names] of labels) {
    const key = JSON.stringify([data.sets[problems.set[samples.problem[sample]]], samples.iteration[sample], samplerOf(sample)]);
    const row = counts.get(key) ?? counts.set(key, {}).get(key);
    row.samples = (row.samples ?? 0) + 1;
    for (const name of names) row[name] = (row[name] ?? 0) + 1;
  }
  const header = ["problems", "iteration", "sampler", "samples", ...Object.keys(LABELS)];
  const rows = [...counts].map(([key, row]) => [JSON.parse(key), row]).sort(([a], [b]) => (a[0] === "samples" ? 0 : 1) - (b[0] === "samples" ? 0 : 1) || a[1] - b[1]);
  $("label-counts").replaceChildren(
    element("thead", {}, element("tr", {}, ...header.map((name) => element("th", { scope: "col" }, name)))),
    element("tbody", {}, ...rows.map(([[set, iteration, sampler], row]) =>
      element("tr", {}, ...[setName(set), iteration, sampler, row.samples, ...Object.keys(LABELS).map((name) => row[name] ?? 0)].map((value) => element("td", {}, `${value}`))))));
  $("labels").hidden = labels.size === 0;
  $("label").parentElement.hidden = labels.size === 0 && !$("label").value;
  $("labelled").textContent = `: ${count.format(labels.size)} ${labels.size === 1 ? "sample" : "samples"}`;
  $("label-note").textContent = labelsKept ? "The labels are kept in this browser, for this file." : "This browser keeps nothing: save the labels before you leave.";
}

// One line for each sample, with the fields that name it in the ledger.
function saveLabels() {
  const lines = [...labels].sort(([a], [b]) => a - b).map(([sample, names]) => JSON.stringify({
    ledger: data.sets[problems.set[samples.problem[sample]]], iteration: samples.iteration[sample], problem_id: problems.id[samples.problem[sample]],
    sampler: samplerOf(sample), sample_index: samples.index[sample], labels: names }));
  const url = URL.createObjectURL(new Blob([`${lines.join("\n")}\n`], { type: "application/jsonl" }));
  element("a", { href: url, download: "labels.jsonl" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

// On a narrow screen the sample covers the page.
const covered = () => document.querySelectorAll("body > header, .figures, #figures-title, #samples-title, #status, #filters, #list, #labels");

function open() {
  const detail = $("detail");
  if (document.body.classList.contains("open")) return;
  document.body.classList.add("open");
  detail.setAttribute("role", "dialog");
  for (const node of covered()) node.inert = true;
  detail.scrollTop = 0;
  detail.focus();
}

function close() {
  if (!document.body.classList.contains("open")) return;
  document.body.classList.remove("open");
  $("detail").removeAttribute("role");
  for (const node of covered()) node.inert = false;
  $("list").focus({ preventScroll: true });
}

function listen() {
  const list = $("list");
  let waiting;
  const soon = () => { clearTimeout(waiting); waiting = setTimeout(filter, 150); };
  $("search").addEventListener("input", soon);
  $("filters").addEventListener("change", (event) => event.target.id === "search" || filter());
  $("filters").addEventListener("reset", () => setTimeout(filter));
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  list.addEventListener("scroll", () => requestAnimationFrame(draw));
  new ResizeObserver(draw).observe(list);
  list.addEventListener("click", (event) => {
    const node = event.target.closest(".row");
    if (node) move(Number(node.dataset.position), true);
  });
  list.addEventListener("keydown", (event) => {
    const page = Math.max(1, Math.floor(list.clientHeight / ROW) - 1);
    const steps = { ArrowDown: active + 1, ArrowUp: active - 1, PageDown: active + page, PageUp: active - page, Home: 0, End: view.length - 1 };
    if (event.key in steps) move(steps[event.key]);
    else if (event.key === "Enter" || event.key === " ") move(active, true);
    else return;
    event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
    if (event.key === "/" && !/^(INPUT|SELECT)$/.test(event.target.tagName)) {
      close();
      $("search").focus();
      event.preventDefault();
    }
    const inSight = shownSample !== null && (wide.matches || document.body.classList.contains("open"));
    const name = /^[0-9]$/.test(event.key) ? Object.keys(LABELS)[Number(event.key)] : undefined;
    if (name && inSight && !event.ctrlKey && !event.metaKey && !event.altKey && !/^(INPUT|SELECT)$/.test(event.target.tagName)) {
      $("detail").querySelector(".labels").open = true;
      toggleLabel(shownSample, name);
    }
  });
  $("save-labels").addEventListener("click", saveLabels);
  wide.addEventListener("change", () => { close(); $("more").open = wide.matches; if (wide.matches) show(); });
}

async function start() {
  $("status").textContent = "Unpacking the samples…";
  if (typeof DecompressionStream === "undefined") throw new Error("this browser has no DecompressionStream; one of 2023 or later has");
  data = await load();
  ({ problems, samples } = data);
  samples.hint_shown = samples.hint_shown ?? {};
  if (!samples.problem.length) {
    $("status").textContent = "There are no samples yet.";
    return;
  }
  starts = data.sets.map((_, set) => commonStart(set));
  restoreLabels();
  fillFilters();
  countLabels();
  $("more").open = wide.matches;
  $("filters").hidden = $("panes").hidden = false;
  $("samples").classList.add("filled");
  listen();
  filter();
  document.body.dataset.ready = "true";
}

// Starts after the figures are on the screen.
requestAnimationFrame(() => setTimeout(() => start().catch((error) => {
  $("status").textContent = `The samples cannot be shown: ${error.message}.`;
})));
