"""The benchmark's peers: they are measured beside the others, or one sentence says why not."""

import json
import os
import sys
from collections import Counter
from pathlib import Path

import httpx2
import pytest
from choices import ROOT
from project import run
from services import require_or_skip

from benchmarks import report
from benchmarks.compare import BASE, Measure
from benchmarks.databases import SERVERS, rows
from benchmarks.load import Load
from benchmarks.peers import INSTEAD, SCENARIOS, fastapi_template

PEER = "fastapi_template 6.1"
# What the project of the peer asks for.
OLD = sys.version_info < (3, 12)

# Stands in for uv: the words of its commands, and what they do.
VERSION = "*--version*) echo 6.1.2 ;;"
PROJECT = "*--name*) mkdir peer && touch peer/pyproject.toml ;;"
NOTHING = "*--name*) echo There are no such files ;;"
FAILURE = "*) echo 'error: there is none' >&2; exit 2 ;;"
FAILURES = {
    "no package": ([], "fastapi_template cannot be installed (error: there is none): look"),
    "no command": ([VERSION], "fastapi_template 6.1.2 makes no project (error: there is none): "),
    "no project": ([VERSION, NOTHING], "6.1.2 makes no project (There are no such files): see"),
    "no dependencies": (
        [VERSION, PROJECT],
        "The project of fastapi_template 6.1.2 cannot be installed (error: there is none): choose",
    ),
}


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def refusal(folder: Path, **settings: str) -> str:
    """What the benchmark says before it measures anything; its scratch is empty afterwards."""
    scratch = folder / "scratch"
    scratch.mkdir()
    wrk = program(folder / "bin" / "wrk", "exit 1")
    ended = run(
        [sys.executable, "-m", "benchmarks", "--peers"],
        ROOT,
        {"PATH": f"{wrk.parent}:{os.environ['PATH']}", "TMPDIR": str(scratch), **settings},
    )
    assert ended.returncode == 1, ended.stdout
    assert not list(scratch.iterdir())
    return ended.stdout


class TestRefusals:
    @pytest.mark.parametrize("failure", FAILURES)
    def test_are_one_sentence_with_a_remedy(self, failure: str, tmp_path: Path) -> None:
        """What uv says stands in it, and nothing is left over."""
        does, sentence = FAILURES[failure]
        cases = "\n".join([*does, FAILURE])
        uv = program(tmp_path / "bin" / "uv", f'case "$*" in\n{cases}\nesac')
        said = refusal(tmp_path, UV=str(uv))
        assert sentence in said
        assert said.endswith(f", {INSTEAD}\n")
        assert said.count("\n") == 1

    def test_without_uv(self, tmp_path: Path) -> None:
        """It is told how to get it."""
        said = refusal(tmp_path, UV="", PATH=str(tmp_path / "bin"))
        assert said == f"uv is missing: pip install uv, {INSTEAD}\n"


class TestReport:
    def test_has_a_peer_beside_the_others(self, tmp_path: Path) -> None:
        """In the table, in JSON and in the plot, with a ratio to bare FastAPI like all."""
        load = Load(requests=1_000, seconds=1, refused=0, broken=0, late=0, p50_ms=1, p99_ms=2)
        found = {(BASE, "trivial"): [Measure(load, 50.0)]}
        found |= {(PEER, name): [Measure(load, 200.0)] for name in SCENARIOS}
        report.write(found, tmp_path / "figures.json")
        written = json.loads((tmp_path / "figures.json").read_text())
        assert Counter(row["subject"] for row in written) == {BASE: 1, PEER: len(SCENARIOS)}
        assert {row["ratio"] for row in written if row["subject"] == PEER} == {0.25}
        for name in SCENARIOS:
            assert f"| {PEER} | {name} | 200 | 0.25 |" in report.table(found)
            assert f"{PEER}: {name}<" in report.drawn(found)


@pytest.mark.environment
class TestPeer:
    @pytest.mark.skipif(not OLD, reason="its project takes this Python")
    def test_its_project_wants_another_python(self, tmp_path: Path) -> None:
        """Which is said, since none is fetched."""
        remedy = r">=3\.12.*uv run --isolated --python 3\.13"
        with pytest.raises(SystemExit, match=remedy), fastapi_template(tmp_path):
            pass

    @pytest.mark.skipif(OLD, reason="its project wants Python 3.12")
    def test_answers_what_it_is_asked(self, tmp_path: Path, pytestconfig: pytest.Config) -> None:
        """From its own environment, with a thousand dummies and one."""
        variable, usual = SERVERS["asyncpg"]
        try:
            rows(os.environ.get(variable, usual), "SELECT 1")
        except OSError as error:
            require_or_skip(pytestconfig, f"No PostgreSQL answers ({error}); start one.")
        with fastapi_template(tmp_path) as peer, peer.served() as server:
            assert peer.name.startswith("fastapi_template 6.")
            assert peer.command[0].startswith(str(tmp_path))
            with httpx2.Client(base_url=f"http://127.0.0.1:{server.port}") as client:
                answers = {
                    name: client.request(
                        asked.method,
                        asked.path.replace("{id}", "7"),
                        content=asked.body,
                        headers={"content-type": "application/json"},
                    )
                    for name, asked in peer.scenarios.items()
                }
            assert {answer.status_code for answer in answers.values()} == {200}
            assert len(answers["list of 1 (no read by id)"].json()) == 1
            assert len(answers["list of 20"].json()) == 20
