# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The blind comparison: which questions are picked, the page in a browser, judges, and the statistics."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import permutations

import pytest

from star_trl.cli import main
from star_trl.comparison import (
    Comparison,
    EndpointJudge,
    compare_results,
    judge_comparison,
    pick_questions,
    read_results,
    write_comparison,
)
from star_trl.comparison.questions import Question
from star_trl.comparison.results import Results, agreement
from star_trl.ledger import Ledger
from star_trl.ledger.interval import confidence_interval
from support.browser import BROWSER, Browser
from support.samples import make_sample


def add(output_dir, iteration, texts, name="eval", **changes):
    """Adds a right sample of each problem, or a wrong one where the text is `None`."""
    Ledger(output_dir, name=name).append(
        [
            make_sample(
                iteration=iteration,
                problem_id=number,
                prompt=f"Q{number}",
                completion=f" {text}\n",
                kept=text is not None,
                **changes,
            )
            for number, text in enumerate(texts)
        ]
    )


@pytest.fixture
def run_dir(tmp_path):
    """Iterations 0 and 2 of an evaluation with four problems, of which both solve all but the third."""
    output_dir = tmp_path / "run"
    add(output_dir, 0, ["few 0", "same", "few 2", "few 3"])
    add(output_dir, 2, ["star 0", "same", None, "star 3"])
    return output_dir


def texts(comparison):
    return {question.prompt: question.rationales for question in comparison.questions}


def test_questions_that_all_answer_rightly_are_picked(run_dir, tmp_path):
    found = pick_questions([f"{run_dir}@0", run_dir])
    assert texts(found) == {"Q0": ["few 0", "star 0"], "Q3": ["few 3", "star 3"]}
    assert (found.num_common, found.num_alike) == (3, 1)  # the same rationale twice is nothing to rank
    human = tmp_path / "human.jsonl"
    human.write_text('{"prompt": "Q3", "completion": "by hand"}\n\n{"prompt": "Q9", "completion": "?"}\n')
    assert texts(pick_questions([f"{run_dir}@0", run_dir, human])) == {"Q3": ["few 3", "star 3", "by hand"]}


def test_results_name_the_iteration_of_a_run(run_dir):
    assert pick_questions([f"{run_dir}@0", run_dir]).sources == [f"{run_dir}@0", f"{run_dir}@2"]
    with pytest.raises(ValueError, match="two or more different sources"):
        pick_questions([f"{run_dir}@2", f"{run_dir}/"])


def test_training_samples_that_saw_a_hint_are_not_compared(tmp_path):
    for name in ("a", "b"):
        add(tmp_path / name, 1, [f"{name} 0", None], name="samples")
        hinted = [make_sample(prompt="Q1", problem_id=1, sampler="rationalization", completion=f"{name} hinted")]
        Ledger(tmp_path / name).append(hinted)
    assert texts(pick_questions([tmp_path / "a", tmp_path / "b"], ledger="samples")) == {"Q0": ["a 0", "b 0"]}


def test_messages_are_read_as_text(tmp_path):
    prompt = json.dumps([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1+1?"}])
    for name in ("a", "b"):
        Ledger(tmp_path / name, name="eval").append([make_sample(prompt=prompt, completion=name)])
    comparison = pick_questions([tmp_path / "a", tmp_path / "b"])
    assert texts(comparison) == {"system: Be brief.\n\nuser: 1+1?": ["a", "b"]}


def test_the_draw_and_the_orders_depend_on_the_seed(tmp_path):
    for name in ("a", "b"):
        add(tmp_path / name, 1, [f"{name} {number}" for number in range(60)])
    sources = [tmp_path / "a", tmp_path / "b"]
    first, again, other = (pick_questions(sources, 40, seed) for seed in (0, 0, 1))
    assert first == again and first.id == again.id != other.id
    assert len(first.questions) == 40 and texts(first).keys() != texts(other).keys()
    orders = [question.order for question in first.questions]
    assert 10 < orders.count([0, 1]) < 30 and orders.count([0, 1]) + orders.count([1, 0]) == 40


@pytest.mark.parametrize(
    "sources, message",
    [
        ([], "two or more different sources"),
        (["run"], "two or more different sources"),
        (["run", "run"], "two or more different sources"),
        (["run@1", "run"], r"has samples 'eval' of iterations \[0, 2\], but not of 1"),
        (["nowhere", "run"], "It has no run"),
        (["run", "bad.jsonl"], "Line 2 of .*bad.jsonl is not an object"),
        (["run", "other.jsonl"], "Right answers: 3 of run@2, 1 of other.jsonl"),
    ],
)
def test_mistakes_are_named(run_dir, monkeypatch, sources, message):
    monkeypatch.chdir(run_dir.parent)
    (run_dir.parent / "bad.jsonl").write_text('{"prompt": "Q0", "completion": "a"}\n{"prompt": 1}\n')
    (run_dir.parent / "other.jsonl").write_text('{"prompt": "Q7", "completion": "a"}\n')
    with pytest.raises((ValueError, OSError), match=message):
        pick_questions(sources)


# The page


@pytest.fixture(scope="module")
def browser():
    if BROWSER is None:
        pytest.skip("No Chromium is installed (`apt-get install chromium`)")
    browser = Browser(BROWSER)
    yield browser
    browser.close()


NASTY = "</script><script>window.pwned = 1</script><img src=x onerror='window.pwned = 1'>"
SOURCES = ["few-shot", "STaR", "human"]


def make_comparison(num_questions=3):
    questions = [
        Question(prompt=f"{number} {NASTY}", rationales=[f"{name} {NASTY}" for name in SOURCES], order=order)
        for number, order in zip(range(num_questions), ([0, 1, 2], [2, 0, 1], [1, 2, 0]), strict=False)
    ]
    return Comparison(sources=SOURCES, questions=questions, num_common=num_questions, num_alike=0)


def shown(browser):
    return browser.run("[...document.querySelectorAll('#cards pre')].map((node) => node.textContent.split(' ')[0])")


def chosen(browser):
    return browser.run("[...document.querySelectorAll('#cards :checked')].map((node) => Number(node.value))")


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_ranks_by_keys_and_by_taps_and_keeps_the_progress(browser, tmp_path, width):
    path = write_comparison(make_comparison(), tmp_path / "page.html")
    browser.open(path, width=width)
    browser.run("localStorage.clear()")
    browser.open(path, width=width)
    assert shown(browser) == ["few-shot", "STaR", "human"]
    assert browser.run("document.body.innerText.includes('of 3 ranked')")
    for key in "bac":
        browser.press(key)
    assert chosen(browser) == [2, 1, 3]
    browser.press("Backspace")
    assert chosen(browser) == []
    for key in ("c", "=", "a", "b", "Enter"):
        browser.press(key)
    assert shown(browser) == ["human", "few-shot", "STaR"]
    browser.run(
        "document.querySelectorAll('#cards fieldset').forEach((card, n) => card.querySelectorAll('input')[n].click())"
    )
    assert chosen(browser) == [1, 2, 3]

    browser.open(path, width=width)  # a reload
    assert browser.run("$('status').textContent").startswith("2 of 3 ranked")
    assert shown(browser) == ["human", "few-shot", "STaR"] and chosen(browser) == [1, 2, 3]
    browser.press("ArrowLeft")
    assert chosen(browser) == [1, 2, 1]
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("window.pwned") is None and browser.run("document.images.length") == 0
    assert not [event for event in browser.events if event["method"] == "Runtime.exceptionThrown"]


@pytest.mark.parametrize(
    "names, keys, ranks", [(2, "baab", [1, 2]), (3, "bacabc", [1, 2, 3]), (3, "bac=a", [3, 1, 3])]
)
def test_a_letter_after_the_last_rank_starts_over(browser, tmp_path, names, keys, ranks):
    question = Question(prompt="Q", rationales=SOURCES[:names], order=list(range(names)))
    comparison = Comparison(sources=SOURCES[:names], questions=[question], num_common=1, num_alike=0)
    path = write_comparison(comparison, tmp_path / "page.html")
    browser.open(path)
    browser.run("localStorage.clear()")
    browser.open(path)
    for key in keys:
        browser.press(key)
    assert chosen(browser) == ranks


def test_what_the_page_saves_is_what_the_statistics_read(browser, tmp_path):
    pytest.importorskip("scipy")
    comparison = make_comparison()
    browser.open(write_comparison(comparison, tmp_path / "page.html"))
    browser.run("localStorage.clear()")
    browser.open(tmp_path / "page.html")
    browser.run("$('rater').value = 'Ann / 1'; $('rater').dispatchEvent(new Event('input'))")
    for keys in (("b", "a", "c", "Enter"), ("c", "=", "b", "a", "Enter"), ("a",)):  # the last one is not done
        for key in keys:
            browser.press(key)
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    browser.run("$('save').click()")
    saved = tmp_path / "ranking-Ann-1.json"
    while not saved.exists():
        browser.run("new Promise((done) => setTimeout(done, 20))")
    results = read_results(saved)
    assert (results.rater, results.sources) == ("Ann / 1", SOURCES)
    ids = [question.id for question in comparison.questions]
    assert results.preferences == {
        ids[0]: {(0, 1): 0.0, (0, 2): 1.0, (1, 2): 1.0},
        ids[1]: {(0, 1): 0.5, (0, 2): 1.0, (1, 2): 1.0},
    }
    report = compare_results([results])
    assert [row["source"] for row in report["sources"]] == ["STaR", "few-shot", "human"]


def test_a_browser_that_keeps_nothing_says_so(browser, tmp_path):
    path = write_comparison(make_comparison(), tmp_path / "page.html")
    block = "Object.defineProperty(window, 'localStorage', {get() { throw new Error('blocked'); }})"
    script = browser.call("Page.addScriptToEvaluateOnNewDocument", source=block)["identifier"]
    try:
        browser.open(path)
        browser.press("a")
        assert "This browser keeps nothing" in browser.run("$('status').textContent")
        assert chosen(browser) == [1]
    finally:
        browser.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script)


# Judges


class ScriptedJudge:
    """Answers with the index of the better completion, or -1, by a function of the two."""

    def __init__(self, verdict):
        self.verdict = verdict

    def judge(self, prompts, completions, shuffle_order=True):
        assert not shuffle_order
        return [self.verdict(*pair) for pair in completions]


@pytest.mark.parametrize(
    "verdict, winners, order_decided",
    [
        (lambda first, second: int(len(first) < len(second)), [0, 0, 2], 0),  # the longest name: few-shot, human, STaR
        (lambda first, second: 0, [None, None, None], 3),  # always the first one
        (lambda first, second: -1, [None, None, None], 0),
    ],
)
def test_a_judge_sees_both_orders_and_a_verdict_that_follows_the_order_is_a_tie(verdict, winners, order_decided):
    found = judge_comparison(make_comparison(1), ScriptedJudge(verdict), "model")
    pairs = [
        (first, second, winner) for (first, second), winner in zip([(0, 1), (0, 2), (1, 2)], winners, strict=True)
    ]
    assert found["questions"][0]["pairs"] == pairs
    assert found["order_decided"] == order_decided


@pytest.fixture
def endpoint():
    """A server with OpenAI's interface. It sends `answers` in turn, or what this function of a request returns."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.requests.append((self.path, self.headers.get("Authorization"), body))
            status, text = server.answers.pop(0) if isinstance(server.answers, list) else server.answers(body)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.requests = []
    server.url = f"http://127.0.0.1:{server.server_port}/v1"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def says(text):
    return 200, json.dumps({"choices": [{"message": {"content": text}}]})


def test_an_endpoint_judges_a_comparison_from_the_command_line(endpoint, run_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", "a-key")

    def prefer_star(body):
        content = body["messages"][0]["content"]
        better = "A" if content.index("star") < content.index("few") else "B"
        return says(f"Verdict: B would be hasty.\n**Verdict: {better}**")

    endpoint.answers = prefer_star
    output = tmp_path / "judge.json"
    command = f"compare {run_dir}@0 {run_dir} --judge {endpoint.url} --judge_model tiny --output_file {output}"
    assert main(command.split()) == 0
    assert [request[:2] for request in endpoint.requests] == [("/v1/chat/completions", "Bearer a-key")] * 4
    assert {request[2]["model"] for request in endpoint.requests} == {"tiny"}
    assert list(read_results(output).preferences.values()) == [{(0, 1): 0.0}] * 2
    out = capsys.readouterr().out
    assert "the order decided 0 pairs" in out and "0 answers had no verdict" in out


@pytest.mark.parametrize(
    "text, verdict",
    [
        ("verdict: tie", -1),
        ("Verdict: a tie", -1),
        ("Verdict: Neither is better.", -1),
        ("Verdict: b", 1),
        ("So the verdict is **B**.", 1),
        ("**Verdict:** Solution B", 1),
        ("Verdict: A", 0),
        ("I cannot say.", None),
        (None, None),
    ],
)
def test_verdicts_of_an_endpoint(endpoint, text, verdict):
    endpoint.answers = [says(text)]
    assert EndpointJudge(endpoint.url, "tiny").judge(["Q"], [["one", "other"]]) == [verdict]


def test_pairs_without_a_verdict_are_left_out_and_counted():
    comparison = make_comparison(2)
    # In the first question only, the two orders of the first pair, and one order of the last pair
    verdicts = iter([None, None, 0, 1, -1, None, *[0, 1] * 3])
    found = judge_comparison(comparison, ScriptedJudge(lambda first, second: next(verdicts)), "model")
    assert [row["pairs"] for row in found["questions"]] == [[(0, 2, 0)], [(0, 1, 0), (0, 2, 0), (1, 2, 1)]]
    assert (found["without_verdict"], found["order_decided"]) == (3, 0)
    with pytest.raises(ValueError, match="No pair has a verdict of model in both orders: 12 of its 12 answers"):
        judge_comparison(comparison, ScriptedJudge(lambda first, second: None), "model")


def test_the_verdicts_before_an_error_are_kept(endpoint, run_dir, tmp_path, capsys):
    endpoint.answers = [says("Verdict: A"), says("Verdict: B"), (404, "gone")]
    output = tmp_path / "judge.json"
    command = f"compare {run_dir}@0 {run_dir} --judge {endpoint.url} --judge_model tiny --output_file {output}"
    with pytest.raises(SystemExit, match="2"):
        main(command.split())
    assert "holds the verdicts on 1 of 2 questions" in " ".join(capsys.readouterr().err.split())
    assert list(read_results(output).preferences.values()) == [{(0, 1): 1.0}]


@pytest.mark.parametrize("output", ["folder", "file/judge.json"])
def test_a_file_that_cannot_be_written_is_refused_before_a_request(endpoint, run_dir, tmp_path, capsys, output):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    command = f"compare {run_dir}@0 {run_dir} --judge {endpoint.url} --judge_model tiny --output_file"
    with pytest.raises(SystemExit, match="2"):
        main([*command.split(), str(tmp_path / output)])
    assert "The verdicts cannot be written to" in capsys.readouterr().err
    assert endpoint.requests == []


def test_an_endpoint_that_is_busy_is_asked_again_and_one_that_refuses_is_not(endpoint, monkeypatch):
    monkeypatch.setattr("star_trl.comparison.judge.time.sleep", lambda seconds: None)
    judge = EndpointJudge(endpoint.url, "tiny", retries=1)
    endpoint.answers = [(503, "busy"), says("Verdict: A")]
    assert judge.judge(["Q"], [["one", "other"]]) == [0]
    endpoint.answers = [(404, "no model `tiny`")]
    with pytest.raises(ConnectionError, match="404 .*no model `tiny`"):
        judge.judge(["Q"], [["one", "other"]])
    endpoint.answers = [(200, "<html>")]
    with pytest.raises(ValueError, match="expected `choices`"):
        judge.judge(["Q"], [["one", "other"]])
    with pytest.raises(ValueError, match="expected an address"):
        EndpointJudge("localhost:8000", "tiny")


# The statistics


def rated(rater, values, sources=("few-shot", "STaR")):
    """Preferences of the first source over the second, by question."""
    return Results(
        rater=rater,
        sources=list(sources),
        preferences={f"q{number}": {(0, 1): value} for number, value in enumerate(values) if value is not None},
    )


def test_one_rater_without_ties_gives_wilsons_interval_and_the_sign_test():
    pytest.importorskip("scipy")
    (pair,) = compare_results([rated("Ann", [1.0] * 5 + [0.0])])["pairs"]
    assert (pair["first_wins"], pair["ties"], pair["second_wins"]) == (5, 0, 1)
    assert pair["share"] == pytest.approx(5 / 6)
    assert pair["share_interval"] == pytest.approx(confidence_interval(5 / 6, 6))
    assert pair["more_likely"] == pytest.approx(4.0)  # 5 to 1
    assert pair["p"] == pytest.approx(2 * (1 + 6) / 2**6)  # none or one of six comes out the other way


def test_ties_are_half_of_each_and_say_nothing_in_the_test():
    pytest.importorskip("scipy")
    report = compare_results([rated("Ann", [1.0, 1.0, 1.0, 0.5])])
    (pair,) = report["pairs"]
    assert pair["share"] == pytest.approx(3.5 / 4) and pair["ties"] == 1
    assert pair["p"] == pytest.approx(2 / 2**3)
    assert compare_results([rated("Ann", [0.5, 0.5])])["pairs"][0]["p"] == 1.0
    assert report["sources"][0]["mean_rank"] == pytest.approx(1.125)  # three times 1 and once 1.5
    assert report["sources"][1]["mean_rank"] == pytest.approx(1.875)


def test_rankings_of_one_question_are_not_independent():
    pytest.importorskip("scipy")
    values = [1.0, 1.0, 1.0, 0.0]
    alone = compare_results([rated("0", values)])["pairs"][0]
    (pair,) = compare_results([rated(str(number), values) for number in range(3)])["pairs"]
    assert pair["rankings"] == 12
    for name in ("share", "share_interval", "p"):  # three raters who agree always are worth one
        assert pair[name] == pytest.approx(alone[name])
    # By hand: the means of the questions are 1, 1/2, 1/2, 1/2, so the share is 5/8 and the variance 1/16. The
    # effective number is (5/8)(3/8) / (1/16 / 4) = 15, limited by the 8 rankings.
    split = [rated("Ann", [1.0, 1.0, 1.0, 1.0]), rated("Bob", [1.0, 0.0, 0.0, 0.0])]
    (pair,) = compare_results(split)["pairs"]
    assert pair["share"] == pytest.approx(5 / 8)
    assert pair["share_interval"] == pytest.approx(confidence_interval(5 / 8, 8))
    assert pair["p"] == 1.0  # only one question leans to a side


def test_three_sources_are_ranked_by_their_mean_rank(tmp_path):
    pytest.importorskip("scipy")
    for rater, ranks in {"Ann": [[2, 1, 3], [3, 1, 2]], "Bob": [[2, 1, 3], [2, 1, 2]]}.items():
        questions = [{"question": f"q{number}", "ranks": row} for number, row in enumerate(ranks)]
        content = {"comparison": "c", "rater": rater, "sources": SOURCES, "questions": questions}
        (tmp_path / f"{rater}.json").write_text(json.dumps(content))
    report = compare_results([read_results(tmp_path / f"{rater}.json") for rater in ("Ann", "Bob")])
    ranking = {row["source"]: row["mean_rank"] for row in report["sources"]}
    # Ranks of few-shot: 2, 2 and 3, 2.5 (a tie for the ranks 2 and 3); of the human: 3, 3 and 2, 2.5
    assert ranking == pytest.approx({"STaR": 1.0, "few-shot": 2.375, "human": 2.625})
    assert list(ranking)[0] == "STaR"
    # By hand: of the 12 values, 6 are "the first", 5 "the second" and 1 a tie. From both sides, these are 11, 11 and 2
    # of 24. In one unit of six, the two disagree, so 4 of the 24 values have another one beside them.
    assert report["agreement"] == pytest.approx(1 - 23 * 4 / (24**2 - 11**2 - 11**2 - 2**2))


def test_the_order_of_the_sources_does_not_change_the_agreement(tmp_path):
    pytest.importorskip("scipy")
    ranks = {"Ann": [[1, 2, 3], [1, 2, 3], [2, 1, 3]], "Bob": [[1, 2, 3], [1, 3, 2], [1, 1, 2]]}
    found = []
    for order in permutations(range(3)):
        for rater, rows in ranks.items():
            questions = [{"question": f"q{n}", "ranks": [row[at] for at in order]} for n, row in enumerate(rows)]
            content = {"rater": rater, "sources": [SOURCES[at] for at in order], "questions": questions}
            (tmp_path / f"{rater}.json").write_text(json.dumps(content))
        found.append(compare_results([read_results(tmp_path / f"{rater}.json") for rater in ranks])["agreement"])
    assert len(found) == 6 and found == pytest.approx([found[0]] * 6)


def test_krippendorffs_example():
    """The example with nominal data of Krippendorff (2011), section C: four observers, twelve units, alpha = 0.743."""
    observers = [
        "1 2 3 3 2 1 4 1 2 . . .",
        "1 2 3 3 2 2 4 1 2 5 . 3",
        ". 3 3 3 2 3 4 2 2 5 1 .",
        "1 2 3 3 2 4 4 1 2 5 1 .",
    ]
    units = [[value for value in unit if value != "."] for unit in zip(*map(str.split, observers), strict=True)]
    assert agreement(units) == pytest.approx(0.743, abs=5e-4)
    assert agreement([[1], [1, 1]]) is None


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{",
        "[" * 10**5,
        '{"rater": "a", "sources": ["x", "y"], "questions": [{"question": "q", "ranks": [1]}]}',
        '{"rater": "a", "sources": ["x", "y"], "questions": [{"question": "q", "pairs": [[0, 5, 0]]}]}',
    ],
)
def test_a_file_that_holds_no_results_is_named(tmp_path, content):
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(ValueError, match="bad.json is no file of results"):
        read_results(tmp_path / "bad.json")


def test_results_that_do_not_belong_together():
    with pytest.raises(ValueError, match="different sources"):
        compare_results([rated("Ann", [1.0]), rated("Bob", [1.0], sources=("other", "STaR"))])
    with pytest.raises(ValueError, match="'Ann' has ranked a question twice"):
        compare_results([rated("Ann", [1.0]), rated("Ann", [0.0])])
    with pytest.raises(ValueError, match="no ranked question"):
        compare_results([rated("Ann", [])])


def test_the_command_writes_the_page_and_prints_the_ranking(run_dir, tmp_path, capsys):
    pytest.importorskip("scipy")
    page = tmp_path / "sub" / "page.html"
    assert main(["compare", f"{run_dir}@0", str(run_dir), "--output_file", str(page)]) == 0
    assert page.exists()
    assert "2 of 3 questions that all answer rightly, of which 1 have the same rationales" in capsys.readouterr().out
    questions = [{"question": f"q{number}", "ranks": [2, 1]} for number in range(3)]
    questions.append({"question": "last", "ranks": [1, 2]})
    result = tmp_path / "ranking.json"
    content = {"rater": "Ann\x1b[2J", "sources": ["few-shot", "STaR"], "questions": questions}
    result.write_text(json.dumps(content))
    assert main(["compare", "--results", str(result), "--output_file", str(tmp_path / "out.json")]) == 0
    out = capsys.readouterr().out
    assert "STaR preferred over few-shot: 200% more likely (p = 0.625)" in out  # 3 to 1; 2 * (1 + 4) / 2**4
    assert "3 wins, 0 ties, 1 losses in 4 rankings of 4 questions" in out and "\x1b" not in out
    assert json.loads((tmp_path / "out.json").read_text())["pairs"][0]["p"] == pytest.approx(0.625)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "either sources"),
        (["a", "--results", "b.json"], "either sources"),
        (["a", "b", "--judge", "http://localhost"], "Give both, or neither"),
        (["a", "b"], "no samples 'eval'. It has no run"),
    ],
)
def test_mistakes_on_the_command_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main(["compare", *arguments])
    assert message in capsys.readouterr().err
