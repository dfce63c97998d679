"""Peers compute what we compute, and the page says what the JSON says. Nothing is timed."""

import ast
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bench import bench_mqtt, bench_train
from bench.__main__ import DOCS, Results
from bench.networks import network, samples, weight_bytes
from bench.page import IMAGES, SECTIONS, render_page, where_we_lose
from bench.peers import keras_cells, litert, numpy_twin, onnx_runtime, pytorch
from bench.peers.base import Absent, Maker, check
from bench.plots import PLOTS
from bench.report import Findings, Goal, Loss, Report, Row, Table, losses, number, render_goals, render_table
from bench.roofline import BLOCK, aligned_blocks, stream_weights
from bench.saturation import Rate
from bench.session_costs import FIND, session_costs
from bench.sparse import spikes
from bench.timing import percentiles, take_turns
from stream_rnn.model.architecture import Layer
from stream_rnn.model.model import Model

BENCH = Path(__file__).parents[1] / "bench"
MODULES = sorted(BENCH.glob("bench_*.py"))
PAGE_BYTES = 300_000

CELLS = {
    "lstm": (Layer("lstm", 5), Layer("lstm", 5)),
    "gru": (Layer("gru", 6),),
    "elman": (Layer("elman", 3),),
}
MAKERS: dict[str, Maker] = {
    "numpy": numpy_twin.make,
    "onnxruntime": onnx_runtime.make,
    "litert": litert.make,
    "torch": pytorch.make,
    "keras": keras_cells.make,
}

TABLE = Table(
    title="One step",
    unit="us",
    ours="we",
    rows=(
        Row("small", "we", {"p50": 2.0, "p99": 4.0}),
        Row("small", "they", {"p50": 5.0, "p99": 3.0}),
        Row("small", "bound", {"p50": 1.0, "p99": 1.0}),
    ),
    no_peers=("bound",),
)


def report(*tables: Table, goals: tuple[Goal, ...] = ()) -> Report:
    return Report(
        name="bench_step",
        summary="Steps.",
        command="python -m bench.bench_step",
        date="2026-01-02",
        machine="a machine",
        versions={"Python": "3.11"},
        quick=False,
        findings=Findings(tables=tables, goals=goals, skipped={"Keras": "not installed"}),
    )


def small(cell: str) -> Model:
    return network(CELLS[cell], outputs=2, inputs=7)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_benchmark_opens_with_its_command(path: Path) -> None:
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert f"`python -m bench.{path.stem}" in (doc or "").partition("\n\n")[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_benchmark_measures_and_is_a_program(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert "def measure(quick: bool) -> Findings:" in source
    assert f'main("bench.{path.stem}", __doc__, measure' in source.rpartition('if __name__ == "__main__":')[2]


def test_every_benchmark_has_its_section_of_the_page() -> None:
    alone = {"bench_decoding"}  # its page is docs/decoding.md
    assert {path.stem for path in MODULES} == set(SECTIONS) | alone


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("streams", [1, 3])
@pytest.mark.parametrize("peer", MAKERS)
@pytest.mark.filterwarnings("default")  # a peer may be deprecated by another: not ours to mend
def test_a_peer_computes_what_we_compute(peer: str, streams: int, cell: str) -> None:
    model = small(cell)
    try:
        steps = MAKERS[peer](model, streams)
    except Absent as why:
        pytest.skip(str(why))
    assert steps
    for name, step in steps.items():
        check(name, step, model, streams)


def test_a_peer_that_computes_something_else_is_refused() -> None:
    with pytest.raises(AssertionError, match=r"^other: expected our outputs within 0\.0001, got .* apart$"):
        check("other", lambda _: np.full((1, 2), 9.0, dtype=np.float32), small("gru"), 1)


def test_the_roofline_reads_every_weight_once_a_pass() -> None:
    weights = samples(1000)
    blocks, sums = aligned_blocks(weights), np.ones(BLOCK, dtype=np.float32)
    factors = np.array([0.5, 2.0], dtype=np.float32)
    stream_weights(blocks, factors, sums)
    assert blocks.size % BLOCK == 0
    assert blocks.ctypes.data % 64 == 0
    assert sums.sum() == pytest.approx(BLOCK + 2.5 * weights.astype(np.float64).sum(), rel=1e-4)


def test_a_roofline_has_the_bytes_of_the_network() -> None:
    model = small("elman")
    assert weight_bytes(model) == 4 * (7 * 3 + 3 * 3 + 3 + 3 * 2 + 2)


def test_a_cell_gives_the_figures_and_how_many_times_ours_they_are() -> None:
    assert render_table(TABLE) == (
        "**One step** (p50 / p99, us; lower is better; we is 1x)\n\n"
        "|  | small |\n| --- | --- |\n"
        "| we | **2.00 / 4.00** |\n| they | 5.00 / 3.00 (2.50x) |\n| bound | 1.00 / 1.00 (0.500x) |"
    )


def test_every_figure_of_a_peer_that_is_better_is_a_loss() -> None:
    assert list(losses(report(TABLE))) == [
        Loss("bench_step", "One step", "small", "they", "p99", 3.0, 4.0, "us")
    ]


def test_more_a_second_wins_where_higher_is_better() -> None:
    higher = msgspec.structs.replace(TABLE, better="higher")
    assert [loss.figure for loss in losses(report(higher))] == ["p50"]


def test_the_page_lists_the_losses() -> None:
    assert where_we_lose({"bench_step": report(TABLE)}).splitlines()[-1] == (
        "| One step | small | they | p99 | 3.00 us | 4.00 us | 0.750x |"
    )


def test_a_goal_is_met_up_to_its_limit() -> None:
    rows = render_goals((Goal("a", 1.0, 1.0), Goal("b", 1.1, 1.0))).splitlines()[2:]
    assert rows == ["| a | 1.00 | 1.00 | met |", "| b | 1.10 | 1.00 | **not met** |"]


def test_a_goal_of_a_least_is_met_from_its_limit_on() -> None:
    goals = Goal("a", 1.0, 1.0, "at least"), Goal("b", 0.9, 1.0, "at least"), Goal("c", 0.9, 1.0)
    assert render_goals(goals).splitlines() == [
        "| goal | found | at most |  |",
        "| --- | --- | --- | --- |",
        "| c | 0.900 | 1.00 | met |",
        "",
        "| goal | found | at least |  |",
        "| --- | --- | --- | --- |",
        "| a | 1.00 | 1.00 | met |",
        "| b | 0.900 | 1.00 | **not met** |",
    ]


def test_training_is_compared_with_the_best_peer() -> None:
    rows = [Row(case, "stream-rnn", {"p50": 2.0}) for case in bench_train.GOALS]
    rows += [Row(bench_train.ONE, "slow", {"p50": 9.0}), Row(bench_train.ONE, "fast", {"p50": 6.0})]
    rows += [Row(bench_train.MANY, "fast", {"p50": 1.0})]
    table = Table(title="", unit="ms", ours="stream-rnn", rows=tuple(rows))
    assert [(goal.found, goal.met) for goal in bench_train.goals(table)] == [(3.0, True), (0.5, False)]


def test_mqtt_is_compared_with_the_c_client() -> None:
    bound = bench_mqtt.Found([Rate(1000.0, 1.0, 1.0)], np.full(9, 100.0))
    ours = bench_mqtt.Found([Rate(900.0, 1.0, 1.0)], np.full(9, 160.0))
    found: dict[bench_mqtt.Case, bench_mqtt.Found] = {
        (0, bench_mqtt.C_ECHO): bound,
        (0, bench_mqtt.DAEMON): ours,
    }
    assert [(g.found, g.met) for g in bench_mqtt.findings(found, {}).goals] == [(0.9, True), (1.6, False)]


def test_spikes_have_the_density_they_are_asked_for() -> None:
    xs = spikes(0.1)
    assert set(np.count_nonzero(xs, axis=1)) == {10}
    assert set(np.unique(xs)) == {0.0, 1.0, 2.0}


def test_making_and_forgetting_sessions_leaves_none() -> None:
    assert FIND in session_costs(20)


def test_the_page_names_what_was_not_measured() -> None:
    page = render_page({"bench_step": report(TABLE)}, {"bench_mqtt": "no mosquitto"})
    assert "Not measured: Keras (not installed)." in page
    assert "- bench_mqtt: no mosquitto" in page


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0123, "0.012"), (1.234, "1.23"), (12.34, "12.3"), (123456.7, "123 457"), (99.0, "99"), (0.0, "0")],
)
def test_a_number_has_about_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_candidates_take_turns() -> None:
    order: list[str] = []
    take_turns({name: lambda name=name: order.append(name) for name in "ab"}, rounds=2, seconds=0.0)  # type: ignore[misc]
    assert (
        "".join(name for name, before in zip(order, [None, *order], strict=False) if name != before) == "abab"
    )


def test_percentiles_are_named() -> None:
    times = np.arange(101, dtype=np.float64)
    assert percentiles(times) == {"p50": 50.0, "p99": 99.0}
    assert percentiles(times, 99.9, 100) == {"p99.9": pytest.approx(99.9), "max": 100.0}


def committed() -> Results:
    path = DOCS / "performance.json"
    if not path.is_file():
        pytest.skip("docs/performance.json is absent: `python -m bench` makes it")
    return msgspec.json.decode(path.read_bytes(), type=Results)


def test_the_page_says_what_its_json_says() -> None:
    results = committed()
    page = (DOCS / "performance.md").read_text(encoding="utf-8")
    assert page == render_page(results.reports, results.absent)


def test_the_plots_of_the_page_are_there_and_small() -> None:
    results = committed()
    page = render_page(results.reports, results.absent)
    shown = re.findall(r"\]\((\S+\.svg)\)", page)
    assert len(shown) == sum(benchmark in results.reports for benchmark, _, _ in PLOTS.values())
    assert sum((DOCS / path).stat().st_size for path in shown) < PAGE_BYTES
    assert all(path.startswith(f"{IMAGES}/") for path in shown)
