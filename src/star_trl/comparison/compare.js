// Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
// The blind comparison. Model output is only ever inserted as text: there is no innerHTML here.
"use strict";

const $ = (id) => document.getElementById(id);
let data;
let at = 0; // number of the question on the screen
let ranks = {}; // for each question that was touched, by its id: the rank of each place on the screen, or null
let kept = true; // whether the browser keeps the progress
let tie = false; // whether the next letter gets the rank of the one before

const letter = (place) => String.fromCharCode(97 + place);
const ranksOf = (question) => ranks[question.id] ?? question.order.map(() => null);
const isDone = (question) => !ranksOf(question).includes(null);
const numDone = () => data.questions.filter(isDone).length;

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== false) node.setAttribute(name, value === true ? "" : value);
  node.append(...children);
  return node;
}

async function load() {
  const bytes = Uint8Array.from(atob($("data").textContent), (c) => c.charCodeAt(0));
  $("data").remove();
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

// Progress

const storageKey = () => `star-trl compare ${data.comparison}`;

function restore() {
  try {
    const stored = JSON.parse(localStorage.getItem(storageKey())) ?? {};
    at = Math.min(stored.at ?? 0, data.questions.length - 1);
    ranks = stored.ranks ?? {};
    $("rater").value = stored.rater ?? `rater ${crypto.getRandomValues(new Uint32Array(1))[0].toString(36)}`;
    keep();
  } catch {
    kept = false;
  }
}

function keep() {
  try {
    localStorage.setItem(storageKey(), JSON.stringify({ at, ranks, rater: $("rater").value }));
  } catch {
    kept = false;
  }
}

// The question

function show() {
  const question = data.questions[at];
  $("title").textContent = `Question ${at + 1} of ${data.questions.length}`;
  $("prompt").textContent = question.prompt;
  $("cards").replaceChildren(...question.order.map((source, place) => {
    const name = letter(place).toUpperCase();
    const choices = question.order.map((_, number) => {
      const input = element("input", { type: "radio", name: `rank-${place}`, value: number + 1, "aria-label": `Rank ${number + 1} for ${name}` });
      return element("label", {}, input, `${number + 1}`);
    });
    return element("fieldset", {}, element("legend", {}, name), element("pre", {}, question.rationales[source]),
      element("div", { class: "ranks" }, "Rank ", ...choices));
  }));
  update();
}

function update() {
  const question = data.questions[at];
  for (const [place, rank] of ranksOf(question).entries()) {
    const card = $("cards").children[place];
    card.classList.toggle("ranked", rank !== null);
    for (const input of card.querySelectorAll("input")) input.checked = Number(input.value) === rank;
  }
  const done = numDone();
  const all = done === data.questions.length;
  $("status").textContent = `${done} of ${data.questions.length} ranked. ` + (all ? "Thank you: save the results, and send the file back. " : "")
    + (kept ? "Your progress is kept in this browser." : "This browser keeps nothing: save the results before you leave.");
  Object.assign($("progress"), { max: data.questions.length, value: done });
  $("back").disabled = at === 0;
  $("next").disabled = at === data.questions.length - 1;
  $("next").classList.toggle("ready", isDone(question) && !$("next").disabled);
  $("save").disabled = done === 0;
  $("save").classList.toggle("ready", all);
}

function rank(place, value) {
  const question = data.questions[at];
  ranks[question.id] = ranksOf(question).with(place, value);
  keep();
  update();
}

// A letter gets the rank behind those that have one. Letters are pressed from the best to the worst. When all have a rank,
// there is no rank behind them, so that the next letter is the best of a new ranking.
function rankNext(place) {
  const question = data.questions[at];
  if (isDone(question) && !tie) delete ranks[question.id];
  const given = ranksOf(question).filter((value, other) => value !== null && other !== place);
  rank(place, Math.min(Math.max(0, ...given) + (tie && given.length ? 0 : 1), data.sources.length));
  tie = false;
}

function go(step) {
  const next = at + step;
  if (next < 0 || next >= data.questions.length) return;
  at = next;
  tie = false;
  $("how").open = false;
  keep();
  show();
  $("title").focus({ preventScroll: true });
  scrollTo(0, 0);
}

// The results: the rank of each source, in the order of the sources. Questions without all ranks are left out.
function results() {
  const questions = data.questions.filter(isDone).map((question) => {
    const places = ranksOf(question);
    return { question: question.id, ranks: data.sources.map((_, source) => places[question.order.indexOf(source)]) };
  });
  return { comparison: data.comparison, rater: $("rater").value.trim() || "unnamed", sources: data.sources, questions };
}

function save() {
  const result = results();
  const url = URL.createObjectURL(new Blob([JSON.stringify(result, null, 2)], { type: "application/json" }));
  const link = element("a", { href: url, download: `ranking-${result.rater.replace(/[^\p{L}\p{N}]+/gu, "-")}.json` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

function listen() {
  $("cards").addEventListener("change", (event) => rank(Number(event.target.name.slice(5)), Number(event.target.value)));
  $("cards").addEventListener("submit", (event) => event.preventDefault());
  $("rater").addEventListener("input", () => { keep(); update(); });
  $("back").addEventListener("click", () => go(-1));
  $("next").addEventListener("click", () => go(1));
  $("save").addEventListener("click", save);
  document.addEventListener("keydown", (event) => {
    const { target, key } = event;
    const isRank = target.type === "radio"; // whose arrows choose a rank
    if (event.ctrlKey || event.metaKey || event.altKey || (target.tagName === "INPUT" && !isRank)) return;
    const place = key.length === 1 ? key.toLowerCase().charCodeAt(0) - 97 : -1;
    if (place >= 0 && place < data.sources.length) rankNext(place);
    else if (key === "=") tie = true;
    else if (key === "Backspace") { delete ranks[data.questions[at].id]; tie = false; keep(); update(); }
    else if ((key === "Enter" && !/^(BUTTON|SUMMARY)$/.test(target.tagName)) || (key === "ArrowRight" && !isRank)) go(1);
    else if (key === "ArrowLeft" && !isRank) go(-1);
    else return;
    event.preventDefault();
  });
}

async function start() {
  if (typeof DecompressionStream === "undefined") throw new Error("this browser has no DecompressionStream; one of 2023 or later has");
  data = await load();
  restore();
  $("how").open = numDone() === 0;
  $("work").hidden = false;
  listen();
  show();
  document.body.dataset.ready = "true";
}

start().catch((error) => { $("status").textContent = `The questions cannot be shown: ${error.message}.`; });
