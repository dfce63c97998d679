"""The page of a report: every value is there as text, nothing comes from elsewhere, names are text."""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import numpy as np
import pytest

from stream_rnn.cli import main
from stream_rnn.errors import ConfigError
from stream_rnn.model.file import save_model
from stream_rnn.model.model import Channel, Model
from stream_rnn.predictor import Predictor, with_golden
from stream_rnn.recordings.simulated import simulate
from stream_rnn.recordings.table import Recording, write_table
from stream_rnn.report import style
from stream_rnn.report.findings import Findings, find
from stream_rnn.report.of_errors import lag
from stream_rnn.report.page import TITLES, page
from stream_rnn.report.pictures import pictures_of
from stream_rnn.report.style import DARK, LIGHT, draw, for_page
from stream_rnn.training.evaluate import Scores, decode
from tests.small import small_model

pytest.importorskip("matplotlib", reason="matplotlib draws reports: pip install 'stream-rnn[report]'")

CORTEX = simulate(60, 5, seed=4)
FACTS = {"model": "0123", "rate": "100 samples a second"}
EMPTY = Scores(r2={}, rmse={}, correlation={}, r2_mean=None, rows=0)
KALMAN = Scores(r2={"v0": 0.11, "v1": 0.33}, rmse={}, correlation={}, r2_mean=0.22, rows=1200)
OTHERS = (("Kalman filter", KALMAN),)
VOID = {"meta", "link", "br", "img", "path", "use"}


class Elements(HTMLParser):
    """Every element of a page, and whether each one that was opened was closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def with_provenance(model: Model) -> Model:
    told: dict[str, str | int | float | bool | list[str | float | None] | None] = {
        "recordings": ["cortex"],
        "option_seed": 41,
        "option_units": 128,
        "numpy": "2.1.0",
        "best_epoch": 2,
        "history_loss": [0.5, 0.25, 0.2],
        "history_validation_r2": [None, 0.75, 0.5],
    }
    return msgspec.structs.replace(model, card=msgspec.structs.replace(model.card, provenance=told))


def found_of(
    model: Model, recording: Recording = CORTEX, others: tuple[tuple[str, Scores], ...] = ()
) -> Findings:
    predictor = Predictor(model)
    return find(predictor, recording, decode(predictor, recording, "test"), "test", others=others)


def page_of(found: Findings) -> str:
    return page(found, pictures_of(found), FACTS)


def two_recordings(outputs: int) -> Recording:
    number = (np.arange(len(CORTEX.x)) >= 5400).astype(np.int32)
    y = np.repeat(CORTEX.y, 5, axis=1)[:, :outputs]
    y[5000:5020] = np.nan
    return msgspec.structs.replace(
        CORTEX, recording=number, recording_names=("one", "two"), y=y,
        y_names=tuple(f"joint{k}" for k in range(outputs)), y_units=("degrees",) * outputs,
    )  # fmt: skip


def model_of(outputs: int) -> Model:
    model = small_model(outputs=outputs)
    names = tuple(Channel(f"joint{k}", "degrees") for k in range(outputs))
    return msgspec.structs.replace(model, card=msgspec.structs.replace(model.card, outputs=names))


@pytest.fixture(scope="module")
def velocity() -> tuple[Findings, str]:
    found = found_of(with_provenance(small_model()), others=OTHERS)
    return found, page_of(found)


def test_every_section_is_there_under_its_heading(velocity: tuple[Findings, str]) -> None:
    headings = re.findall(r"<h2[^>]*>([^<]*)</h2>", velocity[1])
    assert headings == [title for name, title in TITLES.items() if name != "recordings"]


def test_every_value_is_there_as_text(velocity: tuple[Findings, str]) -> None:
    found, text = velocity[0], Elements(velocity[1]).text
    scores = found.scores
    told = [scores.r2_mean, *scores.r2.values(), *scores.correlation.values(), *found.ablation.mean]
    assert [value for value in told if value is not None and f"{abs(value):.3f}" not in text] == []
    for value in ("unit0", "v1", "cm/s", "Kalman filter", "0.220", "0.330", "128", "2.1.0", "cortex"):
        assert value in text
    assert f"Model {found.model.hash} decodes v0, v1 from 5 inputs." in text


def test_page_needs_nothing_from_elsewhere(velocity: tuple[Findings, str]) -> None:
    elements = Elements(velocity[1])
    assert "://" not in velocity[1]
    assert not {"script", "link", "iframe", "object", "img"} & set(elements.tags)
    hrefs = [value for name, value in elements.attributes if name in {"href", "src"}]
    ids = [value for name, value in elements.attributes if name == "id"]
    assert {str(value).removeprefix("#") for value in hrefs} <= set(ids)
    assert len(ids) == len(set(ids))


def test_every_picture_says_what_is_to_be_seen(velocity: tuple[Findings, str]) -> None:
    pictures = re.findall(r"<svg ([^>]*)>", velocity[1])
    assert len(pictures) == 7
    assert all('role="img"' in attributes and 'aria-label="' in attributes for attributes in pictures)


def test_figures_take_every_colour_from_the_page(velocity: tuple[Findings, str]) -> None:
    svgs = re.findall(r"<svg .*?</svg>", velocity[1], re.DOTALL)
    assert (
        re.findall(r"#[0-9a-f]{3,6}\b(?!\")", " ".join(re.sub(r'(href="|url\()#[^")]*', "", s) for s in svgs))
        == []
    )
    assert LIGHT.keys() == DARK.keys()
    for name in LIGHT:
        assert velocity[1].count(f"--{name}: ") == 2


def test_names_are_text_and_never_markup() -> None:
    evil = '<b>&"x"</b>$1'
    model = with_provenance(small_model())
    card = msgspec.structs.replace(
        model.card,
        inputs=tuple(Channel(f"{evil}{i}") for i in range(5)),
        outputs=(Channel(f"{evil}v0", "cm/s"), Channel(f"{evil}v1", "cm/s")),
        provenance={"recordings": [evil], evil: evil},
    )
    recording = msgspec.structs.replace(CORTEX, name=evil, recording_names=(evil,))
    found = found_of(msgspec.structs.replace(model, card=card), recording, ((evil, EMPTY),))
    text = page_of(found)
    assert "<b>" not in text
    assert f"{evil}3" in Elements(text).text


@pytest.mark.parametrize("outputs", [1, 7])
def test_page_tells_of_one_output_and_of_many_in_several_recordings(outputs: int) -> None:
    found = found_of(model_of(outputs), two_recordings(outputs))
    text = page_of(found)
    assert '<h2 id="recordings-title">By recording</h2>' in text
    assert f"joint{outputs - 1}" in text
    assert "Not recorded in this model." in text
    assert "How it was made is not recorded in this model." in text


def test_a_second_report_has_the_same_bytes(velocity: tuple[Findings, str]) -> None:
    assert page_of(found_of(velocity[0].model, others=OTHERS)) == velocity[1]
    first, second = (draw("lag", lambda figure: lag(figure, velocity[0]), 4, 3) for _ in range(2))
    assert first == second


def test_a_single_row_makes_a_page() -> None:
    recording = msgspec.structs.replace(CORTEX, is_test=np.arange(len(CORTEX.x)) == 5)
    assert "No stretch is long enough, or without missing truth." in page_of(
        found_of(small_model(), recording)
    )


def test_figures_of_one_page_do_not_share_names() -> None:
    one = draw("one", lambda figure: figure.subplots().plot([1, 2]), 2, 2).svg
    two = draw("two", lambda figure: figure.subplots().plot([1, 2]), 2, 2).svg
    assert set(re.findall(r' id="([^"]*)"', one)) & set(re.findall(r' id="([^"]*)"', two)) == set()


def test_svg_loses_its_header_and_what_says_when_it_was_made() -> None:
    svg = '<?xml?>\n<svg width="1pt" viewBox="0 0 1 1" xmlns="u">\n <metadata>x</metadata><g id="a"/></svg>\n'
    assert for_page(svg, "n") == '<svg viewBox="0 0 1 1">\n<g/></svg>'


def saved(folder: Path) -> tuple[str, str]:
    model = with_golden(with_provenance(small_model()), np.full((4, 5), 2, dtype=np.float32))
    save_model(model, folder / "m.safetensors")
    write_table(CORTEX, folder / "cortex.npz")
    return str(folder / "m.safetensors"), str(folder / "cortex.npz")


def test_command_writes_the_page_and_says_where_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, recording = saved(tmp_path)
    out = tmp_path / "out" / "first"
    assert main(["evaluate", model, recording, "--report", str(out)]) == 0
    said, size = capsys.readouterr(), (out / "index.html").stat().st_size
    assert said.out.endswith(f"{out}/index.html: report, {size / 1000:.0f} kB, 7 figures beside it\n")
    assert said.err == ""
    assert len(list(out.glob("*.png"))) == 7


def test_json_stays_one_object_beside_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, recording = saved(tmp_path)
    assert main(["evaluate", model, recording, "--json", "--report", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    assert msgspec.json.decode(said.out)["recording"] == "cortex"
    assert "index.html: report, " in said.err


def test_a_folder_that_cannot_be_is_one_line_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    where = tmp_path / "file" / "out"
    assert main(["evaluate", "no.safetensors", "no.npz", "--report", str(where)]) == 2
    expected = f"stream-rnn: {where}: expected a place to write the report, got Not a directory\n"
    assert capsys.readouterr().err == expected


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    message = r"^report: expected matplotlib to draw with, got none: pip install 'stream-rnn\[report\]'$"
    with pytest.raises(ConfigError, match=message):
        style.check_can_draw()
