"""Planning for many passages: that the document says what the script computes, and that the arithmetic holds."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from querywright import InputError
from querywright.eval import scale_measure
from querywright.eval.scale import DOCUMENT, INPUTS, main, read_inputs, woven
from querywright.eval.scale_measure import PARTS, SHARES, Plan, efforts, measure
from querywright.eval.scale_model import (
    SIZES,
    WHOLE,
    Assumptions,
    Index,
    Inputs,
    Load,
    Size,
    _queued,
    fan_out,
    fleet,
    inverted,
    largest,
    lay_out,
    slowest_message,
    systems,
    vector_indexes,
)
from querywright.eval.scale_tables import tables

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of libraries about themselves

ASSUMED = Assumptions()
SMALL = Plan(
    steps=(300, 1_000), graphs=(300, 600), kept=(100, 200), searches=20, queries=10, encoded=4, reads=5, file_mb=1
)


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    return read_inputs(INPUTS)


# ---------------------------------------------------------------------------------------- the document


def test_the_document_holds_what_the_script_prints(capsys) -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    held = re.findall(r"<!-- table: (\w+) -->\n(.*?)<!-- end -->", document, re.DOTALL)
    assert main([]) == 0
    assert capsys.readouterr().out == "\n".join(f"{name}\n\n{table}" for name, table in held)
    assert document.count("\n") < 250


def test_a_spoiled_table_is_brought_up_to_date(tmp_path: Path) -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    spoiled = tmp_path / "scale.md"
    spoiled.write_text(document.replace("| 1 billion |", "| 2 billion |"), encoding="utf-8")
    assert spoiled.read_text(encoding="utf-8") != document
    assert main(["--write", str(spoiled)]) == 0
    assert spoiled.read_text(encoding="utf-8") == document


def test_an_unknown_table_is_refused() -> None:
    with pytest.raises(InputError, match="no table 'wrods': expected any of words"):
        woven("<!-- table: wrods -->\n<!-- end -->", {"words": ""})


@pytest.mark.parametrize("written", [None, b"[]", b"{}", b"no JSON"])
def test_inputs_that_cannot_be_read(tmp_path: Path, capsys, written: bytes | None) -> None:
    path = tmp_path / "inputs.json"
    if written is not None:
        path.write_bytes(written)
    assert main(["--inputs", str(path)]) == 2
    assert str(path) in capsys.readouterr().err


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "x"])
def test_assumptions_are_numbers_above_0(value: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([f"--cores={value}"])
    assert stopped.value.code == 2


def test_an_option_changes_what_hangs_on_it_and_nothing_else(inputs: Inputs) -> None:
    dear = tables(inputs, replace(ASSUMED, machine_price=2 * ASSUMED.machine_price), SIZES[:2], seed=0)
    plain = tables(inputs, ASSUMED, SIZES[:2], seed=0)
    assert {name for name in plain if plain[name] != dear[name]} == {
        "assumptions",
        "vectors",
        "words",
        "systems",
        "indexing",
    }


# ------------------------------------------------------------------------------------------ arithmetic


def test_machines_by_hand() -> None:
    # A billion vectors of 1,536 bytes, twice: 3.07 TB in three quarters of 256 GB a machine.
    flat = Index("flat", WHOLE, lambda n: n / 1e9)
    laid = lay_out(flat, Size("", 1e9, 1), ASSUMED)
    assert laid.shards == math.ceil(1e9 * 1_536 / 192e9) == 8
    found = fleet(laid.load, ASSUMED)
    assert (found.machines, found.bound, found.price) == (16, "memory", 40)
    # 100 queries a second, two texts each, 800 core-ms a text: 160 cores at work, half of 32 a machine.
    busy = fleet(Load(cores=100 * 2 * 0.8), ASSUMED)
    assert (busy.machines, busy.bound) == (10, "cores")
    assert fleet(Load(memory=1), ASSUMED).machines == 2  # a copy each
    assert fleet(Load(), ASSUMED).machines == 0


@given(passages=st.floats(1e4, 1e12), queries=st.floats(0.1, 1e5), which=st.integers(0, 7))
def test_no_shard_holds_more_than_a_machine_or_takes_longer_than_the_patience(
    inputs: Inputs, passages: float, queries: float, which: int
) -> None:
    index = vector_indexes(inputs, ASSUMED)[which]
    laid = lay_out(index, Size("", passages, queries), ASSUMED)
    each = passages / laid.shards
    memory = ASSUMED.gpu_memory_gb if index.gpu else ASSUMED.memory_gb
    assert each * index.memory <= memory * 1e9 * ASSUMED.full * (1 + 1e-9)
    assert each * index.disk <= ASSUMED.disk_tb * 1e12 * ASSUMED.full * (1 + 1e-9)
    assert index.work_ms(each) <= ASSUMED.patience_ms * (1 + 1e-9)
    twice = lay_out(index, Size("", passages, 2 * queries), ASSUMED)
    assert twice.load.cores == pytest.approx(2 * laid.load.cores)
    assert twice.load.memory == laid.load.memory


@given(share=st.floats(0.001, 1), passages=st.floats(1e8, 1e11))
def test_who_asks_fewer_shards_works_less_and_holds_as_much(inputs: Inputs, share: float, passages: float) -> None:
    index = vector_indexes(inputs, ASSUMED)[0]
    every, some = (lay_out(index, Size("", passages, 10, asked), ASSUMED) for asked in (1.0, share))
    assert some.load.memory == every.load.memory
    assert share * every.load.cores <= some.load.cores <= share * every.load.cores + every.load.cores / every.shards


@given(slope=st.floats(1e-9, 1e-2), patience=st.floats(1, 1_000))
def test_largest_is_what_can_just_be_searched(slope: float, patience: float) -> None:
    found = largest(lambda n: slope * n, patience)
    assert slope * found <= patience <= slope * found * 1.02
    assert largest(lambda _: patience, patience) == math.inf


def test_lines_go_through_what_was_measured(inputs: Inputs) -> None:
    for make in (inputs.line, inputs.power, inputs.logarithm):
        steps = inputs.steps("graph", "search", "core_ms")
        through = make("graph", "search", "core_ms")
        for size, value in list(steps.items())[-2:]:
            assert through(size) == pytest.approx(value)
    size, measured = inputs.last("vectors", "ivf", "core_ms")
    assert inverted(inputs)(size) == pytest.approx(measured, rel=0.3)


def test_what_a_query_takes_adds_up(inputs: Inputs) -> None:
    for one in systems(inputs, ASSUMED):
        cores = one.size.queries * sum(one.work_ms.values()) / 1_000
        machines = cores / ASSUMED.cores / ASSUMED.busy
        assert one.fleet.machines >= math.floor(machines)
        assert one.words.index.measured
        assert one.vectors.index.measured


# --------------------------------------------------------------------------------------------- fan-out


def uneven(seed: int = 0) -> np.ndarray:
    return np.quantile(np.random.default_rng(seed).gamma(8, 1, 100_000), SHARES)


def test_the_slowest_of_many_is_the_quantile_that_it_must_be() -> None:
    latencies = uneven()
    for one in fan_out(latencies, (1, 10, 100), ASSUMED, seed=1):
        for found, share in zip(one.idle, (0.5, 0.99), strict=True):
            expected = np.interp(share ** (1 / one.shards), SHARES, latencies) / np.interp(0.5, SHARES, latencies)
            assert found == pytest.approx(expected, rel=0.1)


def test_queues_add_and_help_takes_away() -> None:
    found = fan_out(uneven(), (1, 10, 100), ASSUMED, seed=2)
    assert found == fan_out(uneven(), (1, 10, 100), ASSUMED, seed=2)
    assert found != fan_out(uneven(), (1, 10, 100), ASSUMED, seed=3)
    for one in found:
        for idle, loaded, hedged, most in zip(one.idle, one.loaded, one.hedged, one.most, strict=True):
            assert idle <= loaded + 1e-9  # a time is the difference of two moments
            assert hedged <= loaded
            assert most <= loaded
    assert found[0].loaded[0] < found[1].loaded[0] < found[2].loaded[0]
    assert found[2].most[1] < found[2].loaded[1]


def test_one_thread_waits_as_theory_says() -> None:
    """M/M/1: a mean of service / (1 - busy)."""
    random = np.random.default_rng(5)
    service = random.exponential(1, (20_000, 4))
    took = _queued(random, service, replace(ASSUMED, threads=1, busy=0.5))
    assert took.mean() == pytest.approx(2, rel=0.15)
    assert np.all(took >= service - 1e-9)


def test_the_slowest_message() -> None:
    assert slowest_message(1, 0.5, ASSUMED) == pytest.approx(ASSUMED.network_ms)
    assert slowest_message(1, 0.99, ASSUMED) == pytest.approx(5 * ASSUMED.network_ms)
    drawn = np.random.default_rng(0).lognormal(np.log(0.5), np.log(5) / 2.3263, (20_000, 50)).max(axis=1)
    assert slowest_message(50, 0.5, ASSUMED) == pytest.approx(np.median(drawn), rel=0.03)


# ------------------------------------------------------------------------------------------- measuring


def test_efforts() -> None:
    assert efforts(8, 8) == [8]
    assert efforts(10, 5) == []
    assert all(one < two for one, two in zip(efforts(8, 1_000), efforts(8, 1_000)[1:], strict=False))


def test_what_is_measured_is_what_the_tables_read(tmp_path: Path, inputs: Inputs) -> None:
    quick = [part for part in PARTS if part not in {"encoding", "rewriting"}]
    figures = {part: PARTS[part](SMALL, tmp_path) for part in quick}
    for part in quick:
        assert all(np.all(np.asarray(value) >= 0) for value in figures[part].values())
    assert figures["vectors"]["codes_1000_recall"] > 0.9
    assert figures["kept"]["sqlite_200_bytes"] > figures["kept"]["sqlite_without_vectors_200_bytes"] + WHOLE
    assert len(figures["served"]["latencies_ms"]) == len(SHARES)
    figures |= {
        "encoding": {"passages_per_core_s": 90.0, "query_core_ms": 3.0},
        "rewriting": {"query_core_ms": 6.0, "p99_core_ms": 20.0},
    }
    made = tables(Inputs(figures), ASSUMED, SIZES[:1], seed=0)
    assert made.keys() == tables(inputs, ASSUMED, SIZES[:1], seed=0).keys()


def test_each_part_is_measured_in_a_process_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale_measure, "PARTS", {"merging": PARTS["merging"]})
    figures = measure(SMALL, tmp_path)
    assert figures["merging"]["join_10_core_ms"] < figures["merging"]["join_1000_core_ms"]
    assert not list(tmp_path.iterdir())
