# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
#
# /// script
# dependencies = ["star-trl"]
# ///
"""
Breaks runs of a tiny model in every way that `docs/promises.md` lists, at random, and resumes them. There are two ways
to end: like the uninterrupted run, with the same samples and the same weights bit for bit, or refused, with a message
that names the file and the way out. Needs no GPU and no network, and uses one thread.

```bash
python benchmarks/faults.py --faults 200   # goes on after the faults that docs/results/faults.json has
```

Each fault depends on the seed and its number only. The last line is JSON: the number of faults, and how many ended in
each way. The table of `docs/promises.md` is written as well.
"""

import argparse
import gc
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path


os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from datasets import disable_progress_bars
from tqdm import tqdm

from broken_runs import BATCH_SIZE, SAVE_STEPS, Moment, Process, outcome, same, slow_odd_length, train
from star_trl.cli.main import main as command
from star_trl.output_dir import has_run


ROOT = Path(__file__).parents[1]
sys.path += [str(ROOT / "tests"), str(ROOT / "examples" / "from_scratch")]
from support.tiny_models import save_model  # noqa: E402
from tables import fill_in, markdown_table  # noqa: E402


RESULTS = ROOT / "docs" / "results" / "faults.json"
PAGE = ROOT / "docs" / "promises.md"

WAYS_OUT = re.compile(
    r"[Pp]ut the (file|folder)|Delete|delete|`overwrite_output_dir|Make room|[Rr]esume|another `output_dir`"
)
IDENTICAL, REFUSED, THIRD = "identical", "refused", "third outcome"
NOTHING, STEP, ROUND = "nothing", "the current step", "the current round"
LOST = (NOTHING, STEP, ROUND)


class ThirdOutcome(Exception):
    """Raised when a fault ends neither like the uninterrupted run nor with a message that helps."""


@dataclass
class Result:
    """
    How a fault ended.

    Args:
        number (`int`):
            Number of the fault.
        kind (`str`):
            Kind of the fault.
        fault (`str`):
            The fault in words.
        ended (`str`):
            `"identical"`, `"refused"` or `"third outcome"`.
        lost (`str`):
            What was done again.
        completions (`int`):
            Number of completions that were made again.
        steps (`int`):
            Number of optimizer steps that were made again.
        message (`str`):
            The message of a refusal or of an error, without the folder.
    """

    number: int
    kind: str
    fault: str
    ended: str = IDENTICAL
    lost: str = NOTHING
    completions: int = 0
    steps: int = 0
    message: str = ""


class Lab:
    """
    What the faults share: the model, uninterrupted runs and their results.

    Args:
        root (`Path`):
            Folder for the runs.
        seed (`int`):
            Seed of the faults.
    """

    def __init__(self, root: Path, seed: int):
        self.root, self.seed = root, seed
        self.base = save_model(root / "base", max_position_embeddings=256)
        self.expected = {}
        for iterations in (2, 3):
            process = Process.start(train, self.base, root / f"whole-{iterations}", iterations)
            seconds = process.phases()
            if process.code:
                sys.exit(f"The uninterrupted run failed:\n{process.text}")
            self.expected[iterations] = outcome(root / f"whole-{iterations}", iterations)
            if iterations == 2:
                self.seconds, self.work = seconds, process.work
        self.files = sorted(
            str(path.relative_to(root / "whole-2")) for path in (root / "whole-2").rglob("*") if path.is_file()
        )

    def start(self, folder: Path, **settings) -> Process:
        return Process.start(train, self.base, folder, **settings)

    def start_and_reach(self, folder: Path, rng: random.Random, after_start: bool = False) -> tuple[Process, Moment]:
        """Starts a run, and waits for a moment. If it ends before, it starts over, and another moment is drawn."""
        seconds = {name: visits for name, visits in self.seconds.items() if not after_start or name != "start"}
        while True:
            moment, process = Moment.draw(seconds, rng), self.start(folder)
            if process.reach(moment):
                return process, moment
            if process.code:
                raise ThirdOutcome(f"The run without a fault ends with {process.code}: {process.error}")
            shutil.rmtree(folder)

    def check(self, folder: Path, iterations: int = 2) -> None:
        """Checks that a run has come to what the uninterrupted one has come to."""
        if not same(outcome(folder, iterations), self.expected[iterations]):
            raise ThirdOutcome("The run ended with other samples or weights.")

    def resume(self, folder: Path, result: Result, before: set[str], iterations: int = 2) -> None:
        """Resumes a broken run to its end, and notes what was done again."""
        process = self.start(folder, iterations=iterations).wait()
        if process.code:
            raise ThirdOutcome(f"The run does not go on: {process.error}\n{process.text[-2000:]}")
        self.check(folder, iterations)
        note_lost(result, before & process.work)


def note_lost(result: Result, again: set[str]) -> None:
    kinds = Counter(work.split()[0] for work in again)
    result.completions, result.steps = kinds["completion"], kinds["step"]
    if result.completions > BATCH_SIZE or result.steps > SAVE_STEPS:
        result.lost = ROUND
    elif again:
        result.lost = STEP


def check_message(message: str, *names: str) -> None:
    """Checks that a message names the file, or another thing, and the way out."""
    if not all(name in message for name in names):
        raise ThirdOutcome(f"The message does not name {' and '.join(names)}: {message}")
    if WAYS_OUT.search(message) is None:
        raise ThirdOutcome(f"The message names no way out: {message}")


def file_in_messages(path: Path) -> str:
    """Returns how a message names a file: the shards of a ledger are named together."""
    return re.sub(r"-\d{5}-of-\d{5}\.jsonl$", "-", path.name)


# The kinds of faults. Each gets the lab, random numbers, a folder for the run and the result to fill in.


def kill(lab: Lab, rng: random.Random, folder: Path, result: Result) -> None:
    """kill -9"""
    before: set[str] = set()
    moments = []
    for number in range(rng.randint(1, 3)):
        if number == 0:  # at least one run is killed
            process, moment = lab.start_and_reach(folder, rng)
            is_running = True
        else:
            process, moment = lab.start(folder), Moment.draw(lab.seconds, rng)
            is_running = process.reach(moment)
        if is_running:
            process.signal(signal.SIGKILL)
            moments.append(str(moment))
        process.wait()
        before |= process.work
    result.fault = f"killed while: {', '.join(moments)}"
    lab.resume(folder, result, before)


def stop(lab: Lab, rng: random.Random, folder: Path, result: Result) -> None:
    """SIGTERM or Ctrl-C"""
    number, times = rng.choice([signal.SIGTERM, signal.SIGINT]), rng.randint(1, 2)
    process, moment = lab.start_and_reach(folder, rng)
    result.fault = f"{number.name}, {times} times, while: {moment}"
    for _ in range(times):
        process.signal(number)
        time.sleep(rng.uniform(0, 0.1))
    process.wait()
    if process.code not in (0, 75, -number) and "KeyboardInterrupt" not in process.error:
        raise ThirdOutcome(f"It exits with {process.code}: {process.error}\n{process.text[-2000:]}")
    lab.resume(folder, result, process.work)


def delete(path: Path, other: Path | None, rng: random.Random) -> None:
    path.unlink()


def half(path: Path, other: Path | None, rng: random.Random) -> None:
    os.truncate(path, path.stat().st_size // 2)


def zeros(path: Path, other: Path | None, rng: random.Random) -> None:
    """From some place on, as after a crash of the machine."""
    size = path.stat().st_size
    kept = rng.choice([0, rng.randrange(size + 1)])
    os.truncate(path, kept)
    os.truncate(path, size)


def garbage(path: Path, other: Path | None, rng: random.Random) -> None:
    path.write_bytes(rng.randbytes(path.stat().st_size))


def another(path: Path, other: Path | None, rng: random.Random) -> None:
    assert other is not None
    shutil.copyfile(other, path)


ANOTHER = "another iteration's"
DAMAGES: dict[str, Callable] = {
    "deleted": delete,
    "cut in half": half,
    "zeros": zeros,
    "garbage": garbage,
    ANOTHER: another,
}


def damage_and_resume(
    lab: Lab,
    rng: random.Random,
    folder: Path,
    result: Result,
    name: str,
    how: str,
    before: set[str],
    iterations: int,
    when: str = "",
) -> None:
    """
    Damages a file, and resumes the run. If that is refused, the file is put back, and the run resumed. A file that no
    other iteration has in another form gets garbage in place of another iteration's.
    """
    path = folder / name
    had_run = has_run(folder)
    original = path.read_bytes()
    others = [
        other
        for other in folder.glob(re.sub(r"iteration-\d+", "iteration-*", name))
        if other != path and other.read_bytes() != original
    ]
    if how == ANOTHER and not others:
        how = "garbage"
    result.fault = f"{name}: {how}{when}"
    DAMAGES[how](path, rng.choice(sorted(others)) if others else None, rng)

    def put_back() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(original)

    for line in (["report"], ["export", "--output_file", str(folder.with_suffix(".jsonl"))]):
        shown = Process.start(run_command, [*line, "--output_dir", str(folder)]).wait()
        if shown.code == 2 and "Traceback" not in shown.text:
            if not any(text in shown.text for text in ("No run in", "No samples under", "No sample was kept")):
                check_message(shown.text, file_in_messages(path))
        elif shown.code:
            raise ThirdOutcome(f"`star-trl {line[0]}` ends with {shown.code}: {shown.error}\n{shown.text[-2000:]}")
    process = lab.start(folder, iterations=iterations, resume=had_run).wait()
    if process.code:
        result.ended, result.message = REFUSED, shorten(process.error, folder)
        check_message(process.error, file_in_messages(path))
        put_back()
        lab.resume(folder, result, before, iterations)
        return
    note_lost(result, before & process.work)
    try:
        lab.check(folder, iterations)
    except (ValueError, FileNotFoundError) as error:
        # The samples of an evaluation that is over are not needed, but they are not what they were.
        result.message = shorten(f"{type(error).__name__}: {error}", folder)
        check_message(str(error), file_in_messages(path))
        put_back()
        lab.check(folder, iterations)


def run_command(arguments: list[str], monitor, note) -> None:
    sys.exit(command(arguments))


def damage_finished(lab: Lab, rng: random.Random, folder: Path, result: Result) -> None:
    """a file of a finished run"""
    # Every file, each with another damage in every round
    order = random.Random(lab.seed).sample(lab.files, len(lab.files))
    turn = result.number // len(SCHEDULE) * SCHEDULE.count("damage_finished")
    turn += SCHEDULE[: result.number % len(SCHEDULE)].count("damage_finished")
    index = turn % len(order)
    how = list(DAMAGES)[(index + turn // len(order)) % len(DAMAGES)]
    shutil.copytree(lab.root / "whole-2", folder)
    damage_and_resume(lab, rng, folder, result, order[index], how, lab.work, iterations=3)


def damage_unfinished(lab: Lab, rng: random.Random, folder: Path, result: Result) -> None:
    """a file of a run that was killed"""
    process, moment = lab.start_and_reach(folder, rng, after_start=True)
    process.signal(signal.SIGKILL)
    process.wait()
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    name, how = rng.choice(files), rng.choice(list(DAMAGES))
    when = f", after a kill while: {moment}"
    damage_and_resume(lab, rng, folder, result, name, how, process.work, iterations=2, when=when)


def damage_running(lab: Lab, rng: random.Random, folder: Path, result: Result) -> None:
    """a file deleted during the run"""
    process, moment = lab.start_and_reach(folder, rng, after_start=True)
    process.signal(signal.SIGSTOP)
    path = rng.choice(sorted(path for path in folder.rglob("*") if path.is_file()))
    original = path.read_bytes()
    result.fault = f"{path.relative_to(folder)} deleted while: {moment}"
    path.unlink()
    process.signal(signal.SIGCONT)
    process.wait()

    def put_back() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(original)

    if process.code:
        result.message = shorten(process.error, folder)
        check_message(process.error, file_in_messages(path))
        before, process = process.work, lab.start(folder).wait()
        note_lost(result, before & process.work)
    if process.code:
        result.ended, result.message = REFUSED, shorten(process.error, folder)
        check_message(process.error, file_in_messages(path))
        put_back()
        lab.resume(folder, result, process.work)
        return
    try:
        lab.check(folder)
    except (ValueError, FileNotFoundError) as error:
        check_message(str(error), file_in_messages(path))
        put_back()
        lab.check(folder)


def fill_disk(lab: Lab, rng: random.Random, folder: Path, result: Result) -> None:
    """a full disk"""
    # A limit on the size of files stands for it.
    process, moment = lab.start_and_reach(folder, rng)
    limit = int(10 ** rng.uniform(2.5, 5.5))
    result.fault = f"no file beyond {limit:,} bytes, from a moment on while: {moment}"
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, hard))
    process.wait()
    if process.code:
        result.message = shorten(process.error, folder)
        check_message(process.error, str(folder), "File too large")
    else:
        result.fault += ", but none was larger"
    lab.resume(folder, result, process.work)


def second_owner(lab: Lab, rng: random.Random, folder: Path, result: Result) -> None:
    """a second run in the same folder"""
    first, moment = lab.start_and_reach(folder, rng)
    first.signal(signal.SIGSTOP)
    overwrite = rng.random() < 0.5
    result.fault = f"another run {'overwrites' if overwrite else 'resumes'} it while: {moment}"
    second = lab.start(folder, overwrite=overwrite, resume=not overwrite and has_run(folder)).wait()
    first.signal(signal.SIGCONT)
    first.wait()
    refused = [process for process in (first, second) if process.code]
    if len(refused) > 1:
        raise ThirdOutcome(f"Both end: {first.error}; {second.error}")
    for process in refused:
        result.ended, result.message = REFUSED, shorten(process.error, folder)
        check_message(process.error, str(folder))
    lab.check(folder)


def wrong_output(**changes) -> dict:
    return {
        "change_output": lambda output: replace(
            output, **{name: make(output) if callable(make) else make for name, make in changes.items()}
        )
    }


def put_in_no_token(output):
    return [10**6, *output.token_ids[1:]]


def fail(*args, **kwargs):
    raise ConnectionError("no route to host")


def leave(*args, **kwargs):
    sys.exit(0)


def cut_mask(completions):
    for completion in completions:
        yield replace(completion, loss_mask=completion.loss_mask[1:])


def change_in_place(completions, completion_ids, **kwargs):
    for ids in completion_ids:
        ids.clear()
    return slow_odd_length(completions)


# What a message must name, and the wrong answer
HOSTILE: dict[str, tuple[str | None, dict]] = {
    "an engine leaves a request out": ("WatchedEngine", {"change_output": lambda output: None}),
    "an engine gives the index -1": ("WatchedEngine", wrong_output(index=-1)),
    "an engine answers a request twice": ("WatchedEngine", wrong_output(index=0)),
    "an engine ends for an unknown reason": ("WatchedEngine", wrong_output(finish_reason="done")),
    "an engine gives too many tokens": ("WatchedEngine", wrong_output(token_ids=[7] * 99)),
    "an engine gives a token that is none": ("`rational", wrong_output(token_ids=put_in_no_token)),
    "an engine gives numpy integers": ("WatchedEngine", wrong_output(token_ids=lambda out: list(np.array([7, 8])))),
    "an engine gives no tokens": ("WatchedEngine", wrong_output(token_ids=[], finish_reason="eos")),
    "an engine gives NaN": ("WatchedEngine", wrong_output(logprobs=lambda out: [float("nan")] * len(out.token_ids))),
    "an engine calls sys.exit(0)": ("WatchedEngine", {"change_output": leave}),
    "an engine raises": ("no route to host", {"change_output": fail}),
    "a sampler leaves a prompt out": ("rationale", {"change_sampling": lambda completions: list(completions)[1:]}),
    "a sampler gives a short mask": ("rationale", {"change_sampling": cut_mask}),
    "a sampler calls sys.exit(0)": ("rationale", {"change_sampling": leave}),
    "a reward function raises": ("no route to host", {"reward": fail}),
    "a reward function returns None": ("`score`", {"reward": lambda completions, **kwargs: None}),
    "a reward function returns too few": ("`score`", {"reward": lambda completions, **kwargs: [1.0] * 99}),
    "a reward function returns text": ("`score`", {"reward": lambda completions, **kwargs: "1.0"}),
    "a reward function calls sys.exit(0)": ("`score`", {"reward": leave}),
    "a reward function changes token ids": (None, {"reward": change_in_place}),
}  # fmt: skip


def answer_wrongly(lab: Lab, rng: random.Random, folder: Path, result: Result) -> None:
    """a wrong answer of an engine, a sampler or a reward function"""
    completions = sum(work.startswith("completion") for work in lab.work)
    number = rng.randint(2, completions)
    wrong = rng.choice(list(HOSTILE))
    result.fault = wrong
    named, changes = HOSTILE[wrong]
    process = lab.start(folder, number=number, **changes).wait()
    if named is None:
        lab.check(folder)
        return
    if not process.code:
        raise ThirdOutcome("The run ends without an error.")
    result.message = shorten(process.error, folder)
    if named not in process.error:
        raise ThirdOutcome(f"The message does not name {named}: {process.error}")
    if "delete the `" in process.error:
        for path in newest(folder, r"(samples|eval)-.*\.jsonl"):
            path.unlink()
    lab.resume(folder, result, process.work)


def newest(folder: Path, pattern: str) -> list[Path]:
    """Returns the file with a name of this pattern that was written last, if there is one."""
    paths = [path for path in folder.rglob("*") if re.fullmatch(pattern, path.name)]
    return sorted(paths, key=lambda path: path.stat().st_mtime_ns)[-1:]


KINDS: dict[str, Callable[[Lab, random.Random, Path, Result], None]] = {
    function.__name__: function
    for function in (
        kill,
        stop,
        damage_unfinished,
        damage_finished,
        damage_running,
        fill_disk,
        second_owner,
        answer_wrongly,
    )
}
SHARES = {
    "kill": 5,
    "damage_unfinished": 5,
    "damage_finished": 5,
    "damage_running": 2,
    "fill_disk": 2,
    "stop": 2,
    "second_owner": 1,
    "answer_wrongly": 2,
}
SCHEDULE = random.Random(0).sample(list(SHARES), sum(SHARES.values()), counts=list(SHARES.values()))


def shorten(message: str, folder: Path) -> str:
    return message.replace(str(folder.resolve()), "OUTPUT_DIR").replace(str(folder), "OUTPUT_DIR")[:300]


def break_and_resume(lab: Lab, number: int) -> Result:
    """Does one fault, which depends on the seed and its number only."""
    kind = SCHEDULE[number % len(SCHEDULE)]
    result = Result(number, kind, "")
    folder = lab.root / f"fault-{number}"
    try:
        KINDS[kind](lab, random.Random(f"{lab.seed} {number}"), folder, result)
    except (ThirdOutcome, ValueError, OSError, LookupError) as error:
        result.ended, result.message = THIRD, shorten(f"{type(error).__name__}: {error}", folder)
        print(f"{result.fault}:\n{error}", file=sys.stderr)
    if result.ended != THIRD:
        shutil.rmtree(folder, ignore_errors=True)
    return result


def table(results: list[dict]) -> str:
    """Returns the table of the results by kind."""
    rows = []
    for kind, function in KINDS.items():
        found = [result for result in results if result["kind"] == kind]
        ended, lost = (Counter(result[name] for result in found) for name in ("ended", "lost"))
        rows.append(
            [
                function.__doc__.splitlines()[0],
                str(len(found)),
                *(str(ended[name]) for name in (IDENTICAL, REFUSED, THIRD)),
                *(str(lost[name]) for name in LOST),
            ]
        )
    rows.append(["all", *(str(sum(int(row[column]) for row in rows)) for column in range(1, len(rows[0])))])
    titles = ("fault", "times", "identical", "refused", "anything else", *(f"lost: {name}" for name in LOST))
    return markdown_table(titles, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().split("\n\n")[0])
    parser.add_argument("--faults", type=int, default=200, help="Number of faults.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the faults.")
    parser.add_argument("--only", type=int, help="Number of a single fault, to look at again. Nothing is written.")
    args = parser.parse_args()
    disable_progress_bars()
    torch.set_num_threads(1)
    gc.freeze()  # each fine-tuning collects garbage, which would go through everything that was imported
    # The default lock is shared with forked processes, and a killed process would never release it.
    tqdm.set_lock(threading.RLock())
    stored = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"seed": args.seed, "faults": []}
    if stored["seed"] != args.seed:
        sys.exit(f"{RESULTS} has the faults of seed {stored['seed']}. Delete it to record those of another seed.")
    results = {result["number"]: result for result in stored["faults"]}
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder), args.seed)
        for number in range(args.faults) if args.only is None else [args.only]:
            if number in results and args.only is None:
                continue
            start = time.monotonic()
            result = asdict(break_and_resume(lab, number))
            print(f"{number}: {result} ({time.monotonic() - start:.1f} s)", flush=True)
            if args.only is None:
                results[number] = result
                write(args.seed, [results[number] for number in sorted(results)])
    print(json.dumps({"faults": len(results), **Counter(result["ended"] for result in results.values())}))


def write(seed: int, results: list[dict]) -> None:
    lines = ",\n".join(json.dumps(result) for result in results)
    RESULTS.write_text(f'{{"seed": {seed}, "faults": [\n{lines}\n]}}\n')
    if PAGE.exists():
        PAGE.write_text(fill_in(PAGE.read_text(), {"faults": table(results)}))


if __name__ == "__main__":
    main()
