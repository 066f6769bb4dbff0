# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Proofs are accepted where the checker accepts them, and nothing else is."""

import shutil
import sys
import time

import pytest

from star_trl.rewards import ProofCheckReward
from star_trl.rewards.proof.checkers import Attempt, Verdict


needs_coq = pytest.mark.skipif(shutil.which("coqc") is None, reason="Rocq is not installed: apt-get install coq")

SWAP = "Theorem swap : forall A B : Prop, A /\\ B -> B /\\ A."
WRONG = "Theorem wrong : forall n : nat, n = 0."
UNIVERSES = """
Require Coq.Logic.Hurkens.
exact (fun _ => match Coq.Logic.Hurkens.TypeNeqSmallType.paradox Type eq_refl with end).
"""

# What a model may write in place of a proof of WRONG, by the kind of cheat.
CHEATS = {
    "nothing, or half a proof": [
        "",
        "Proof. Qed.",
        "(* It is easy to see. *)",
        "intros n.",
        "intros n. destruct n.",
        "destruct n. reflexivity. Qed.",
        "intros n. shelve.",
        "eexists.",
        "auto. Qed.",
        "intros n; refine _.",
        "induction n. { reflexivity. } {",
    ],
    "giving up": [
        "Admitted.",
        "intros n. Admitted.",
        "admit.",
        "intros n. admit. Admitted.",
        "give_up.",
        "intros n. abstract admit.",
        "exact ltac:(admit).",
        "intros n. destruct n; [reflexivity | admit]. Qed.",
        "Abort.",
        "Abort All.",
        "Time Admitted.",
        "Timeout 5 Admitted.",
        "Succeed Admitted. Admitted.",
        "all: Admitted.",
        "- Admitted.",
        "{ Admitted.",
        "Fail Qed. Admitted.",
    ],
    "an assumption of its own": [
        f"{attributes}{word} cheat : forall n : nat, n = 0. exact cheat."
        for attributes, word in [
            *[("", word) for word in "Axiom Parameter Hypothesis Variable Conjecture Context".split()],
            ("Local ", "Axiom"),
            ("Global ", "Parameter"),
            ("#[local] ", "Axiom"),
            ("Polymorphic ", "Axiom"),
            ("- ", "Axiom"),
            ("1: ", "Axiom"),
            ("Time ", "Axiom"),
        ]
    ]
    + [
        "Axioms (a : False). destruct a.",
        "Module M. Axiom a : False. End M. destruct M.a.",
        "Lemma a : False. Admitted. intros n. destruct a.",
        "Set Nested Proofs Allowed. Lemma a : False. Admitted. intros n. destruct a.",
        "Abort. Lemma a : False. Admitted. Theorem wrong : forall n : nat, n = 0. intros n. destruct a.",
        "Abort. Axiom a : False. Theorem wrong : forall n : nat, n = 0. intros n. destruct a.",
        "Abort. Section S. Hypothesis a : False. Theorem wrong : forall n : nat, n = 0. destruct a. Qed. End S. "
        "Theorem right : True. exact I.",
        "Abort. Declare Instance a : False. Theorem wrong : forall n : nat, n = 0. intros n. destruct a.",
        "Require Import Coq.Logic.ClassicalFacts. intros n. exact I.",
        "Abort. Require Import Coq.Program.Program. Program Definition wrong : forall n : nat, n = 0 := _. "
        "Admit Obligations. Theorem right : True. exact I.",
    ],
    "another theorem": [
        "Theorem wrong : True. Proof. exact I. Qed.",
        "Theorem wrong : forall n : nat, n = n. reflexivity. Qed.",
        "Theorem right : forall n : nat, n = n. reflexivity. Qed.",
        "```coq\nTheorem wrong : forall n : nat, n = n. reflexivity. Qed.\n```",
        "Abort. Theorem wrong : True. exact I.",
        "Abort. Definition wrong := I. Theorem right : True. exact I.",
        "Abort. Definition wrong : True. exact I.",
        "Abort. Goal True. exact I.",
        "Admitted. Theorem right : True. exact I.",
        "Qed. Theorem right : True. exact I.",
        "Reset wrong. Theorem wrong : True. exact I.",
        "Reset Initial. Theorem wrong : True. exact I.",
        "Undo. Theorem wrong : True. exact I.",
        "Restart. exact I.",
        "Back 1. Theorem wrong : True. exact I.",
        "BackTo 1. Theorem wrong : True. exact I.",
        "Abort. End S0. Module S0. Definition wrong := I. Theorem right : True. exact I.",
        "Abort. Module Type T0. End T0. Theorem wrong : True. exact I.",
        "Abort. Module S0. Theorem wrong : True. exact I. Qed. End S0. Theorem right : True. exact I.",
    ],
    "another meaning of the statement": [
        'Abort. Notation "x = y" := True. Theorem wrong : forall n : nat, n = 0. intros. exact I.',
        'Abort. Notation "x = y" := True : type_scope. Theorem wrong : forall n : nat, n = 0. intros. exact I.',
        "Abort. Notation nat := unit. Theorem wrong : forall n : nat, n = tt. destruct n; reflexivity.",
        "Abort. Inductive nat := O. Theorem wrong : forall n : nat, n = O. destruct n; reflexivity.",
        "Abort. Definition nat := unit. Theorem wrong : forall n : nat, n = tt. destruct n; reflexivity.",
        "Abort. Inductive eq (x : nat) : nat -> Prop := any y : eq x y. Theorem wrong : forall n : nat, eq n 0. "
        "constructor.",
        "Abort. Open Scope type_scope. Theorem wrong : forall n : True, n = I. destruct n; reflexivity.",
        "Notation nat := unit. destruct n.",
        "Abort. Coercion c (n : nat) := 0. Theorem wrong : forall n : nat, c n = 0. reflexivity.",
        "Abort. Module Coq. End Coq. Module Nat. End Nat. Theorem wrong : forall n, n = 0 -> n = 0. trivial.",
        "Ltac reflexivity := exact I. intros n. reflexivity.",
        'Abort. Number Notation nat Nat.of_num_uint Nat.to_num_uint : nat_scope. Theorem wrong : 0 = 0. reflexivity.',
    ],
    "switching off the kernel's checks": [
        "Unset Guard Checking. fix wrong 1. exact wrong.",
        "Abort. Unset Guard Checking. Theorem wrong : forall n : nat, n = 0. fix wrong 1. exact wrong.",
        "Abort. Global Unset Guard Checking. Theorem wrong : forall n : nat, n = 0. fix wrong 1. exact wrong.",
        "Abort. #[bypass_check(guard)] Fixpoint wrong (n : nat) : n = 0 := wrong n. Theorem right : True. exact I.",
        "Abort. #[bypass_check(guard)] Theorem wrong : forall n : nat, n = 0. fix wrong 1. exact wrong.",
        "Abort. Unset Positivity Checking. Inductive bad := Bad (f : bad -> False). "
        "Definition no (b : bad) : False := match b with Bad f => f b end. "
        "Theorem wrong : forall n : nat, n = 0. destruct (no (Bad no)).",
        "Abort. #[bypass_check(positivity)] Inductive bad := Bad (f : bad -> False). "
        "Definition no (b : bad) : False := match b with Bad f => f b end. "
        "Theorem wrong : forall n : nat, n = 0. destruct (no (Bad no)).",
        f"Unset Universe Checking. {UNIVERSES}",
        f"Abort. Unset Universe Checking. Theorem wrong : forall n : nat, n = 0. {UNIVERSES}",
        f"Abort. Global Unset Universe Checking. Theorem wrong : forall n : nat, n = 0. {UNIVERSES}",
        f"Abort. #[bypass_check(universes)] Theorem wrong : forall n : nat, n = 0. {UNIVERSES}",
        "Unset Guard Checking. cofix wrong. exact wrong.",
        "Set Kernel Term Sharing. Unset Conversion Checking. exact I.",
    ],
    "tactics that do not check": [
        "fix wrong 1. exact wrong.",
        "fix wrong 1. intros n. apply wrong.",
        "cofix wrong. exact wrong.",
        "intros n. exact_no_check (@eq_refl nat 0).",
        "intros n. vm_cast_no_check (@eq_refl nat 0).",
        "intros n. native_cast_no_check (@eq_refl nat 0).",
        "change_no_check True. exact I.",
        "intros n. change_no_check (0 = 0). reflexivity.",
        "exact wrong.",
        "exact T0.wrong.",
        "exact S0.wrong.",
        "intros n. apply (proj1 (conj wrong wrong)).",
        "exact (match Coq.Logic.Hurkens.TypeNeqSmallType.paradox Type eq_refl with end).",
        "exact (fix wrong (n : nat) : n = 0 := wrong n).",
        "exact (let x := _ in x).",
        "refine (fun n => ?[hole]).",
    ],
    "files and programs": [
        'Load "/etc/passwd". exact I.',
        "Load other. exact I.",
        "Require Import Other. exact I.",
        'Redirect "/tmp/star_trl_proof" Print nat. exact I.',
        'Redirect "Check.v" Print nat. exact I.',
        'Abort. Require Extraction. Extraction "/tmp/star_trl_proof.ml" nat. Theorem wrong : True. exact I.',
        'Abort. Require Extraction. Extraction "Check.v" nat. Theorem wrong : True. exact I.',
        'Cd "/tmp". exact I.',
        'Add LoadPath "/tmp" as Tmp. exact I.',
        'Declare ML Module "coq-core.plugins.ltac2". exact I.',
        'Abort. Require Import Ltac2.Ltac2. Theorem wrong : True. Message.print (Message.of_string "x"). exact I.',
        'Add ML Path "/tmp". exact I.',
        "Drop.",
        "Quit.",
    ],
    "words hidden from the reader, and from the checker": [
        '(* " *) Axiom cheat : forall n : nat, n = 0. (* " *) exact cheat.',
        '(* "(*" *) Admitted. (* "*)" *)',
        "(* (* *) Admitted. *) intros n.",
        "(* *) *) Admitted. (*",
        "(*) Admitted. (*) *) *)",
        'idtac "(*". Admitted. idtac "*)".',
        'idtac ". Admitted. ".',
        'idtac "a""b". Admitted.',
        'idtac "never ends. Admitted.',
        "(* never ends. Admitted.",
        "intros n.Admitted.",
        "intros n.\tAdmitted.",
        "intros n.\r\nAdmitted.",
        "intros n.\u00a0Admitted.",
        "intros n.\u2003Admitted.",
        "intros n.\fAdmitted.",
        "\u0410dmitted.",
        "intros n... Admitted.",
        "{ } Admitted.",
        "[] : Admitted.",
        "<think>reflexivity.</think>Admitted.",
        "```coq\nintros n.\n```\n```coq\nAdmitted.\n```",
        "```\nAdmitted.\n``` (* ``` *)",
        "`Admitted.`",
        "intros n. \0Admitted.",
    ],
    "forged output": [
        'idtac "Closed under the global context".',
        'intros n. idtac "Closed under the global context". admit.',
        'Print Assumptions I. Admitted.',
        "Abort. Axiom wrong : forall n : nat, n = 0. Print Assumptions I. Theorem right : True. exact I.",
        'Abort. Set Printing Width 1. Notation "\'Closed\' \'under\' \'the\' \'global\' \'context\'" := False. '
        "Axiom a : False. Theorem wrong : forall n : nat, n = 0. destruct a.",
        "Global Set Printing All. Global Set Warnings \"all\". Admitted.",
    ],
}  # fmt: skip
ALL_CHEATS = [(kind, cheat) for kind, cheats in CHEATS.items() for cheat in cheats]


@pytest.fixture(scope="module")
def reward():
    return ProofCheckReward(timeout=30)


@needs_coq
def test_no_cheat_is_a_proof(reward):
    cheats = [cheat for _, cheat in ALL_CHEATS]
    assert len(set(cheats)) == len(cheats) > 100
    rewards = reward(cheats, theorem=[WRONG] * len(cheats))
    assert [cheat for cheat, one in zip(cheats, rewards, strict=True) if one] == []


@needs_coq
@pytest.mark.slow
def test_the_second_check_stands_alone(reward, monkeypatch):
    """Without what lets nothing but tactics through, and compiled whatever its errors were, no cheat is a proof."""
    monkeypatch.setattr(reward._checker, "_try", lambda attempts, mark: [Verdict() for _ in attempts])
    statement, name = reward._checker.read_theorem(WRONG)
    errors = {}
    for kind, cheat in ALL_CHEATS:
        if "\0" not in cheat:
            (verdict,) = reward._check([Attempt("", statement, name, cheat)])
            errors.setdefault(kind, []).append(verdict.error)
    assert [kind for kind, said in errors.items() if None in said] == []
    # It is needed: these compile.
    for kind, message in [
        ("an assumption of its own", "not proved without assumptions: Axioms"),
        ("another meaning of the statement", "not the statement"),
        ("switching off the kernel's checks", "not proved without assumptions: Axioms"),
    ]:
        assert sum(error.startswith(message) for error in errors[kind]) > 5


HONEST = [
    "intros A B H. destruct H as [a b]. split. exact b. exact a.",
    "Proof. intros A B [a b]. split; assumption. Qed.",
    f"{SWAP} Proof. intros A B [a b]; split; assumption. Defined.",
    f"{SWAP.replace(' ', '  ')}\nProof.\n  intros A B [a b].\n  - split.\n    + exact b.\n    + exact a.\nQed.\n",
    "(* We admit nothing: no Axiom, no Admitted. *) intros A B [a b]. (* sorry! *) split; assumption.",
    '(* "Abort. Admitted." *) intros A B [a b]. split; assumption.',
    "(* A (* nested *) thought. *) intros A B [axiom admit_lemma]. exact (conj admit_lemma axiom).",
    "intros A B [a b]. split. { exact b. } { exact a. }",
    "intros A B [a b]. split. 2: { exact a. } exact b.",
    "intros A B [a b]. split. all: assumption.",
    "intros A B [a b]. split. 1-2: assumption.",
    "intros A B [a b]. split. all: [> exact b | exact a].",
    "(intros A B [a b]; now split).",
    "intros A B [a b]. cut A. intros a'. split; assumption. exact a.",
    "firstorder.",
    "intros A B [a b]. exact (Coq.Init.Logic.conj b a).",
    "tauto. Qed.",
    "Name what is given.\n```coq\nintros A B H.\n```\nTake it apart.\n```coq\ndestruct H. split; assumption.\n```",
    "<think>Admitted.</think>tauto.",
    "intros A B [a b].\r\nsplit; assumption.\r\n",
    [{"role": "assistant", "content": "```coq\ntauto.\n```"}],
]  # fmt: skip


@needs_coq
def test_honest_proofs_are_accepted(reward):
    errors = {}
    rewards = reward(HONEST, theorem=[SWAP] * len(HONEST), log_extra=errors.__setitem__)
    assert rewards == [1.0] * len(HONEST), errors


@needs_coq
def test_a_proof_is_of_its_own_theorem(reward):
    theorems = [SWAP, "Lemma same : forall A : Prop, A -> A.", None, SWAP]
    proof = "intros A a. exact a."
    logged = {}
    rewards = reward([proof] * 4, theorem=theorems, log_extra=logged.__setitem__, log_metric=logged.__setitem__)
    assert rewards == [0.0, 1.0, None, 0.0]
    assert [error is None for error in logged["proof_error"]] == [False, True, True, False]
    assert 'The term "a" has type "Prop"' in logged["proof_error"][0]
    assert logged["proof/limited"] == 0.0


@needs_coq
def test_a_proof_cannot_name_those_beside_it(reward):
    """A batch has the same theorem, proved, in other modules."""
    names = [f"{prefix}{module}{n}.swap" for prefix in ("", "Solution.") for module in "ST" for n in range(4)]
    proofs = [f"(* {name} *) tauto." for name in names[:4]] + [f"exact {name}." for name in names]
    assert reward(proofs, theorem=[SWAP] * len(proofs)) == [1.0] * 4 + [0.0] * len(names)


@needs_coq
def test_a_proof_is_checked_once_whatever_its_comments(reward, monkeypatch):
    checked = []
    check = reward._checker.check
    monkeypatch.setattr(reward._checker, "check", lambda attempts: checked.extend(attempts) or check(attempts))
    proofs = ["idtac. tauto.", "(* thought *) idtac. (* another *) tauto. Qed.", "idtac.  tauto."]
    assert reward(proofs, theorem=[SWAP] * 3) == reward(proofs[:1], theorem=[SWAP]) * 3 == [1.0] * 3
    assert len(checked) == 1


@needs_coq
def test_limits_end_a_check_and_the_others_are_scored():
    reward = ProofCheckReward(timeout=3, memory_bytes=2**30, num_workers=2)
    proofs = [
        "tauto.",
        "repeat (assert True by exact I).",
        "do 1000000000 idtac. tauto.",
        "assert (Nat.pow 2 40 = 0) by (vm_compute; reflexivity). tauto.",
        "assert (Nat.pow 2 25 = 0) by (compute; reflexivity). tauto.",
        'do 100000000 (idtac "' + "x" * 1000 + '"). tauto.',
        "let rec f := (idtac; f) in f.",
        "intros A B [a b]. split; assumption.",
    ]
    logged = {}
    start = time.monotonic()
    rewards = reward(proofs, theorem=[SWAP] * len(proofs), log_extra=logged.__setitem__, log_metric=logged.__setitem__)
    assert rewards == [1.0, *[0.0] * 6, 1.0]
    assert all(error.startswith("limit: ") for error in logged["proof_error"][1:-1]), logged["proof_error"]
    assert logged["proof/limited"] == 6 / 8
    assert time.monotonic() - start < 120


@needs_coq
def test_headers_and_allowed_axioms():
    theorem = "Theorem t : forall n : nat, n < n + 1."
    lia, classical = "From Coq Require Import Lia.", "From Coq Require Import Classical."
    reward = ProofCheckReward(header=lia)
    assert reward(["lia.", "lia."], theorem=[theorem] * 2, header=[None, ""]) == [1.0, 0.0]
    excluded = "Theorem t : forall P : Prop, P \\/ ~ P."
    for allowed, expected in [((), 0.0), (("another",), 0.0), (("classic",), 1.0)]:
        reward = ProofCheckReward(header=classical, allowed_axioms=allowed)
        assert reward(["exact classic."], theorem=[excluded]) == [expected]
    # An axiom of the same name is another one
    statement, name = reward._checker.read_theorem(WRONG)
    for cheat in (
        "Axiom classic : False. destruct classic.",
        "Abort. Module Classical_Prop. Axiom classic : False. End Classical_Prop. "
        f"{WRONG} destruct Classical_Prop.classic.",
    ):
        (verdict,) = reward._check([Attempt(f"{classical}\n", statement, name, cheat)])
        assert verdict.error.startswith("not proved without assumptions: Axioms: ")


@needs_coq
@pytest.mark.parametrize(
    ("theorem", "message"),
    [
        ("forall n : nat, n = n", "one sentence with a name"),
        ("Theorem t : True. Proof. exact I. Qed.", "one sentence with a name"),
        ("Theorem t : True", "one sentence with a name"),
        ("Definition t : True.", "one sentence with a name"),
        ("Theorem t : Treu.", "Not a theorem: Theorem t : Treu. The reference Treu was not found"),
        ("Theorem t : 3.", "Not a theorem: Theorem t : 3."),
    ],
)
def test_a_theorem_that_is_none_is_an_error(reward, theorem, message):
    with pytest.raises(ValueError, match=message):
        reward(["exact I."], theorem=[theorem])


@needs_coq
def test_a_header_with_definitions_is_refused():
    with pytest.raises(ValueError, match="A header holds Require.*Definition"):
        ProofCheckReward(header="Require Import Lia. Definition two := 2.")


def test_a_missing_checker_says_how_to_install_it(monkeypatch):
    monkeypatch.setenv("PATH", "")
    for checker, message in [("coq", "coqc or rocq.*apt-get install coq"), ("lean", "lean.*lean-lang.org/install")]:
        with pytest.raises(FileNotFoundError, match=message):
            ProofCheckReward(checker)
    with pytest.raises(ValueError, match="one of coq, lean"):
        ProofCheckReward("isabelle")


# Lean 4, which these tests do without: a stand-in that knows three tactics, and speaks as `lean --json` does

STAND_IN = """#!/usr/bin/env python3
import json, pathlib, re, sys, time

arguments = sys.argv[1:]
if arguments == ["--version"]:
    sys.exit(print("Lean (version 4.9.0)"))
path = pathlib.Path(arguments[-1])
lines = path.read_text().splitlines()
failed = False


def say(severity, line, data):
    global failed
    failed |= severity == "error"
    print(json.dumps({"severity": severity, "pos": {"line": line, "column": 0}, "fileName": path.name, "data": data}))


for number, line in enumerate(lines, start=1):
    if "endless" in line:
        print("{" * 2**24)
    if "slow" in line:
        print('{"severity": "err', end="", flush=True)
        time.sleep(60)
    if re.match(r"  ", line) and line.split()[0] not in ("rfl", "decide", "classical", "with_axiom"):
        say("error", number, "unknown tactic")
    if "Treu" in line:
        say("error", number, "unknown identifier 'Treu'")
    if found := re.match(r"#print axioms C(\\d+)", line):
        name = re.search(r":= @(\\w+)", lines[number - 2])[1]
        space = pathlib.Path("Solution.olean").read_text().split(f"namespace {name}")[1].split("end")[0]
        used = ["propext"] * ("classical" in space) + ["cheat"] * ("with_axiom" in space)
        say("information", number, f"'C' depends on axioms: [{', '.join(used)}]" if used else
            "'C' does not depend on any axioms")
if "-o" in arguments and not failed:
    pathlib.Path(arguments[arguments.index("-o") + 1]).write_text(path.read_text())
sys.exit(failed)
"""


@pytest.fixture
def lean(tmp_path):
    program = tmp_path / "lean"
    program.write_text(STAND_IN.replace("/usr/bin/env python3", sys.executable))
    program.chmod(0o755)
    # Systems without namespaces cannot keep the network from it
    return ProofCheckReward("lean", command=[str(program)], header="import Mathlib\nopen Nat", network=True)


@pytest.mark.parametrize("batch_size", [1, 16])
def test_what_lean_says_is_read(lean, batch_size):
    lean.batch_size = batch_size
    theorem = "theorem two (n : Nat) : 1 + 1 = 2 := by sorry"
    completions = {
        "rfl": None,
        "  -- One and one are two.\n  decide\n  rfl": None,
        "theorem two (n : Nat) :\n    1 + 1 = 2 := by\n  rfl": None,
        "Thought.\n```lean\nrfl\n```\nThought.\n```lean4\nrfl\n```": None,
        "/- no sorry,\n /- no axiom -/ -/ classical": None,
        "simp": "unknown tactic",
        "with_axiom": "not proved without assumptions: 'C' depends on axioms: [cheat]",
    }
    errors = {}
    rewards = lean(list(completions), theorem=[theorem] * len(completions), log_extra=errors.__setitem__)
    assert errors["proof_error"] == list(completions.values())
    assert rewards == [float(error is None) for error in completions.values()]
    with pytest.raises(ValueError, match="Not a theorem: theorem two : Treu unknown identifier"):
        lean(["rfl"], theorem=["theorem two : Treu := sorry"])


@pytest.mark.parametrize(("word", "limit"), [("endless", "limit: output"), ("slow", "limit: time")])
@pytest.mark.parametrize("place", ["statement", "proof"])
def test_a_limit_in_the_middle_of_a_message_of_lean(lean, word, limit, place):
    lean.timeout, lean.batch_size = 3, 1
    errors = {}
    words = {"statement": ("rfl", word), "proof": (word, "two")}
    proof, name = words[place]
    theorems = [f"theorem {name} : 1 + 1 = 2", "theorem other : 1 + 1 = 2"]
    assert lean([proof, "rfl"], theorem=theorems, log_extra=errors.__setitem__) == [0.0, 1.0]
    assert errors["proof_error"] == [limit, None]


def test_no_word_of_lean_that_is_no_tactic_comes_through(lean):
    cheats = [
        *("sorry", "admit", "stop", "exact sorryAx _ false", "native_decide", "decide\n  sorry", "  exact (by sorry)"),
        *("rfl\naxiom cheat : False", "rfl\n  axiom cheat : False", "rfl end S0 namespace S1", "run_tac pure ()"),
        *('rfl\n#eval IO.println "x"', "#print axioms two", "rfl\nmacro x : tactic => `(tactic| rfl)", ":= rfl"),
        *("elab", "exact by_elab return default", "open Lean in rfl", "set_option debug.skipKernelTC true in rfl"),
        *("rfl\n@[implemented_by two] def x := 1", "rfl\nunsafe def x := 1", "rfl\nimport Lean", "rfl /- open"),
        *('exact absurd rfl (f s!"{by sorry}")', "rfl\nnotation3 x => y", "-- rfl", "exact?", "  apply?", "", "by"),
        *("theorem two : True := by trivial", "rfl\ntheorem three : True := trivial", "rfl\nlocal instance : X := x"),
    ]
    errors = {}
    theorem = "theorem two (n : Nat) : 1 + 1 = 2 := by"
    assert lean(cheats, theorem=[theorem] * len(cheats), log_extra=errors.__setitem__) == [0.0] * len(cheats)
    assert all(error.startswith(("no tactic", "a comment")) for error in errors["proof_error"]), errors
    # Names and comments that hold the words
    read = lean._checker.read
    for proof in ("exact Foo.end.def h.axiom", "-- no sorry\nrfl", "exact sorry_lemma x", "exact my_axiom' _"):
        assert read(proof, theorem)
