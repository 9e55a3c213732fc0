"""Traces of the simulated machine: what is read and written, and what is said of what is no trace."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.scaling import traces
from benchmarks.scaling.trace import Change, Coming, Trace, TraceError, TraceJob, lines, parse

MACHINE = {"t": 0, "kind": "machine", "cpus": 2, "memory_bytes": 1 << 30, "neighbour_cpus": 0.5, "neighbour_bytes": 7}
JOB = {
    "t": 1.5,
    "kind": "job",
    "id": "a",
    "fresh": True,
    "folder": "photos",
    "bytes": 1000,
    "pixels": 2000,
    "format": "jpeg",
    "cpu_s": 0.5,
    "peak_bytes": 3000,
    "predicted_bytes": 4000,
    "predicted_cpu_s": 0.25,
}


def parsed(*found: dict[str, Any]) -> Trace:
    return parse([json.dumps(one) for one in found], "x.jsonl")


def without(line: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name != key}


def test_a_trace_is_read_as_it_was_written_down() -> None:
    trace = parsed(MACHINE, JOB)
    assert trace.changes == (Change(0.0, 2, 1 << 30, 0.5, 7),)
    (job,) = trace.jobs
    told = (job.at_s, job.id, job.fresh, job.folder, job.bytes, job.pixels, job.format, job.cpu_s, job.peak_bytes)
    assert told == (1.5, "a", True, "photos", 1000, 2000, "jpeg", 0.5, 3000)
    assert (job.predicted_bytes, job.predicted_cpu_s, job.priority) == (4000, 0.25, 5)


@pytest.mark.parametrize("name", traces.BUILDERS)
def test_each_made_trace_comes_back_from_its_lines_as_it_was(name: str) -> None:
    made = traces.make(name, seed=3)
    written = list(lines(made))
    again = parse(written, name)
    assert list(lines(again)) == written
    assert [job.id for job in again.jobs] == [job.id for job in made.jobs]
    assert again.changes == made.changes


def test_a_made_trace_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    first, second, other = (list(lines(traces.make("burst", seed, 0.2))) for seed in (1, 1, 2))
    assert first == second != other


def test_sigma_changes_what_is_predicted_and_not_what_is_true() -> None:
    well, badly = traces.make("burst", 1, 0.0), traces.make("burst", 1, 0.5)
    assert all(job.predicted_bytes == job.peak_bytes for job in well.jobs)
    assert any(job.predicted_bytes > 1.5 * job.peak_bytes for job in badly.jobs)


@pytest.mark.parametrize("kind", [None, "jobs", 3])
def test_a_line_of_an_unknown_kind_is_named(kind: object) -> None:
    with pytest.raises(TraceError, match=r'^x\.jsonl:2: kind = .*; it is "job" or "machine"$'):
        parsed(MACHINE, JOB | {"kind": kind})


@pytest.mark.parametrize("key", [key for key in JOB if key != "kind"])
def test_a_job_without_one_of_its_fields_is_named(key: str) -> None:
    with pytest.raises(TraceError, match=rf"^x\.jsonl:2: {key} is missing$"):
        parsed(MACHINE, without(JOB, key))


@pytest.mark.parametrize("key", [key for key in MACHINE if key != "kind"])
def test_a_machine_without_one_of_its_fields_is_named(key: str) -> None:
    with pytest.raises(TraceError, match=rf"^x\.jsonl:1: {key} is missing$"):
        parsed(without(MACHINE, key))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"cpu_s": "1"}, 'cpu_s = "1"; it is a number of at least 0'),
        ({"cpu_s": -1}, "cpu_s = -1; it is a number of at least 0"),
        ({"cpu_s": 0}, "cpu_s = 0; each job takes some time"),
        ({"t": True}, "t = true; it is a number"),
        ({"peak_bytes": float("inf")}, "peak_bytes = Infinity; it is a number of at least 0"),
        ({"fresh": 1}, "fresh = 1; it is true or false"),
        ({"folder": ["x"]}, r'folder = \["x"\]; it is a text'),
    ],
)
def test_a_wrong_value_is_named(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(TraceError, match=rf"^x\.jsonl:2: {said}$"):
        parsed(MACHINE, JOB | wrong)


def test_lines_that_are_not_sorted_are_refused() -> None:
    with pytest.raises(TraceError, match=r"^x\.jsonl:3: t = 1 comes after t = 1\.5; sort the lines by t$"):
        parsed(MACHINE, JOB, JOB | {"t": 1, "id": "b"})


def test_two_jobs_of_one_id_are_refused() -> None:
    with pytest.raises(TraceError, match=r"^x\.jsonl:3: id 'a' stands there twice"):
        parsed(MACHINE, JOB, JOB)


def test_a_trace_must_tell_of_the_machine() -> None:
    with pytest.raises(TraceError, match=r'^x\.jsonl: it has no line of kind "machine"'):
        parsed(JOB)


@pytest.mark.parametrize(("text", "said"), [("{", "it is no JSON: "), ("[1]", "it is no JSON object")])
def test_what_is_no_json_object_is_refused(text: str, said: str) -> None:
    with pytest.raises(TraceError, match=rf"^x\.jsonl:1: {said}"):
        parse([text], "x.jsonl")


def test_empty_lines_are_passed_over() -> None:
    assert len(parse(["\n", json.dumps(MACHINE), "  ", json.dumps(JOB)], "x").jobs) == 1


def test_jobs_larger_than_the_machine_at_its_largest_are_impossible() -> None:
    fits, larger = JOB | {"peak_bytes": 900 << 20}, JOB | {"id": "b", "peak_bytes": 1000 << 20}
    assert parsed(MACHINE, fits, larger).impossible() == {"b"}
    later = MACHINE | {"t": 9, "memory_bytes": 2 << 30}
    assert parsed(MACHINE, fits, larger, later).impossible() == frozenset()


def test_a_seed_lists_the_files_of_one_moment_in_another_order() -> None:
    trace = parsed(MACHINE, *(JOB | {"id": str(number), "t": 1.5 + number // 50} for number in range(100)))
    orders = [[job.id for job in trace.shuffled(seed).jobs] for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert {int(name) for name in orders[0][:50]} == set(range(50))


def test_what_is_to_come_comes_once_and_in_its_time() -> None:
    trace = parsed(MACHINE, JOB, JOB | {"t": 2, "id": "b"}, MACHINE | {"t": 3, "cpus": 4})
    coming = Coming(trace)
    assert coming.next_s() == 1.5
    assert [job.id for job in coming.jobs(2.0)] == ["a", "b"]
    assert (coming.jobs(2.0), coming.next_s()) == ((), 3.0)
    assert [change.cpus for change in coming.changes(3.0)] == [4]
    assert coming.next_s() == float("inf")


def test_jobs_are_told_apart_by_what_they_are_not_by_how_they_look() -> None:
    one, other = (parsed(MACHINE, JOB).jobs[0] for _ in range(2))
    assert isinstance(one, TraceJob)
    assert one != other
