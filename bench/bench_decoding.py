"""How well real recordings are decoded with no option given: `python -m bench.bench_decoding`.

`stream-rnn train FILE` over five seeds, scored on the test rows of each recording, streamed from its
beginning. The recordings are looked for in the folder that STREAM_RNN_DATA names, or `../shared/data`.
"""

import os
import time
from pathlib import Path

import numpy as np

from bench.report import Findings, Goal, Row, Table
from bench.runner import main, say
from stream_rnn.predictor import Predictor
from stream_rnn.recordings.table import Recording, read_table
from stream_rnn.training.defaults import choices
from stream_rnn.training.evaluate import Scores, decode, score
from stream_rnn.training.fit import Options, fit

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "decoding.md"
GOALS = {"indy_20160927_04": {"R2": 0.77}, "lower_limb_emg_50hz": {"R2": 0.87, "median recording": 0.87}}
"""Least mean over the seeds, of the files that are there."""
SEEDS = 5
OURS = "stream-rnn, no option"


def measure(quick: bool) -> Findings:  # noqa: FBT001 - the one choice there is
    """A row for every recording."""
    folder = Path(os.environ.get("STREAM_RNN_DATA", ROOT.parent / "shared" / "data"))
    rows, costs, goals = [], [], []
    for path in sorted(folder.glob("*.npz")):
        recording = read_table(path)
        found: dict[str, list[float]] = {}
        for seed in range(1 if quick else SEEDS):
            say(f"bench_decoding: {path.stem}, seed {seed}")
            scores, cost = fitted(recording, seed, epochs=2 if quick else None)
            for name, value in figures(scores).items():
                found.setdefault(name, []).append(value)
            costs.append(Row(path.stem, f"seed {seed}", cost))
        for name, values in found.items():
            rows.append(Row(f"{path.stem}, {name}", OURS, spread(values)))
            if name in GOALS.get(path.stem, {}):
                mean, least = float(np.mean(values)), GOALS[path.stem][name]
                goals.append(Goal(f"test {name}, {path.stem}", mean, least, "at least"))
    absent = {} if rows else {"recordings": f"no .npz in {folder}"}
    return Findings(tables=(score_table(rows), cost_table(costs)), goals=tuple(goals), skipped=absent)


def fitted(recording: Recording, seed: int, epochs: int | None) -> tuple[Scores, dict[str, float]]:
    """Scores of one fit with no option but the seed, and what it took."""
    chosen = {choice.name: choice.value for choice in choices([recording])}
    if epochs is not None:
        chosen["epochs"] = epochs
    began = time.perf_counter()
    model = fit([recording], Options(seed=seed, **chosen), lambda _: None).model  # type: ignore[arg-type]
    cost = {"seconds": time.perf_counter() - began, "weights": float(model.weights.size)}
    return score(decode(Predictor(model), recording, "test"), recording.y_names), cost


def figures(scores: Scores) -> dict[str, float]:
    """R2 by output, their mean, and that of the median recording where there are several."""
    each = scores.r2 if len(scores.r2) > 1 else {}
    named = {**each, "R2": scores.r2_mean, "median recording": scores.r2_median}
    return {name: value for name, value in named.items() if value is not None}


def spread(values: list[float]) -> dict[str, float]:
    """Mean, least and most."""
    return {"mean": float(np.mean(values)), "least": min(values), "most": max(values)}


def score_table(rows: list[Row]) -> Table:
    """What is reached."""
    return Table(
        title="R2 on the test rows",
        unit="share of the variance",
        ours=OURS,
        rows=tuple(rows),
        better="higher",
        ratios=False,
        note=f"Over {SEEDS} seeds. Options are chosen from the training rows; test rows were not looked at.",
    )


def cost_table(rows: list[Row]) -> Table:
    """What it takes."""
    return Table(
        title="Time of a fit, and its weights", unit="s / number", ours=OURS, rows=tuple(rows), ratios=False
    )


if __name__ == "__main__":
    main("bench.bench_decoding", __doc__, measure, pinned=False, page=PAGE)
