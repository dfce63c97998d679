"""How well real recordings are decoded with no option given: `python -m bench.bench_decoding`.

`stream-rnn train FILE` over five seeds, the five as one ensemble, linear decoders beside them, scored on the
test rows of each recording, streamed from its beginning. The recordings are looked for in the folder that
STREAM_RNN_DATA names, or `../shared/data`.
"""

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from bench.report import Findings, Goal, Row, Table
from bench.runner import main, say
from stream_rnn.model.ensemble import joined
from stream_rnn.model.model import Model
from stream_rnn.predictor import Predictor
from stream_rnn.recordings.table import Recording, read_table
from stream_rnn.training import baselines
from stream_rnn.training.defaults import choices
from stream_rnn.training.evaluate import decode, merge, score
from stream_rnn.training.finetune import tune_each, tuning_options
from stream_rnn.training.fit import fit
from stream_rnn.training.options import Options
from stream_rnn.training.run import Epoch

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "decoding.md"
SEEDS = 5
OURS, TUNED = "network, no option", "network, fine-tuned to each recording"
JOINED = f"ensemble of the {SEEDS} seeds"
GOALS = {
    ("indy_20160927_04", "R2"): {OURS: 0.77, JOINED: 0.80},
    ("lower_limb_emg_50hz", "R2"): {OURS: 0.87, JOINED: 0.92, TUNED: 0.91},
    ("lower_limb_emg_50hz", "median recording"): {OURS: 0.87, TUNED: 0.91},
}
"""Least means, of the recordings that are there."""

Figures = dict[str, float]


def measure(quick: bool) -> Findings:  # noqa: FBT001 - the one choice there is
    """A row for every decoder and measure of every recording."""
    folder = Path(os.environ.get("STREAM_RNN_DATA", ROOT.parent / "shared" / "data"))
    scores: list[Row] = []
    costs: list[Row] = []
    for path in sorted(folder.glob("*.npz")):
        recording = read_table(path)
        found, cost = decoded_all(recording, range(1 if quick else SEEDS), {"epochs": 2} if quick else {})
        names = dict.fromkeys(name for several in found.values() for figures in several for name in figures)
        for name in names:
            for decoder, several in found.items():
                scores.append(Row(f"{path.stem}, {name}", decoder, spread([f[name] for f in several])))
        costs += [Row(path.stem, decoder, figures) for decoder, figures in cost.items()]
    absent = {} if scores else {"recordings": f"no .npz in {folder}"}
    table = score_table(scores)
    return Findings(tables=(table, cost_table(costs)), goals=tuple(goals(table)), skipped=absent)


def decoded_all(
    recording: Recording, seeds: Iterable[int], told: dict[str, object]
) -> tuple[dict[str, list[Figures]], dict[str, Figures]]:
    """Scores of every decoder, and what its fit took."""
    chosen = {choice.name: choice.value for choice in choices([recording])} | told
    found: dict[str, list[Figures]] = {}
    costs: dict[str, Figures] = {}
    members: list[Model] = []
    seconds = 0.0
    for seed in seeds:
        say(f"bench_decoding: {recording.name}, seed {seed}")
        began = time.perf_counter()
        model = fit([recording], Options(seed=seed, **chosen), nobody).model  # type: ignore[arg-type]
        members.append(model)
        cost = cost_of(began, model)
        seconds += cost["seconds"]
        costs.setdefault(OURS, cost)
        found.setdefault(OURS, []).append(figures([(model, recording)]))
    if len(members) > 1:
        whole = joined(members)
        costs[JOINED] = {"seconds": seconds, "weights": float(whole.weights.size)}
        found[JOINED] = [figures([(whole, recording)])]
    if len(recording.spans()) > 1:
        began = time.perf_counter()
        tuned = list(tune_each(members[0], [recording], tuning_options(members[0], 0, told)))
        costs[TUNED] = cost_of(began, members[0])
        found[TUNED] = [figures([(one.fitted.model, one.recording) for one in tuned])]
    for decoder, fitted in baselines.FITS.items():
        say(f"bench_decoding: {recording.name}, {decoder}")
        began = time.perf_counter()
        model = fitted([recording], baselines.Options(logarithm=bool(chosen["logarithm"]))).model
        costs[decoder] = cost_of(began, model)
        found[decoder] = [figures([(model, recording)])]
    return found, costs


def nobody(_: Epoch) -> None:
    """Watch nothing."""


def cost_of(began: float, model: Model) -> Figures:
    """Seconds since then, and weights."""
    return {"seconds": time.perf_counter() - began, "weights": float(model.weights.size)}


def figures(pairs: list[tuple[Model, Recording]]) -> Figures:
    """R2 by output, their mean, and that of the median recording where there are several."""
    parts = [decode(Predictor(model), recording, "test") for model, recording in pairs]
    scores = score(merge(parts), pairs[0][1].y_names)
    each = scores.r2 if len(scores.r2) > 1 else {}
    named = {**each, "R2": scores.r2_mean, "median recording": scores.r2_median}
    return {name: value for name, value in named.items() if value is not None}


def spread(values: list[float]) -> Figures:
    """Mean, least and most."""
    return {"mean": float(np.mean(values)), "least": min(values), "most": max(values)}


def goals(table: Table) -> Iterator[Goal]:
    """What should be reached, where it was measured."""
    for (recording, measured), limits in GOALS.items():
        for decoder, least in limits.items():
            found = table.figures(f"{recording}, {measured}", decoder)
            if found:
                text = f"test {measured}, {recording}, {decoder}"
                yield Goal(text, found["mean"], least, "at least")


def score_table(rows: list[Row]) -> Table:
    """What is reached."""
    return Table(
        title="R2 on the test rows",
        unit="share of the variance",
        ours=OURS,
        rows=tuple(rows),
        better="higher",
        ratios=False,
        note=f"Ours over {SEEDS} seeds, the rest once. Test rows chose nothing.",
    )


def cost_table(rows: list[Row]) -> Table:
    """What it takes."""
    return Table(
        title="A fit", unit="s, number", ours=OURS, rows=tuple(rows), ratios=False, note="Of one seed."
    )


if __name__ == "__main__":
    main("bench.bench_decoding", __doc__, measure, pinned=False, page=PAGE)
