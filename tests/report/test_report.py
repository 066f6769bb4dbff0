# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The report of a run: one file, which shows what is on disk and runs nothing that a model wrote."""

import dataclasses
import json
import random
import re
import shutil
import time

import pytest
from datasets import Dataset

from star_trl import RationaleSampler, RationalizationSampler, load_ledger
from star_trl.ledger import Ledger
from star_trl.output_dir import write_json
from star_trl.report import live, write_report
from star_trl.report.histogram import Histogram
from star_trl.report.page import write_page
from star_trl.report.read_run import RunReader
from star_trl.report.stored_prompts import read_prompts, write_prompts
from star_trl.report.svg import short_number
from star_trl.task.prompting import PromptBuilder
from star_trl.task.task import Task
from support.browser import BROWSER, Browser
from support.samples import make_sample
from support.sums import EXAMPLES, PROBLEMS, last_question, solve_easy_and_hinted


def make_task(problems, samplers, builder, **evaluation_sets):
    return Task(
        problems=problems,
        evaluation_sets=evaluation_sets,
        samplers=samplers,
        scorer=None,
        prompt_builder=builder,
        candidates=list(range(len(problems))),
    )


NASTY = [
    "<script>window.pwned = 1; document.title = 'pwned'</script>",
    "</script><script>window.pwned = 1</script>",
    '"><img src=x onerror="window.pwned = 1">',
    "' onmouseover='window.pwned = 1",
    "line\u2028separator\u2029 <!-- &lt;b&gt; &amp; ]]> ${window.pwned = 1}",
    "[{not messages",
]
DROPPED = {"kept": False, "drop_reason": "wrong", "reward": 0.0}


def write_metrics(output_dir, iteration: int, **metrics) -> None:
    path = Ledger(output_dir).iteration_dir(iteration) / "metrics.json"
    write_json(path, {"iteration": iteration, "seconds": 1.0, "eval_clipped_ratio": 0.0, **metrics})


@pytest.fixture
def run_dir(tmp_path, tokenizer, problems):
    """Twelve problems over three iterations, half of them rationalized, and an evaluation set of two."""
    output_dir = tmp_path / "run"
    rng = random.Random(0)
    for iteration in range(4):
        write_metrics(output_dir, iteration, eval_accuracy=iteration / 4, **{"eval_accuracy/easy": iteration / 3})
        held_out = [make_sample(iteration=iteration, problem_id=index, completion="held out") for index in range(2)]
        Ledger(output_dir, name="eval").append(held_out)
        samples = []
        for problem in range(12 if iteration else 0):
            for sampler in ("rationale", "rationalization")[: 1 + problem % 2]:
                kept = rng.random() < 0.5
                outcome = {} if kept else DROPPED
                completion = f" It is {problem} (C++?) in {iteration}.\nfrom the {sampler}"
                prompt = PROBLEMS[problem % 4]["prompt"]
                names = {"iteration": iteration, "problem_id": problem, "sampler": sampler}
                samples.append(make_sample(**names, completion=completion, prompt=prompt, **outcome))
        Ledger(output_dir).append(samples)
    rows = problems.select([index % 4 for index in range(12)])
    samplers = [RationaleSampler(), RationalizationSampler()]
    write_prompts(output_dir, make_task(rows, samplers, PromptBuilder(tokenizer, EXAMPLES), eval=problems), "kind")
    return output_dir


@pytest.fixture(scope="module")
def browser():
    if BROWSER is None:
        pytest.skip("No Chromium is installed (`apt-get install chromium`)")
    browser = Browser(BROWSER)
    yield browser
    browser.close()


def test_the_trainer_writes_it_after_every_iteration(make_trainer, problems, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(live, "write_page", lambda reader: written.append(write_page(reader).read_text()))
    trainer = make_trainer(solve_easy_and_hinted, eval_dataset=problems, eval_group_column="kind")
    trainer.train()
    assert [re.search(r"STaR run, (.*?)\.", page)[1] for page in written] == [f"iteration {n} of 2" for n in range(3)]
    run = RunReader(tmp_path / "out", max_samples=1000).read()
    assert run.inner_steps == {1: 3, 2: 3}
    assert run.columns["total"] == len(load_ledger(tmp_path / "out")) + len(load_ledger(tmp_path / "out", "eval"))
    assert run.columns["problems"]["group"] == [row["kind"] for row in PROBLEMS] * 2
    assert run.columns["problems"]["prompts"][3] == {"hinted_prompt": PROBLEMS[3]["hinted_prompt"]}
    title = "Accuracy on the evaluation set"
    assert re.search(rf"<h3>{title}.*?kind easy.*?kind hard.*?base model", written[-1], re.DOTALL)


def test_it_says_where_evaluation_and_sampling_had_other_prompts(make_trainer, problems, monkeypatch):
    written = []
    monkeypatch.setattr(live, "write_page", lambda reader: written.append(write_page(reader).read_text()))
    make_trainer(solve_easy_and_hinted, eval_dataset=problems, few_shot_iterations=1).train()
    note = "evaluated with them, and sampled without them in iteration 2."
    assert [note in page for page in written] == [False, False, True]
    assert "Iterations after 1 sample without the few-shot examples." in written[-1]


def test_it_can_be_turned_off(make_trainer, tmp_path):
    make_trainer(solve_easy_and_hinted, num_iterations=1, html_report=False).train()
    assert not [*(tmp_path / "out").glob("report.*"), *(tmp_path / "out").glob("prompts.json")]


def test_a_failure_to_write_it_does_not_end_a_run(make_trainer, tmp_path, monkeypatch, caplog):
    def fail(*args):
        raise OSError("No space left on device")

    monkeypatch.setattr(live, "write_page", fail)
    monkeypatch.setattr(live, "write_prompts", fail)
    make_trainer(solve_easy_and_hinted).train()
    assert (tmp_path / "out" / "iteration-002" / "metrics.json").exists()
    assert "The report was not written" in caplog.text and "No space left" in caplog.text


def test_a_slower_way_of_the_engine_is_in_the_metrics_and_once_in_the_report(make_trainer, tmp_path):
    trainer = make_trainer(solve_easy_and_hinted)
    trainer.engine.fallback_warnings = ["Slow, for a reason <of> its own."]
    trainer.train()
    for path in sorted((tmp_path / "out").glob("iteration-*/metrics.json")):
        assert json.loads(path.read_text())["fallback_warnings"] == trainer.engine.fallback_warnings
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("Warning: Slow, for a reason &lt;of&gt; its own.") == 1


def test_overwriting_a_run_deletes_its_report(make_trainer, tmp_path):
    make_trainer(solve_easy_and_hinted, num_iterations=1).train()
    assert (tmp_path / "out" / "report.html").exists()
    changes = {"num_iterations": 1, "overwrite_output_dir": True, "html_report": False}
    make_trainer(solve_easy_and_hinted, **changes).train()
    assert not (tmp_path / "out" / "report.html").exists()


def test_a_directory_without_a_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="No run in"):
        write_report(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["settings", "trainer_state", "ledgers"])
def test_a_state_of_another_shape_is_named(tmp_path, name):
    Ledger(tmp_path).append([make_sample()])
    write_json(tmp_path / "star_state.json", {name: 1})
    with pytest.raises(ValueError, match=r"star_state.json is damaged .* must "):
        write_report(tmp_path)


def test_it_needs_nothing_from_outside(run_dir):
    page = write_report(run_dir).read_text()
    assert not re.findall(r"https?:|@import|url\(|\bsrc=", page)
    assert set(re.findall(r'href="(.*?)"', page)) == {"data:,", "#figures-title", "#samples"}


def test_of_too_many_samples_whole_problems_are_shown(run_dir):
    everything = RunReader(run_dir, max_samples=1000).read()
    run = RunReader(run_dir, max_samples=20).read()
    numbers = run.columns["samples"]["problem"]
    assert 10 < len(numbers) <= 20 and run.columns["total"] == everything.columns["total"] == 62
    assert run.counts == everything.counts  # the figures are of all
    for number, (ledger, problem) in enumerate(
        zip(*(run.columns["problems"][name] for name in ("set", "id")), strict=True)
    ):
        assert numbers.count(number) == (4 if ledger else 3 * (1 + problem % 2))


def test_what_was_read_before_an_iteration_is_not_read_again(tmp_path, monkeypatch):
    reader = RunReader(tmp_path, max_samples=3)
    read = []
    monkeypatch.setattr(
        Ledger, "read", lambda self, number, read_=Ledger.read: read.append(number) or read_(self, number)
    )
    for iteration in (1, 2, 3):
        Ledger(tmp_path).append([make_sample(iteration=iteration, problem_id=problem) for problem in (0, 1)])
        write_metrics(tmp_path, iteration)
        run = reader.read()
    assert read == [1, 2, 3]
    assert run == RunReader(tmp_path, max_samples=3).read()


def test_exploration_over_the_iterations(tmp_path):
    Ledger(tmp_path).append([make_sample()])
    for iteration in (1, 2):
        explored = {f"rationale/{name}": iteration / 4 for name in ("solved", "pass@4", "best_of_4")}
        write_metrics(tmp_path, iteration, train_data_used=1.0, **explored)
    (figure,) = re.findall(
        r"<h3>Exploration and exploitation</h3>.*?</figure>", write_report(tmp_path).read_text(), re.DOTALL
    )
    assert "rationale/pass@4" in figure and "rationale/best of 4" in figure


def test_numbers_that_json_does_not_know(tmp_path):
    values = [float("nan"), float("inf"), None, 0.25]
    rows = [make_sample(problem_id=index, reward=value, rewards={"r": value}) for index, value in enumerate(values)]
    Ledger(tmp_path).append(rows)
    write_metrics(tmp_path, 1, train_data_used=float("nan"), eval_accuracy=float("nan"))
    run = RunReader(write_report(tmp_path).parent, max_samples=10).read()
    assert list(run.columns["samples"]["reward"]) == [None, None, None, 0.25]
    assert run.counts["reward"][1] == {(0.25, True): 1}


def test_prompts_of_a_problem_that_differ_are_kept(tmp_path):
    said = ["A door.", "A red door.", "A door."]
    Ledger(tmp_path).append([make_sample(prompt=prompt, sample_index=index) for index, prompt in enumerate(said)])
    columns = RunReader(tmp_path, max_samples=10).read().columns
    assert columns["problems"]["prompt"] == ["A door."]
    assert columns["samples"]["prompt"] == {1: "A red door."}


def test_the_few_shot_examples_are_stored_once(tmp_path, tokenizer, problems):
    def as_messages(row):
        return {name: [{"role": "user", "content": row[name]}] for name in ("prompt", "hinted_prompt")}

    samplers = [RationalizationSampler()]
    write_prompts(tmp_path, make_task(problems, samplers, PromptBuilder(tokenizer, EXAMPLES)))
    stored = read_prompts(tmp_path)
    assert stored["examples"] == [
        f"{EXAMPLES[0][name]} One more than 1.\n2\n\n" for name in ("prompt", "hinted_prompt")
    ]
    assert [row["examples"] for row in stored["problems"]["samples"]] == [{"prompt": 0, "hinted_prompt": 1}] * 4

    chat = [{**as_messages(EXAMPLES[0]), "completion": "2"}]
    dataset = [{**as_messages(row), "answer": "?"} for row in PROBLEMS]
    dataset[0]["prompt"].insert(0, {"role": "system", "content": "Be brief."})
    write_prompts(tmp_path, make_task(Dataset.from_list(dataset), samplers, PromptBuilder(tokenizer, chat)))
    stored = read_prompts(tmp_path)
    turns = [*chat[0]["prompt"], {"role": "assistant", "content": "2"}]
    assert json.loads(stored["examples"][0]) == turns and len(stored["examples"]) == 2
    hinted = stored["problems"]["samples"][0]["prompts"]["hinted_prompt"]
    assert json.loads(hinted) == dataset[0]["hinted_prompt"]


def test_a_shorter_stream_loses_no_prompts(tmp_path, tokenizer, problems):
    """A run on a stream that is resumed with fewer iterations reads fewer problems than the ledger has samples of."""
    task = make_task(problems, [RationalizationSampler()], PromptBuilder(tokenizer, EXAMPLES), eval=problems)
    write_prompts(tmp_path, task)
    stored = read_prompts(tmp_path)
    write_prompts(tmp_path, dataclasses.replace(task, problems=problems.select([0])))
    assert read_prompts(tmp_path) == stored
    (tmp_path / "prompts.json").write_text("{}")
    write_prompts(tmp_path, task)
    assert read_prompts(tmp_path) == stored


@pytest.mark.parametrize(
    "value, label", [(0, "0"), (0.5, "0.5"), (2400, "2,400"), (20_000, "20k"), (1_250_000, "1.25M")]
)
def test_labels_of_an_axis_fit(value, label):
    assert short_number(value) == label


def test_a_histogram():
    histogram = Histogram({1: {(0, True): 1, (2, False): 3}, 2: {(1, True): 2}})
    assert histogram.num_bins == 3
    assert histogram.shares(1) == [(0.25, 0), (0, 0), (0, 0.75)]
    assert histogram.summary(1) == (4, 1, 1.5, 0, 2, 2)
    wide = Histogram({1: {(value / 10, True): 1 for value in range(241)}})
    assert wide.num_bins == 24 and wide.label(1) == "1 to 2"
    assert sum(kept for kept, _ in wide.shares(1)) == pytest.approx(1)


def select(browser, **filters) -> str:
    """Sets filters, as a hand would, and returns what the page says of the result."""
    browser.run("document.querySelector('[type=reset]').click()")
    for name, value in filters.items():
        if name == "set":
            browser.run(f"document.querySelector('#sets input[value=\"{value}\"]').click()")
            continue
        event = "input" if name == "search" else "change"
        fire = f"dispatchEvent(new Event('{event}', {{bubbles: true}}))"
        browser.run(f"$('{name}').value = {json.dumps(value)}; $('{name}').{fire}")
    browser.run("new Promise((done) => setTimeout(done, 250))")
    return browser.run("$('status').textContent")


def texts(browser, selector: str) -> list[str]:
    return browser.run(f"[...document.querySelectorAll({json.dumps(selector)})].map((node) => node.textContent)")


@pytest.mark.parametrize("width", [360, 1600])
def test_what_a_model_wrote_is_shown_and_not_run(browser, tmp_path, width):
    output_dir = tmp_path / "<img src=x onerror=alert(1)>"
    names = {"sampler": NASTY[2], "rewards": {NASTY[0]: 1.0, NASTY[3]: 0.0}, "extra": {"note": NASTY[0]}}
    rows = [make_sample(problem_id=i, prompt=text, completion=text, **names) for i, text in enumerate(NASTY)]
    Ledger(output_dir).append(rows)
    metrics = {
        "eval_accuracy": 1.0,
        f"eval_accuracy/{NASTY[2]}": 1.0,
        f"{NASTY[1]}/solved": 1.0,
        "train_data_used": 1.0,
    }
    write_metrics(output_dir, 1, **metrics)
    stored = [
        {"group": text, "answer": text, "prompts": {"prompt": text}, "examples": {"prompt": 0}} for text in NASTY
    ]
    content = {"columns": {NASTY[2]: "prompt"}, "problems": {"samples": stored}, "examples": [NASTY[1]]}
    (output_dir / "prompts.json").write_text(json.dumps(content))

    browser.open(write_report(output_dir), width=width)
    for position, text in enumerate(NASTY):
        browser.run(f"move({position}, true)")
        assert texts(browser, "pre.completion") == [text]
        assert text in texts(browser, ".columns pre")[-1]
        browser.run("document.querySelectorAll('*').forEach((node) => node.dispatchEvent(new Event('mouseover')))")
    assert browser.run("window.pwned") is None
    assert browser.run("document.title").startswith("<img src=x")
    assert browser.run("document.images.length + document.querySelectorAll('[onerror], [onmouseover]').length") == 0
    assert browser.run("document.scripts.length") == 1  # the data are taken out once they are read
    requests = [
        event["params"]["request"]["url"] for event in browser.events if event["method"] == "Network.requestWillBeSent"
    ]
    assert {url.split(":")[0] for url in requests} <= {"file", "data"}
    assert not [event for event in browser.events if event["method"] == "Runtime.exceptionThrown"]


def test_filters_and_search(browser, run_dir):
    browser.open(write_report(run_dir))
    rows = [{**row, "set": "samples"} for row in load_ledger(run_dir)]
    rows += [{**row, "set": "eval"} for row in load_ledger(run_dir, "eval")]
    kinds = [problem["kind"] for problem in PROBLEMS]

    def check(wanted, named="", **filters):
        kind = "evaluation" if filters.get("set") == "1" else "training"
        found = [row for row in rows if row["set"] == ("eval" if kind == "evaluation" else "samples") and wanted(row)]
        number = len({row["problem_id"] for row in found})
        assert select(browser, **filters) == f"{len(found)} {kind} samples of {number} problems{named}"
        assert browser.run("$('spacer').style.height") == f"{58 * len(found)}px"

    check(lambda row: True)
    check(lambda row: True, set="1")
    check(lambda row: row["iteration"] == 0, ", base model", set="1", iteration="0")
    named = ", iteration 2, rationalization"
    check(lambda row: row["iteration"] == 2 and row["sampler"] == "rationalization", named, iteration="2", sampler="1")
    check(lambda row: row["kept"], ", kept", result="kept")
    check(lambda row: row["drop_reason"] == "wrong", ", not kept: wrong", result=":wrong")
    check(lambda row: kinds[row["problem_id"] % 4] == "hard", ", hard", group="hard")
    check(lambda row: "(C++?) in 3." in row["completion"], ", with “(c++?) IN 3.”", search="(c++?) IN 3.")
    check(lambda row: "7+1" in row["prompt"], ", with “7+1”", search="7+1")
    check(lambda row: False, ", with “nowhere”", search="nowhere")
    assert texts(browser, "#detail") == ["No sample passes the filters."]
    select(browser, search="in 3")
    assert texts(browser, "pre.completion mark.hit") == ["in 3"]


def test_training_and_evaluation_samples_are_apart(browser, run_dir):
    browser.open(write_report(run_dir))
    assert texts(browser, "#sets label") == ["training54", "evaluation8"]
    assert texts(browser, "#status") == ["54 training samples of 12 problems"]
    select(browser, set="1")
    assert set(texts(browser, "pre.completion")) == {"held out"}


@pytest.mark.parametrize("instruction", ["", "Solve this problem.\n"])
def test_the_list_begins_with_the_question(browser, tmp_path, instruction):
    prompts = [
        f"{instruction}Q: {name} has {number} apples. How many?\nA:" for name, number in [("Tom", 3), ("Ann", 4)]
    ]
    completions = [" He counts them, and there are 3.\n3", " 4"]
    rows = [make_sample(problem_id=index, prompt=prompts[index], completion=completions[index]) for index in range(2)]
    Ledger(tmp_path).append(rows)
    browser.open(write_report(tmp_path))
    starts, ends = texts(browser, ".snippet :first-child"), texts(browser, ".snippet :last-child")
    assert starts == ["Tom has 3 apples. How many? A:", "Ann has 4 apples. How many? A:"]
    assert ends == ["→ …and there are 3. 3", "→ 4"]


def test_doubtful_samples_are_marked_and_counted(browser, make_trainer, problems, tmp_path):
    texts_of = {"1+2?\nA:": " There are 1 + 2 = 3.\n3", "2+3?\nA:": " 5", "4+5? (9)\nA:": " The lake was blue.\n9"}
    examples = [{**EXAMPLES[0], "completion": " It is 1 + 1 = 2.\n2"}]
    answer = lambda prompt: texts_of.get(last_question(prompt), " 0")  # noqa: E731
    make_trainer(answer, num_iterations=1, few_shot_examples=examples).train()
    browser.open(tmp_path / "out/report.html")
    assert "Doubtful of 3 kept2 1 no rationale, 1 not derived" in texts(browser, ".facts div")
    assert "Kept does not mean sound" in texts(browser, "figure h3")
    badges = ["✓ kept", "✓ kept, no rationale", "✗ wrong", "✓ kept, not derived", "✗ wrong", "✗ wrong"]
    assert texts(browser, "#list .badge") == badges
    assert select(browser, result="?not derived") == "1 training samples of 1 problems, kept, not derived"
    assert "No calculation in it leads to this answer." in texts(browser, "#detail .note")[0]
    assert select(browser, result="kept") == "3 training samples of 3 problems, kept"


def test_accuracies_have_their_number_and_interval(run_dir):
    page = write_report(run_dir).read_text()
    assert "<dt>Accuracy, base model</dt><dd>0.0% <small>0–66%, n = 2</small></dd>" in page
    assert "all, iteration 2: 50.0% (9–91%, n = 2)" in page and page.count('class="whisker ink"') == 4
    assert "<td>66.7% (16–95%, n = 2)</td>" in page  # of a group


def test_figures_of_a_change_wait_for_a_second_iteration(make_trainer, problems, monkeypatch):
    written = []
    monkeypatch.setattr(live, "write_page", lambda reader: written.append(write_page(reader).read_text()))
    make_trainer(solve_easy_and_hinted, eval_dataset=problems).train()
    of_a_change = ["Accuracy on the evaluation set", "Yield", "Training steps"]
    shown = [[title for title in of_a_change if f"<h3>{title}</h3>" in page] for page in written]
    assert shown == [[], of_a_change[:1], of_a_change]


def test_a_histogram_has_an_axis(run_dir):
    def figure(page):
        return re.search(r"<h3>Length</h3>.*?</figure>", page, re.DOTALL)[0]

    several = figure(write_report(run_dir).read_text())
    assert [label in several for label in (">it. 1<", ">3<", ">tokens<")] == [True] * 3
    assert "a row for each iteration, 100% of its samples high" in several
    for iteration in (2, 3):
        shutil.rmtree(run_dir / f"iteration-00{iteration}")
    one = figure(write_report(run_dir).read_text())
    assert re.findall(r'class="tick"[^>]*>(.*?)<', one) == ["0%", "50%", "100%", "2", "tokens"]


@pytest.mark.parametrize("width", [390, 1024, 1400])
def test_filters_stay_in_sight(browser, run_dir, width):
    browser.open(write_report(run_dir), width=width)
    browser.run("$('samples').scrollIntoView()")
    browser.run("$('list').scrollTop = 1e6")
    for name in ("search", "sets", "status"):
        assert browser.run(
            f"(({{top, bottom}}) => top >= 0 && bottom <= innerHeight)($('{name}').getBoundingClientRect())"
        )
    assert browser.run("$('list').getBoundingClientRect().bottom <= innerHeight + 1")
    assert browser.run("getComputedStyle($('more').firstElementChild).display != 'none'") == (width == 390)
    if width == 390:
        select(browser, iteration="2", result="kept")
        assert texts(browser, "#more summary") == ["Filters: iteration 2, kept"]
    figures, samples = browser.run("['.figures', '#samples'].map((name) => document.querySelector(name).offsetTop)")
    assert (samples < figures) == (width == 390)


@pytest.mark.parametrize("width", [390, 1024, 1400])
def test_the_grid_of_figures_has_no_holes(browser, run_dir, width):
    browser.open(write_report(run_dir), width=width)
    while count := browser.run("document.querySelectorAll('figure').length"):
        rows = browser.run(
            """(() => {
                const rows = new Map();
                for (const figure of document.querySelectorAll('figure')) {
                    const { top, right, height } = figure.getBoundingClientRect();
                    rows.set(top, [...(rows.get(top) ?? []), [right, height]]);
                }
                return [...rows.values()];
            })()"""
        )
        edge = browser.run("document.querySelector('.figures').getBoundingClientRect().right")
        assert all(abs(row[-1][0] - edge) < 1 for row in rows), count
        assert all(max(sizes) - min(sizes) < 1 for row in rows for sizes in [[height for _, height in row]])
        browser.run("document.querySelector('figure:last-child').remove()")


def test_what_the_model_saw_against_what_it_is_trained_on(browser, run_dir):
    browser.open(write_report(run_dir))
    select(browser, set="0", sampler="1", result="kept", search="A:")
    problem = PROBLEMS[int(re.search(r"Problem (\d+)", texts(browser, "#detail h3")[0])[1]) % 4]
    saw, trained = texts(browser, ".columns .text > pre")
    assert (saw, trained) == (problem["hinted_prompt"], problem["prompt"])
    assert texts(browser, ".columns mark.hint") == [f" ({problem['answer']})"]
    select(browser, set="0", result="dropped")
    assert texts(browser, ".columns .note") == ["Nothing: wrong."]
    select(browser, set="1")
    assert texts(browser, ".columns .note") == ["Nothing: an evaluation problem."]
    (run_dir / "prompts.json").unlink()  # a run of before
    browser.open(write_report(run_dir))
    assert texts(browser, ".columns h4")[0] == "The prompt, without a hint"


def test_messages_are_shown_as_turns(browser, tmp_path):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1+2?"}]
    Ledger(tmp_path).append([make_sample(prompt=json.dumps(messages))])
    browser.open(write_report(tmp_path))
    assert texts(browser, ".columns pre") == ["system: Be brief.\n\nuser: 1+2?"] * 2


def calls(*names, content="", **arguments):
    """A turn of a model that calls tools with the same arguments."""
    made = [{"type": "function", "function": {"name": name, "arguments": arguments}} for name in names]
    return {"role": "assistant", "content": content, "tool_calls": made}


def result(name, content):
    return {"role": "tool", "name": name, "content": content}


def test_a_conversation_is_shown_turn_by_turn_with_its_calls_folded(browser, tmp_path):
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "A door."}]
    hinted = [*prompt[:1], {"role": "user", "content": "A door. Key: b."}]
    turns = [
        calls("look", "open", content="I try.", key="b"),
        result("look", "A lock."),
        result("open", "It opens."),
        calls("open", key="c"),
        {"role": "assistant", "content": "Done."},
    ]
    extra = {"hinted_prompt": json.dumps(hinted), "messages": turns, "tool_calls": 3}
    Ledger(tmp_path).append([make_sample(prompt=json.dumps(prompt), extra=extra, completion="flat A lock.")])
    browser.open(write_report(tmp_path))
    assert texts(browser, ".turn > h5") == ["system", "user", "assistant", "assistant", "assistant"]
    assert texts(browser, ".turn > pre") == ["Be brief.", "A door. Key: b.", "I try.", "Done."]
    assert texts(browser, ".turn .hint") == [" Key: b."]
    assert texts(browser, ".call summary") == [
        "look(key: b) → A lock.",
        "open(key: b) → It opens.",
        "open(key: c) → not answered",
    ]
    assert browser.run("document.querySelectorAll('.call[open]').length") == 0
    assert texts(browser, ".history pre")[0].split("\n")[:3] == ["I try.", "look(key: b)", "→ A lock."]
    assert "messages" not in texts(browser, ".sample-facts")[0]
    assert "flat" not in texts(browser, "#detail")[0]
    select(browser, search="a lock")
    assert texts(browser, ".call[open] > pre mark") == ["A lock"]


def test_each_conversation_has_its_own_prompt(browser, tmp_path):
    """An environment may say something else to each sample of a problem, or fail before it says anything."""
    said = ["A door.", "A red door.", "A blue door."]
    samples = []
    for index, content in enumerate(said):
        prompt = [{"role": "user", "content": content}]
        hinted = [{"role": "user", "content": f"{content} Key: b."}]
        extra = {"hinted_prompt": json.dumps(hinted), "messages": [{"role": "assistant", "content": "Done."}]}
        samples.append(make_sample(prompt=json.dumps(prompt), sample_index=index, extra=extra))
    Ledger(tmp_path).append(samples)
    browser.open(write_report(tmp_path))
    for content in said:
        select(browser, search=content[2:])
        assert texts(browser, ".turn > pre")[0] == f"{content} Key: b."
        assert texts(browser, ".turn .hint") == [" Key: b."]


@pytest.mark.parametrize("text", NASTY)
def test_turns_and_calls_are_text(browser, tmp_path, text):
    turns = [
        calls(text, content=text, **{text: text}),
        result(text, text),
        {"role": text, "name": text, "content": [text]},
        {"role": "assistant", "content": None, "tool_calls": [None, text, {"function": {"arguments": [text]}}]},
        {"role": "assistant", "content": None, "tool_calls": text},
    ]
    Ledger(tmp_path).append([make_sample(prompt=text, extra={"messages": turns, "hinted_prompt": text})])
    browser.open(write_report(tmp_path))
    browser.run("document.querySelectorAll('details').forEach((node) => { node.open = true; })")
    browser.run("document.querySelectorAll('*').forEach((node) => node.dispatchEvent(new Event('mouseover')))")
    assert texts(browser, ".turn pre")[:2] == [text, text]
    assert len(texts(browser, ".call")) == 4
    assert browser.run("window.pwned") is None
    assert browser.run("document.images.length + document.querySelectorAll('[onerror], [onmouseover]').length") == 0
    assert not [event for event in browser.events if event["method"] == "Runtime.exceptionThrown"]


def test_messages_that_a_reward_function_recorded_are_no_conversation(browser, tmp_path):
    Ledger(tmp_path).append([make_sample(extra={"messages": ["read", "this"]}, completion="flat")])
    browser.open(write_report(tmp_path))
    assert texts(browser, "pre.completion") == ["flat"]
    assert '["read", "this"]' in texts(browser, ".sample-facts")[0]


def test_a_problem_over_the_iterations_side_by_side(browser, run_dir):
    browser.open(write_report(run_dir))
    select(browser, set="0", iteration="2", sampler="1")
    assert texts(browser, ".history h5") == [f"Iteration {number}" for number in (1, 2, 3)]
    tops = browser.run("[...document.querySelectorAll('.history section')].map((node) => node.offsetTop)")
    lefts = browser.run("[...document.querySelectorAll('.history section')].map((node) => node.offsetLeft)")
    assert len(set(tops)) == 1 and len(set(lefts)) == 3 and lefts == sorted(lefts)
    assert texts(browser, ".history .line.new")[:1] == [" It is 1 (C++?) in 2.\n"]
    browser.run("document.querySelector('.history section:last-child .pick').click()")
    assert "iteration 3, rationale" in texts(browser, "#detail h3")[0]
    select(browser, set="1")
    assert texts(browser, ".history h5") == ["Base model", "Iteration 1", "Iteration 2", "Iteration 3"]


def test_with_the_keyboard_alone(browser, run_dir):
    browser.open(write_report(run_dir))
    browser.press("/")
    assert browser.run("document.activeElement.id") == "search"
    order = []
    while "list" not in order and len(order) < 20:
        browser.press("Tab")
        order.append(browser.run("document.activeElement.id || document.activeElement.type"))
    assert order == ["iteration", "sampler", "result", "group", "reset", "list"]
    assert browser.run("getComputedStyle($('list')).outlineStyle") != "none"
    browser.press("ArrowDown")
    browser.press("ArrowDown")
    assert browser.run("$($('list').getAttribute('aria-activedescendant')).ariaPosInSet") == "3"
    assert "iteration 3" in texts(browser, "#detail h3")[0]
    browser.press("End")
    assert browser.run("$($('list').getAttribute('aria-activedescendant')).ariaPosInSet") == "54"

    browser.open(write_report(run_dir), width=360)
    browser.run("$('list').focus()")
    assert browser.run("getComputedStyle($('detail')).display") == "none"
    browser.press("Enter")
    assert browser.run("getComputedStyle($('detail')).display") == "block"
    assert browser.run("[document.activeElement.id, $('filters').inert]") == ["detail", True]
    browser.press("Escape")
    assert browser.run("[document.activeElement.id, $('filters').inert]") == ["list", False]


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1600])
def test_nothing_sticks_out(browser, run_dir, width, dark):
    word = "x" * 500
    Ledger(run_dir).append([make_sample(iteration=3, problem_id=0, sample_index=1, prompt=word, completion=word)])
    browser.open(write_report(run_dir), width=width, dark=dark)
    browser.run("document.querySelectorAll('details').forEach((node) => { node.open = true; })")
    for step in ("0", "move(3, true)"):
        browser.run(step)
        assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("$('detail').scrollWidth <= $('detail').clientWidth")
    brightness = browser.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (max(brightness) < 60) == dark


def test_in_print(browser, run_dir):
    browser.open(write_report(run_dir), dark=True)
    browser.call("Emulation.setEmulatedMedia", media="print")
    display = "getComputedStyle(document.querySelector('{}')).display"
    hidden = ["#list", "#filters", "nav", "summary"]
    assert [browser.run(display.format(name)) for name in hidden] == ["none"] * len(hidden)
    assert browser.run(display.format("figure svg")) == "block"
    assert browser.run("getComputedStyle(document.querySelector('figure')).breakInside") == "avoid"
    assert browser.run("getComputedStyle(document.body).color") == "rgb(29, 32, 37)"  # dark on white
    assert browser.run("getComputedStyle($('detail')).overflowY") == "visible"


@pytest.mark.slow
def test_a_hundred_thousand_samples(browser, tmp_path):
    rng = random.Random(0)
    words = [f"{first}{second}" for first in "bcdfg" for second in ("at", "en", "ig", "op", "un")]
    for iteration in range(1, 6):
        samples = []
        for problem in range(20_000):
            completion = "\n".join(" ".join(rng.choices(words, k=15)) for _ in range(4))
            outcome = {} if problem % 2 else DROPPED
            names = {"iteration": iteration, "problem_id": problem, "prompt": f"Q: {problem}?\nA:"}
            names |= {"completion_ids": list(range(80)), "loss_mask": [True] * 80}
            samples.append(make_sample(**names, completion=completion, **outcome))
        Ledger(tmp_path).append(samples)
        write_metrics(tmp_path, iteration)
    start = time.process_time()  # on a busy machine the wall clock tells of others
    path = write_report(tmp_path)
    assert time.process_time() - start < 60
    assert path.stat().st_size < 20e6
    browser.open(path)
    found = "10,000 training samples of 10,000 problems, iteration 3, kept"
    assert select(browser, iteration="3", result="kept") == found
    assert select(browser, search="Q: 19999?") == "5 training samples of 1 problems, with “Q: 19999?”"
    assert (
        browser.run("(() => { const start = performance.now(); filter(); return performance.now() - start; })()")
        < 2000
    )
    select(browser)
    browser.run("$('list').scrollTop = 3e6")
    browser.run("new Promise((done) => setTimeout(done, 250))")
    assert 0 < len(texts(browser, ".row")) < 100


@pytest.mark.parametrize("width", [390, 1280])
def test_labels_are_kept_counted_and_saved(browser, run_dir, tmp_path, width):
    path = write_report(run_dir)
    browser.open(path, width=width)
    browser.run("localStorage.clear()")
    browser.open(path, width=width)
    assert browser.run("$('labels').hidden")
    browser.run("move(1, true)")  # problem 0, iteration 2
    browser.press("6")
    browser.press("2")
    browser.run("move(4, true); document.querySelector('[data-label=sound]').click()")  # problem 1, rationalization
    browser.run("move(5, true)")
    for key in "11":  # set, and taken back
        browser.press(key)
    browser.press("3")
    browser.press("0")  # a sound rationale has no other label
    browser.open(path, width=width)

    assert texts(browser, ".group.label") == ["begging the question", "hint shortcutting", "sound", "sound"]
    assert texts(browser, "#labels summary") == ["Labels: 3 samples"]
    rows = [texts(browser, f"#label-counts tbody tr:nth-child({number}) td") for number in (1, 2)]
    names = texts(browser, "#label-counts th")[4:]
    found = [(*row[:4], {name: n for name, n in zip(names, row[4:], strict=True) if n != "0"}) for row in rows]
    assert found == [
        ("training", "1", "rationalization", "1", {"sound": "1"}),
        ("training", "2", "rationale", "2", {"sound": "1", "begging the question": "1", "hint shortcutting": "1"}),
    ]
    assert select(browser, label="hint shortcutting") == "1 training samples of 1 problems, hint shortcutting"
    assert select(browser, label="-").startswith("51 training samples")
    assert browser.run("document.documentElement.scrollWidth") <= width

    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    browser.run("$('save-labels').click()")
    saved = tmp_path / "labels.jsonl"
    while not saved.exists():
        browser.run("new Promise((done) => setTimeout(done, 20))")
    lines = [json.loads(line) for line in saved.read_text().splitlines()]
    assert [line.pop("ledger") for line in lines] == ["samples"] * 3
    assert lines[0]["labels"] == ["begging the question", "hint shortcutting"]
    fields = ("iteration", "problem_id", "sampler", "sample_index")
    ledger = {tuple(row[name] for name in fields) for row in load_ledger(run_dir)}
    assert {tuple(line[name] for name in fields) for line in lines} < ledger


def test_labels_of_a_run_that_was_overwritten_are_not_shown(browser, run_dir):
    path = write_report(run_dir)
    browser.open(path)
    browser.run("localStorage.clear()")
    browser.press("6")
    assert texts(browser, ".group.label") == ["hint shortcutting"]
    for shard in run_dir.glob("iteration-*/samples-*"):
        shard.write_text(shard.read_text().replace("It is", "It was"))
    browser.open(write_report(run_dir))
    assert texts(browser, ".group.label") == []
