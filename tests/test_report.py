"""Reports: what is written is whole, escaped, self-contained, readable and the same every time."""

import errno
import io
import itertools
import math
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from striate.core.errors import InputError
from striate.report import html, plots, style
from striate.report.records import (
    Code,
    Emphasis,
    Fact,
    Facts,
    Figure,
    Gallery,
    Listing,
    Report,
    Section,
    Strong,
    Table,
    Text,
)
from striate.report.stylesheet import DARK, LIGHT

EVIL = "<script>alert('x')</script> \"q\" & $\\alpha$ \x1b[31m \u202e \ud800 猫 -->"
RANDOM = np.random.Generator(np.random.Philox(7))
VOID = {"meta", "img", "br", "hr", "link", "input", "path", "use", "image", "rect"}


class Outline(HTMLParser):
    """Reads a page strictly enough to see its tags, ids, text, and whether elements are closed in order."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.words, self.faults = [], [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.words.append(data)


def _png():
    stream = io.BytesIO()
    Image.new("RGB", (3, 2), (200, 10, 10)).save(stream, "PNG")
    return stream.getvalue()


def _figures(name="network"):
    curve = {"step": [0, 50, 100], "train_error": [0.9, 0.3, 0.1], "test_error": [0.9, 0.4, 0.3]}
    curve |= {"train_loss": [2.3, 0.5, 0.0], "test_loss": [2.3, math.nan, 0.7]}
    signal = np.sin(np.arange(40) / 5)
    classes = [name, "other", "third"]
    rows = [{"low": 0.0, "high": 0.5, "count": 0, "confidence": None, "accuracy": None}]
    rows += [{"low": 0.5, "high": 1.0, "count": 4, "confidence": 0.8, "accuracy": 0.5}]
    return {
        "error_curves": plots.error_curves({name: curve, "b": curve}, name),
        "loss_curves": plots.loss_curves({name: curve}, name),
        "learning_rate": plots.learning_rate([0, 1, 2], [0.1, 0.05, 0.0], name),
        "confusion_matrix": plots.confusion_matrix([[5, 1, 0], [0, 7, 2], [0, 0, 0]], classes, name),
        "confusion_matrix_100": plots.confusion_matrix(np.eye(100, dtype=int) * 9, [f"{name}{n}" for n in range(100)]),
        "calibration": plots.calibration(rows, 0.3, name),
        "kernels_stems": plots.kernels(RANDOM.normal(size=(15, 1, 3)), name),
        "kernels_maps": plots.kernels(RANDOM.normal(size=(15, 15, 3)), name),
        "kernels_colour": plots.kernels(RANDOM.normal(size=(70, 3, 7, 7)), name),
        "kernels_2d": plots.kernels(RANDOM.normal(size=(5, 4, 3, 3)), name),
        "kernels_3d": plots.kernels(RANDOM.normal(size=(2, 1, 3, 3, 3)), name),
        "weight_matrix": plots.weight_matrix({name: np.eye(40), "dense": RANDOM.normal(size=(40, 40))}, name),
        "weight_matrix_tall": plots.weight_matrix({name: RANDOM.normal(size=(285, 40)), "zero": np.zeros((285, 40))}),
        "receptive_fields": plots.receptive_fields(signal, [(name, [(18, 20)]), ("conv2", [(-3, 22)])], name),
        "receptive_fields_2d": plots.receptive_fields(RANDOM.random((9, 9)), [(name, [(-2, 4), (2, 6)])], name),
        "shift_curve": plots.shift_curve([-1, 0, 1], {name: [0.5, 0.1, 0.5], "b": [0.9, 0.2, 0.9]}, name),
        "examples": plots.examples([plots.Example(signal, name, "other", 0.98), plots.Example(signal, "a", "a")], name),
        "examples_2d": plots.examples([plots.Example(RANDOM.random((3, 8, 8)), name, "other", 0.9)] * 7, name),
        "class_counts": plots.class_counts({name: [5, 3, 0], "test": [1, 1, 1]}, classes, name),
        "class_counts_100": plots.class_counts({name: list(range(100))}, [str(n) for n in range(100)], name),
        "error_bars": plots.error_bars({name: [0.1, 0.2], "b": [0.4]}, name),
    }


@pytest.fixture(scope="module")
def figures():
    return _figures()


@pytest.fixture(scope="module")
def evil_page():
    table = Table((EVIL, "n"), ((EVIL, 1), ("b", 2.5)), caption=EVIL, highlight=0)
    png = Figure(_png(), EVIL, EVIL)
    blocks = (
        Text((EVIL, (EVIL, Code(EVIL), Strong(EVIL), Emphasis(EVIL)))),
        Listing(EVIL, EVIL),
        table,
        Facts((Fact(EVIL, EVIL, EVIL),)),
        Gallery((png, *_figures(EVIL).values()), EVIL),
        png,
    )
    return html.render(Report(EVIL, EVIL, (Section(EVIL, blocks), Section("MNIST-1D", ())), language='en"><script>'))


def test_nothing_from_a_record_becomes_markup(evil_page):
    outline = Outline(evil_page)
    assert outline.faults == []
    assert outline.open == []
    assert not [tag for tag, _ in outline.tags if tag in {"script", "iframe", "object", "link", "foreignobject"}]
    assert not [name for _, attributes in outline.tags for name in attributes if name.startswith("on")]
    assert "<script>alert('x')</script>" in "".join(outline.words)


def test_control_characters_and_overrides_reach_no_page(evil_page):
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e\ud800]", evil_page)
    evil_page.encode("utf-8")


def test_a_page_loads_nothing_and_says_so_to_the_browser(evil_page):
    assert not re.search(r"(?i)\b(https?|ftp|file):|@import|src=\"(?!data:image/png;base64,)|url\((?!#)", evil_page)
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in evil_page
    targets = [attributes["href"] for _, attributes in Outline(evil_page).tags if "href" in attributes]
    assert all(target.startswith(("#", "data:image/png;base64,")) for target in targets)


def test_ids_are_unique_and_every_reference_has_its_target(evil_page):
    outline = Outline(evil_page)
    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    references = {
        attributes["href"][1:] for _, attributes in outline.tags if attributes.get("href", "").startswith("#")
    }
    references |= set(re.findall(r"url\(#([^)]+)\)", evil_page))
    references |= {attributes["aria-labelledby"] for _, attributes in outline.tags if "aria-labelledby" in attributes}
    assert references <= set(ids)


def test_a_page_is_accessible(evil_page):
    tags = Outline(evil_page).tags
    headings = [tag for tag, _ in tags if re.fullmatch(r"h\d", tag)]
    assert headings == ["h1", "h2", "h2"]
    assert next(attributes["lang"] for tag, attributes in tags if tag == "html")
    assert all(attributes.get("alt") for tag, attributes in tags if tag == "img")
    pictures = [attributes for tag, attributes in tags if tag == "svg" and attributes.get("aria-hidden") != "true"]
    assert pictures
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in pictures)
    assert {attributes.get("scope") for tag, attributes in tags if tag == "th"} == {"col", "row"}


def _luminance(colour):
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one, other):
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_every_text_colour_has_a_contrast_of_four_and_a_half(colours):
    for name in ("ink", "muted", "accent", *(f"series-{number}" for number in range(1, 7))):
        assert _contrast(colours[name], colours["paper"]) >= 4.5, name
    for ground in ("card", "tint"):
        assert _contrast(colours["ink"], colours[ground]) >= 4.5
    assert LIGHT.keys() == DARK.keys()


def test_rendering_is_deterministic(figures):
    report = Report("a", "b", (Section("c", tuple(figures.values())),))
    again = Report("a", "b", (Section("c", tuple(figures.values())),))
    assert html.render(report) == html.render(again)
    curve = {"step": [0, 1], "train_error": [0.5, 0.2]}
    assert plots.error_curves({"a": curve}) == plots.error_curves({"a": curve})
    kernels = np.arange(90.0).reshape(10, 3, 3)
    assert plots.kernels(kernels) == plots.kernels(kernels)


def test_every_plot_is_small_standalone_svg_with_words_for_who_cannot_see_it(figures):
    for name, figure in figures.items():
        root = ElementTree.fromstring(figure.image)
        assert root.tag == "{http://www.w3.org/2000/svg}svg", name
        assert len(figure.alt) > 20, name
        assert len(figure.image) < 300_000, name
        assert b"<script" not in figure.image, name
        assert b"DejaVu" not in figure.image, name


def test_colours_of_a_figure_follow_the_page_with_the_light_scheme_as_fallback(figures):
    svg = figures["error_curves"].image.decode()
    assert f"var(--series-1, {LIGHT['series-1']})" in svg
    assert f"var(--muted, {LIGHT['muted']})" in svg
    assert not re.search(r"(?:fill|stroke):\s*#(?!ffffff)", svg)


def test_drawing_leaves_the_settings_of_matplotlib_alone():
    import matplotlib

    before = dict(matplotlib.rcParams)
    plots.learning_rate([0, 1], [0.1, 0.2])
    assert dict(matplotlib.rcParams) == before


def test_plots_say_what_they_show_in_numbers(figures):
    assert "network ends at 30.0 %" in figures["error_curves"].alt
    assert "network sees 3, conv2 sees 26" in figures["receptive_fields"].alt
    assert "40 of 1,600 not zero, 1 distinct" in figures["weight_matrix"].alt
    assert "1,600 of 1,600 not zero, 1,600 distinct" in figures["weight_matrix"].alt
    assert "network: 15.0 % ± 7.1" in figures["error_bars"].alt
    assert "80.0 % on the diagonal" in figures["confusion_matrix"].alt


def test_zeros_are_blank_and_signs_have_their_hue():
    colours = style.signed_colours([[-2.0, 0.0, 1e-9, 2.0, math.nan]])
    assert colours[0, :, 3].tolist() == pytest.approx([1.0, 0.0, 0.1, 1.0, 0.0])
    assert colours[0, 0, 2] > colours[0, 0, 0]
    assert colours[0, 3, 0] > colours[0, 3, 2]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.confusion_matrix(np.eye(2), ["a"]), r"\(2, 2\) came with 1 classes"),
        (lambda: plots.kernels(np.zeros((2, 2))), r"shape \(2, 2\) came"),
        (lambda: plots.weight_matrix({"a": np.zeros(3)}), "two axes were expected"),
        (lambda: plots.receptive_fields(np.zeros(4), [("a", [(0, 1), (0, 1)])]), "along 1 axes"),
        (lambda: plots.examples([]), "no examples"),
        (lambda: Figure(b"GIF89a", "", "x"), "SVG or PNG"),
        (lambda: Figure(_png(), "", " "), "alt text"),
        (lambda: Table(("a", "b"), ((1,),)), "1 cells"),
        (lambda: Table(("a",), ((1,),), highlight=1), "row 1"),
        (lambda: Table(("a",), ((1,),), ("left", "left")), "2 alignments"),
    ],
)
def test_what_cannot_be_shown_is_refused(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(-100, 100), max_size=8), st.floats(0.01, 30))
def test_labels_are_spread_in_order_and_stay_where_there_is_room(places, gap):
    moved = style.spread(places, gap)
    ranked = [moved[number] for number in sorted(range(len(places)), key=lambda n: (places[n], n))]
    assert all(after - before >= gap - 1e-9 for before, after in itertools.pairwise(ranked))
    assert sum(moved) == pytest.approx(sum(places), abs=1e-6)
    if all(b - a > gap for a, b in itertools.pairwise(sorted(places))):
        assert moved == pytest.approx(places)


SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:x="http://www.w3.org/1999/xlink" viewBox="0 0 9 9">{}</svg>'


@pytest.mark.parametrize(
    "inside",
    [
        "<script>1</script>",
        "<foreignObject/>",
        "<style>*{}</style>",
        '<path onclick="x()"/>',
        '<path ONLOAD="x()"/>',
        '<use x:href="http://a/b#c"/>',
        '<image href="javascript:x"/>',
        '<image href="data:image/svg+xml;base64,AA"/>',
        '<path style="fill:url(http://a)"/>',
        "<path fill=\"URL( '//a' )\"/>",
        "<a/>",
        "<path>",
    ],
)
def test_pictures_that_could_act_or_load_are_refused(inside):
    report = Report("t", "", (Section("s", (Figure(SVG.format(inside).encode(), "", "alt"),)),))
    with pytest.raises(ValueError, match="figure"):
        html.render(report)


def test_entities_in_a_picture_are_refused():
    bomb = b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a "aaaa">]>' + SVG.format("<text>&a;</text>").encode()
    with pytest.raises(ValueError, match="entities"):
        html.render(Report("t", "", (Section("s", (Figure(bomb, "", "alt"),)),)))


def test_writing_replaces_the_file_whole_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    report = Report("t", "s", (Section("x", (Text("a\n\nb"),)),))
    html.write(report, path)
    assert path.read_text(encoding="utf-8") == html.render(report)
    assert list(tmp_path.iterdir()) == [path]
    mask = os.umask(0o022)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_keeps_the_old_file_and_names_the_cause(tmp_path, monkeypatch, call):
    path = tmp_path / "report.html"
    path.write_text("old")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(*((os, "fsync") if call == "fsync" else (html.Path, "replace")), full)
    with pytest.raises(InputError, match=r"report\.html: the report cannot be written: No space left on device; make"):
        html.write(Report("t", "", ()), path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="No such file or directory"):
        html.write(Report("t", "", ()), tmp_path / "no" / "report.html")


def test_a_report_of_a_demo_stays_small(figures):
    page = html.render(Report("t", "s", (Section("x", tuple(figures.values())),)))
    assert len(page.encode()) < 2_000_000


@pytest.mark.slow
def test_chromium_opens_the_page_and_the_figures_are_there(tmp_path, figures):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine")
    path, shots = tmp_path / "report.html", {}
    html.write(Report("A title", "s", (Section("x", (figures["class_counts"], figures["kernels_stems"])),)), path)
    for scheme, flag in (("light", 1), ("dark", 0)):
        shots[scheme] = tmp_path / f"{scheme}.png"
        command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += [f"--user-data-dir={tmp_path / scheme}", "--window-size=1000,1400"]
        command += [f"--blink-settings=preferredColorScheme={flag}", f"--screenshot={shots[scheme]}", path.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    for scheme, colours in (("light", LIGHT), ("dark", DARK)):
        pixels = np.asarray(Image.open(shots[scheme]).convert("RGB"), dtype=np.int64)
        for name in ("paper", "series-1", "series-2"):
            colour = [int(colours[name][place : place + 2], 16) for place in (1, 3, 5)]
            assert (np.abs(pixels - colour).max(axis=-1) <= 6).sum() > 20, (scheme, name)
