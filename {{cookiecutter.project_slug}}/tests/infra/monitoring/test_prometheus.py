"""Figures of many processes, the dead among them."""

import os
import random
import signal
import string
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from app.infra.monitoring import prometheus_files
from app.infra.monitoring.prometheus import PrometheusSettings, registry
from tests.infra.monitoring.prometheus_backend import Scrape
from tests.messages import exchange, http_scope
from tests.processes import environment
from tests.serving import started

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"

# Counts, has something in flight, says so, and waits for its end.
PROCESS = """
import asyncio, sys
from app.infra.monitoring import Counter, Gauge, Histogram, listening
from app.infra.monitoring.prometheus import Prometheus, PrometheusSettings

counter = Counter("deeds_total", "Deeds", ["kind"])
histogram = Histogram("pauses_seconds", "Pauses")
gauge = Gauge("hands", "Hands")

async def main():
    async with listening(Prometheus(PrometheusSettings())):
        counter.add("good", amount=2)
        histogram.observe(0.3)
        gauge.set(1)
        # Histograms are written some times a second.
        await asyncio.sleep(0.2)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the processes of a test keep their figures."""
    monkeypatch.setenv(DIRECTORY, str(tmp_path))
    return tmp_path


@contextmanager
def process(directory: Path, program: str = PROCESS) -> Iterator["subprocess.Popen[str]"]:
    """A process that has told its figures."""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=directory,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as started:
        assert started.stdout is not None
        try:
            assert started.stdout.readline() == "ready\n"
            yield started
        finally:
            started.kill()


def look() -> Scrape:
    """The figures of all of them."""
    return Scrape(iter(registry().collect()))


def leave(directory: Path, pid: int, deeds: float) -> None:
    """What a process with this number leaves that was killed."""
    (directory / f"{pid}.alive").touch()
    files: Any = MmapedDict
    for kind, name, amount in (
        ("counter", "deeds_total", deeds),
        ("histogram", "pauses_seconds_sum", deeds),
        ("gauge_livesum", "hands", 1.0),
    ):
        amounts = files(str(directory / f"{kind}_{pid}.db"))
        family = name.removesuffix("_total").removesuffix("_sum")
        amounts.write_value(mmap_key(family, name, [], [], "Help"), amount, 0.0)
        amounts.close()


# A thread has an event loop of its own for a moment.
LOOPS = """
import asyncio
from app.infra.monitoring import Histogram, listening
from app.infra.monitoring.prometheus import Prometheus, PrometheusSettings

histogram = Histogram("pauses_seconds", "Pauses")

async def pause():
    histogram.observe(0.3)

async def main():
    async with listening(Prometheus(PrometheusSettings())):
        await asyncio.to_thread(asyncio.run, pause())
        await pause()
        await asyncio.to_thread(asyncio.run, pause())
        await asyncio.sleep(0.2)
        await pause()
        print("ready", flush=True)
        await asyncio.sleep(3600)

asyncio.run(main())
"""


class TestLoops:
    def test_none_waits_for_another(self, directory: Path) -> None:
        """What one observes is written, whichever has ended meanwhile; the last is on its way."""
        with process(directory, LOOPS):
            assert look().get("pauses_seconds_count") == 3


class TestProcesses:
    def test_killed(self, directory: Path) -> None:
        """What a dead one has counted stays; what it had in its hands is gone."""
        with process(directory), process(directory) as other:
            assert look().get("hands") == 2
            other.kill()
            other.wait()
            told = look()
        assert told.get("hands") == 1
        assert told.get("deeds_total", kind="good") == 4
        assert told.get("pauses_seconds_count") == 2
        assert told.get("pauses_seconds_sum") == pytest.approx(0.6)
        assert told.get("pauses_seconds_bucket", le="0.25") == 0
        assert told.get("pauses_seconds_bucket", le="0.5") == 2

    def test_nobody_waits_for_the_dead(self, directory: Path) -> None:
        """A zombie, which its parent has not asked for yet, is dead."""
        with process(directory) as killed:
            killed.kill()
            os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)
            assert look().get("hands") is None

    def test_ended(self, directory: Path) -> None:
        """One that ended as it should is no different."""
        with process(directory) as ended:
            ended.communicate("")
        told = look()
        assert told.get("hands") is None
        assert told.get("deeds_total", kind="good") == 2

    def test_paused(self, directory: Path) -> None:
        """Lives: its gauges stay, and what it counts afterwards is not lost."""
        with process(directory) as paused:
            paused.send_signal(signal.SIGSTOP)
            assert [look().get("hands") for _ in range(2)] == [1, 1]
            paused.send_signal(signal.SIGCONT)
            assert look().get("deeds_total", kind="good") == 2


class TestCrashLoop:
    def test_costs_no_more_than_one(self, directory: Path) -> None:
        """However many have died, as many files are looked at, and nothing counts twice."""
        dead = 300
        for pid in range(dead):
            leave(directory, pid, deeds=2)
        assert look().get("deeds_total") == 2 * dead
        files = sorted(path.name for path in directory.iterdir())
        assert files == ["counter_dead.db", "histogram_dead.db", "turn"]
        leave(directory, dead, deeds=1)
        for _ in range(2):
            told = look()
            assert told.get("deeds_total") == 2 * dead + 1
            assert told.get("pauses_seconds_sum") == 2 * dead + 1
            assert told.get("hands") is None

    def test_killed_before_it_wrote_anything(self, directory: Path) -> None:
        """A file that was just made is no reason not to answer."""
        leave(directory, 1, deeds=3)
        (directory / "2.alive").touch()
        (directory / "counter_2.db").touch()
        (directory / "histogram_3.db").touch()
        assert look().get("deeds_total") == 3

    def test_number_that_is_given_again(self, directory: Path) -> None:
        """A new process with the number of a dead one goes on where that one ended."""
        leave(directory, os.getpid(), deeds=5)
        sign = prometheus_files.live(directory, os.getpid())
        assert look().get("deeds_total") == 5
        os.close(sign)


# Adds up what the dead have left in each folder, and is killed after so many steps, one more in
# each; prints how each attempt has ended.
TIDYING = """
import os, signal, sys
from pathlib import Path
from prometheus_client import mmap_dict
from app.infra.monitoring import prometheus_files

def tidy(directory, left):
    def step(event, _arguments):
        nonlocal left
        if event.partition(".")[0] in {"open", "os", "mmap", "shutil"}:
            left -= 1
            if left == -1:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(step)
    with prometheus_files.turn(directory):
        prometheus_files.tidy(directory)

for steps, directory in enumerate(sys.argv[1:]):
    child = os.fork()
    if not child:
        tidy(Path(directory), steps)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
STEPS = 100


class TestTidying:
    def test_killed_at_any_step(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing that was counted is lost, or counted twice."""
        folders = [tmp_path / str(steps) for steps in range(STEPS)]
        for folder in folders:
            folder.mkdir()
            monkeypatch.setenv(DIRECTORY, str(folder))
            leave(folder, 1, deeds=3)
            assert look().get("deeds_total") == 3
            leave(folder, 2, deeds=4)
        ended = subprocess.run(
            [sys.executable, "-c", TIDYING, *map(str, folders)],
            check=True, env=environment(), stdout=subprocess.PIPE, text=True,
        ).stdout.split()  # fmt: skip
        killed = ended.index("0")
        assert killed > 10
        assert ended == [str(-signal.SIGKILL)] * killed + ["0"] * (STEPS - killed)
        for folder in folders:
            monkeypatch.setenv(DIRECTORY, str(folder))
            for _ in range(2):
                told = look()
                assert told.get("deeds_total") == 7
                assert told.get("pauses_seconds_sum") == 7
                assert told.get("hands") is None
            files = sorted(path.name for path in folder.iterdir())
            assert files == ["counter_dead.db", "histogram_dead.db", "turn"]


MAKING = "from app.infra.monitoring import prometheus_files as files; print(files.make_directory())"


class TestDirectory:
    def make(self, folder: Path, then: str = "") -> Path:
        """One that is made by another process, which is gone afterwards."""
        made = subprocess.run(
            [sys.executable, "-c", MAKING + then],
            check=True, env=environment(TMPDIR=str(folder)), stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        return Path(made.stdout.strip())

    def test_of_the_dead(self, tmp_path: Path) -> None:
        """Is removed when another is made; what is not known to be one stays."""
        (tmp_path / "metrics-of-others").mkdir()
        left = self.make(tmp_path)
        assert left.exists()
        made = self.make(tmp_path)
        assert sorted(tmp_path.iterdir()) == sorted([made, tmp_path / "metrics-of-others"])

    def test_of_the_living(self, tmp_path: Path) -> None:
        """Stays, also when only a process lives that its owner had started."""
        left = self.make(tmp_path)
        sign = prometheus_files.live(left, os.getpid())
        self.make(tmp_path)
        assert left.exists()
        os.close(sign)
        self.make(tmp_path)
        assert not left.exists()


METHODS = ["GET", "POST", "PUT", "BREW", *(f"X{number}" for number in range(1_000))]


class TestSeries:
    async def test_do_not_grow(self, app: FastAPI) -> None:
        """Ten thousand requests with paths and methods that nobody serves add nothing."""
        choose = random.Random(7)  # noqa: S311  # the same each time

        def path() -> str:
            return "/" + "".join(choose.choices(string.ascii_letters + "/", k=12))

        async with started(app) as serving:
            for method in METHODS[:5]:
                await exchange(serving, http_scope(path(), method=method))
            before = series()
            for _ in range(10_000):
                scope = http_scope(path(), method=choose.choice(METHODS))
                await exchange(serving, scope)
            told = look()
            assert series() == before
        assert told.total("http_requests_total", route="unmatched") >= 10_000


def series() -> set[str]:
    """The time series of requests."""
    return {f"{name}{sorted(labels)}" for name, labels in look().samples if "http" in name}


class TestBuckets:
    @pytest.mark.parametrize("buckets", [[], [0], [-1], [2, 1], [1, 1]])
    def test_that_make_no_sense(self, buckets: list[float]) -> None:
        """They are refused where they are set."""
        with pytest.raises(ValueError, match="duration_buckets_seconds"):
            PrometheusSettings(duration_buckets_seconds=buckets)

    def test_that_alerts_cannot_count_by(self) -> None:
        """The alerts about latency ask how many took longer than half a second."""
        with pytest.raises(ValueError, match=r"0\.5 has to be among them"):
            PrometheusSettings(duration_buckets_seconds=[0.1, 1.0])
