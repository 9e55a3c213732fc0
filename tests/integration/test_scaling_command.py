"""`python -m benchmarks.scaling` as one calls it: anyone's trace, and what is said of what cannot be run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.scaling.__main__ import main

MACHINE = (
    '{"t": 0, "kind": "machine", "cpus": 2, "memory_bytes": 4294967296, "neighbour_cpus": 0, "neighbour_bytes": 0}'
)
FIGURES = {"makespan_s", "unfinished", "oom_kills", "fresh_p99_s", "waste_ratio", "starts", "above_90_s"}


def job(number: int, *, fresh: bool) -> str:
    told = {"t": number / 10, "kind": "job", "id": f"{number}", "fresh": fresh, "folder": "a", "bytes": 1000}
    told |= {"pixels": 1000, "format": "jpeg", "cpu_s": 0.5, "peak_bytes": 50 << 20}
    return json.dumps(told | {"predicted_bytes": 50 << 20, "predicted_cpu_s": 0.5})


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join([MACHINE, *(job(number, fresh=number % 2 == 0) for number in range(6))]) + "\n")
    return path


def test_anyones_trace_gives_the_figures_of_each_policy(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--trace", str(trace), "--json", "--seed", "7"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {"bound_s", "binds", "policies"}
    assert told["binds"] in ("cpu", "memory", "path")
    ours = told["policies"]["imgoptd"]
    assert set(ours) == FIGURES
    assert (ours["unfinished"], ours["oom_kills"]) == (0, 0)
    assert 1.5 <= told["bound_s"] <= ours["makespan_s"] < 3.1, "one worker alone would need 3 s"
    assert 0.5 < ours["fresh_p99_s"] <= ours["makespan_s"]


def test_a_trace_without_fresh_jobs_has_no_latency_of_theirs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bulk.jsonl"
    path.write_text(f"{MACHINE}\n{job(0, fresh=False)}\n")
    assert main(["--trace", str(path), "--json", "--policies", "imgoptd"]) == 0
    assert json.loads(capsys.readouterr().out)["policies"]["imgoptd"]["fresh_p99_s"] is None


def test_what_was_emitted_can_be_run_and_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--emit", "small-machine", "--seed", "2"]) == 0
    path = tmp_path / "emitted.jsonl"
    path.write_text(capsys.readouterr().out)
    assert main(["--trace", str(path), "--explain"]) == 0
    told = capsys.readouterr().out
    assert "workers 0 -> 1 (backlog)" in told
    assert "oom_kills=0" in told


def test_a_line_that_is_wrong_is_named_with_its_file_and_exits_with_2(
    trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace.write_text(trace.read_text().replace('"cpu_s": 0.5', '"cpu_s": "much"', 1))
    assert main(["--trace", str(trace), "--json"]) == 2
    out, errors = capsys.readouterr()
    assert out == ""
    assert errors == f'{trace}:2: cpu_s = "much"; it is a number of at least 0\n'


def test_a_file_that_is_not_there_is_named_and_exits_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--trace", str(tmp_path / "nothing")]) == 2
    assert "No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["brust"], "brust: there is no such trace; there are burst, trickle"),
        (["--policies", "magic"], "--policies magic: there is no such policy; there are imgoptd"),
        (["--seeds", "0"], "0: it is a number of at least 1"),
        (["--sigma", "x"], "x: it is one number or several"),
        (["--explain"], "--explain: name one trace"),
    ],
)
def test_what_there_is_not_is_said_with_what_there_is(
    asked: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(asked)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_reader_that_has_seen_enough_ends_it_quietly() -> None:
    command = [sys.executable, "-m", "benchmarks.scaling", "--emit", "drops-amid-bulk"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0
