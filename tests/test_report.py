"""The page: what it shows, that it needs nothing from elsewhere, and how a browser shows it."""

import html
import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import made_up
import pytest

from bnstudy import claims, figures, report, results
from bnstudy.claims import Result, greater, within
from bnstudy.results import Run

ROOT = Path(__file__).parent.parent
SCRIPTS = ROOT / "scripts"
HOSTILE = "<img src=x onerror=alert(1)>&\"'"
VOID = {"meta", "link", "img", "br", "rect", "path", "line", "circle"}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((path for name in BROWSERS if (path := shutil.which(name))), None)
needs_browser = pytest.mark.skipif(
    not BROWSER, reason=f"no headless browser: none of {', '.join(BROWSERS)} is installed"
)
# What may not be needed to write the page: importing any of these fails. At most one figure is
# drawn, because tests/test_figures.py draws them all.
BLOCKED = """
import sys, runpy
sys.modules |= dict.fromkeys(["torch", "hydra", "wandb", "omegaconf"])
from bnstudy import figures
found = figures.discover()
figures.discover = lambda: {name: found[name] for name in drawn}
"""


class Page(HTMLParser):
    """The elements of a page, in order; an AssertionError where they do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"{tag} has an attribute twice"
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        """The attributes of every element of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with made-up runs at scale demo, one of them with a hostile name."""
    home = tmp_path_factory.mktemp("home")
    root = home / "results" / "runs" / "demo"
    made_up.write_runs(root, seeds=(0, 1))
    hostile = root / "deep_linear" / HOSTILE
    header = made_up.make_header("deep_linear", "batch", 1e-6, seed=7)
    header |= {"git": HOSTILE, "data": {"name": HOSTILE}}
    lines = [{"step": 0, "time": 0.5, "train/loss": math.inf}]
    made_up.write_record(hostile, header, lines, "diverged")
    return home


@pytest.fixture(scope="module")
def written(home: Path) -> Path:
    """The folder of the page, written by the command where torch cannot be imported."""
    done = command(home, drawn=["figure4"])
    folder = home / "results" / "reports" / "demo"
    names = ("report.html", "claims.json", "claims.md")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"results/reports/demo/{name}" for name in names]
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    return folder


@pytest.fixture(scope="module")
def page(written: Path) -> Page:
    """The page, parsed."""
    return Page((written / "report.html").read_text(encoding="utf-8"))


def command(
    cwd: Path, *arguments: str, drawn: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """The command in a folder, where torch cannot be imported and few figures are to be drawn."""
    program = (
        f"drawn = {drawn!r}{BLOCKED}"
        f"sys.path.insert(0, {str(SCRIPTS)!r})\n"
        f"runpy.run_path({str(SCRIPTS / 'report.py')!r}, run_name='__main__')"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def write(directory: Path, norm: str = "batch", **header: object) -> Run:
    """A run of a VGG with a line or two."""
    lines = [
        {"step": 0, "time": 0.25, "train/loss": 2.0, "test/accuracy": 0.1},
        {"step": 1, "time": 12.5, "train/loss": math.inf, "test/accuracy": 0.5},
    ]
    made = made_up.make_header("vgg", norm, 0.1, seed=3) | header
    return results.load_run(made_up.write_record(directory, made, lines, "diverged"))


def result(verdict: str, topic: str = "Topic", **numbers: float) -> Result:
    """A result with this verdict."""
    primary = topic == claims.CLAIMS[0].topic
    claim = replace(claims.CLAIMS[0], topic=topic, rule=greater(2), primary=primary)
    return Result(claim, verdict, **numbers)


# The page


def test_the_page_is_well_formed(page: Page) -> None:
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == len(page.all("main")) == 1
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    headings = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert headings[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(headings))


def test_the_page_needs_nothing_from_elsewhere(page: Page, written: Path) -> None:
    for tag, attributes in page.elements:
        for key in {"src", "href", "srcset", "poster", "data", "xlink:href"} & set(attributes):
            allowed = ("#", "https://") if tag == "a" else ("data:",)
            assert attributes[key].startswith(allowed), (tag, attributes[key])
    assert not page.all("script")
    text = (written / "report.html").read_text(encoding="utf-8")
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style and "@import" not in style
    (policy,) = [m for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy["content"].startswith("default-src 'none'")


def test_every_link_on_the_page_has_an_end(page: Page) -> None:
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    inner = [a["href"][1:] for a in page.all("a") if a["href"].startswith("#")]
    assert set(inner) <= ids
    assert {claim.name for claim in claims.CLAIMS} <= set(inner)


def test_the_page_shows_every_claim_with_verdict_rule_and_numbers(
    page: Page, written: Path
) -> None:
    judged = json.loads((written / "claims.json").read_text(encoding="utf-8"))
    shown = page.text.replace("\u2060", "").replace("\u00a0", " ")
    assert [entry["name"] for entry in judged] == [claim.name for claim in claims.CLAIMS]
    for claim in claims.CLAIMS:
        assert claim.title in shown
        assert claim.rule_in_words in shown
    assert "n = 2" in shown
    assert {entry["verdict"] for entry in judged} == {claims.NO_RUNS, claims.NOT_MEASURABLE}
    assert claims.COVERAGE in shown
    assert shown.index(claims.CLAIMS[0].title) < shown.index("(exploratory)")
    markdown = (written / "claims.md").read_text(encoding="utf-8")
    assert all(claim.title in markdown for claim in claims.CLAIMS)


def test_verdicts_have_a_word_and_a_sign_beside_their_colour(page: Page) -> None:
    counted = {verdict: page.text.count(f"{sign} {verdict}") for verdict, sign in
               report.SYMBOLS.items()}  # fmt: skip
    assert all(count >= 1 for count in counted.values())
    assert len(set(report.SYMBOLS.values())) == len(claims.VERDICTS)


def test_figures_have_captions_commands_and_words_instead(page: Page, written: Path) -> None:
    (picture,) = page.all("img")
    assert picture["src"].startswith(("data:image/svg+xml;base64,", "data:image/png;base64,"))
    title = figures.title(figures.discover()["figure4"])
    assert picture["alt"].startswith(f"figure4: {title}. Santurkar et al. 2018, figure 4.")
    assert title in page.text
    assert "python scripts/figures.py figure4 --scale demo" in page.text
    assert (written / "report.html").stat().st_size < 2e6


def test_a_hostile_name_is_text(page: Page, written: Path) -> None:
    text = (written / "report.html").read_text(encoding="utf-8")
    assert HOSTILE not in text
    assert "<img src=x" not in text
    assert html.unescape(text).count(HOSTILE) >= 3  # the run's folder, its data, its git revision
    assert page.text.count(HOSTILE) >= 3


def test_the_page_lists_runs_and_what_differs_among_them(page: Page, home: Path) -> None:
    runs = [path.parent.name for path in home.glob("results/runs/demo/*/*/run.jsonl")]
    assert all(name in page.text for name in runs)
    assert f"{len(runs)} runs" in page.text
    assert "diverged" in page.text


def test_the_same_runs_give_the_same_page(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = figures.discover()
    monkeypatch.setattr(figures, "discover", lambda: {"figure4": found["figure4"]})
    runs = {"vgg": results.load_runs("vgg", home / "results" / "runs" / "demo")[:3]}

    def make() -> dict[str, str]:
        return report.make(runs, lambda name: f"draw {name}", lambda names: "make some")

    assert make() == make()


def test_figures_without_runs_are_listed_with_the_command_that_makes_them() -> None:
    figure = figures.discover()["figure4"]
    absent = report.picture("figure4", figure, {}, str, lambda names: f"make {'+'.join(names)}")
    assert (absent.source, absent.command) == ("", "make vgg")
    page = Page(report.render(claims.evaluate({}), [absent], []))
    assert not page.all("img")
    assert "make vgg" in page.text


def test_a_figure_that_fails_is_a_sentence_and_the_others_are_drawn(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(runs: object) -> None:
        raise KeyError("mine has no landscape/loss")

    broken = ModuleType("broken", "A broken figure\n\nIt fails.")
    broken.EXPERIMENTS, broken.draw = ("vgg",), fail
    found = {"broken": broken, "figure4": figures.discover()["figure4"]}
    monkeypatch.setattr(figures, "discover", lambda: found)
    runs = {"vgg": results.load_runs("vgg", home / "results" / "runs" / "demo")[:1]}
    kept: dict[str, bytes] = {}
    files = report.make(runs, lambda name: f"draw {name}", str, kept.__setitem__)
    page = Page(files["report.html"])
    assert len(page.all("img")) == 1
    says = "broken cannot be drawn from these runs (KeyError: mine has no landscape/loss)."
    assert says in page.text
    assert list(kept) == ["figure4"]
    assert kept["figure4"].startswith(b"\x89PNG")


def test_one_more_claim_is_one_more_row(monkeypatch: pytest.MonkeyPatch) -> None:
    more = replace(claims.CLAIMS[0], name="more", title="One more", topic="Elsewhere")
    monkeypatch.setattr(claims, "CLAIMS", (*claims.CLAIMS, more))
    page = Page(report.render(claims.evaluate({}), [], []))
    assert {"id": "more", "role": "row"} in page.all("tr")
    assert "One more." in page.text and "Elsewhere" in page.text


# What the page is made of


def test_the_answer_counts_verdicts_the_primary_claims_first() -> None:
    judged = [
        result(claims.SUPPORTED),
        result(claims.SUPPORTED),
        result(claims.CONTRADICTED),
        result(claims.NO_RUNS),
        result(claims.SUGGESTED, claims.ADDED),
        result(claims.NO_EFFECT, claims.OTHERS[0]),
        result(claims.UNDECIDED, claims.CLAIMS[0].topic),
    ]
    assert report.answer(judged) == [
        "Of the 1 primary claim, named before the runs, 1 is undecided.",
        "Of the 4 exploratory claims of the paper, 2 are supported, 1 is contradicted and 1 has no "
        "runs so far.",
        "Of the 1 exploratory claim of this study, 1 is suggested.",
        "Of the 1 exploratory claim of others on BatchNorm, 1 shows no effect.",
    ]
    assert report.counts(judged) == {
        claims.SUPPORTED: 2,
        claims.SUGGESTED: 1,
        claims.NO_EFFECT: 1,
        claims.CONTRADICTED: 1,
        claims.UNDECIDED: 1,
        claims.NO_RUNS: 1,
    }
    assert report.answer([]) == []
    unmet = result(claims.CONTRADICTED)
    unmet = replace(unmet, claim=replace(unmet.claim, rule=greater(paper=0.5)))
    assert report.answer([unmet]) == [
        "Of the 1 exploratory claim of the paper, 1 is contradicted.",
        "Of the contradicted claims 1 fails by the paper's own numbers too.",
    ]


def test_every_verdict_has_a_sign_and_words_for_one_and_for_several() -> None:
    assert list(report.SYMBOLS) == list(report.TALLIES) == list(claims.VERDICTS)


def test_a_plot_places_ratios_on_a_log_axis() -> None:
    seeds = {0: 1.0, 1: 2.0}
    drawn = report.plot(result(claims.SUGGESTED, value=2.0, low=1.0, high=4.0, by_seed=seeds))
    assert drawn is not None and drawn.interval is not None
    low, high = drawn.interval
    assert drawn.value == pytest.approx((low + high) / 2, abs=0.02)
    assert drawn.claimed == (drawn.value, report.WIDTH)
    assert drawn.zone is not None
    assert sum(drawn.zone) / 2 == pytest.approx(drawn.value, abs=0.02)
    assert drawn.paper is None


def test_a_plot_places_other_numbers_linearly_and_infinite_ones_at_the_end() -> None:
    rule = within(-1, 1, paper=0.0)
    judged = result(claims.UNDECIDED, value=math.inf)
    judged = replace(judged, claim=replace(judged.claim, rule=rule))
    drawn = report.plot(judged)
    assert drawn is not None
    assert drawn.value == report.WIDTH
    assert drawn.paper == pytest.approx(report.WIDTH / 2)
    assert sum(drawn.claimed) == pytest.approx(report.WIDTH, abs=0.02)
    assert drawn.interval is None
    assert report.plot(result(claims.NO_RUNS)) is None


def test_numbers_with_exponents_are_not_broken() -> None:
    assert report.whole("lr 1e-6, pre-activation") == "lr 1e-\u20606, pre-activation"


def test_the_facts_of_a_run(tmp_path: Path) -> None:
    assert report.facts(write(tmp_path / "run")) == {
        "experiment": "vgg",
        "norm": "BatchNorm",
        "lr": "0.1",
        "seed": "3",
        "outcome": "diverged",
        "steps": "2 of 60",
        "seconds": "12.5",
        "loss": "∞",
        "accuracy": "50",
        "name": "run",
    }
    assert report.facts(write(tmp_path / "other", "new_norm"))["norm"] == "new_norm"


def test_provenance_tells_where_runs_differ(tmp_path: Path) -> None:
    versions = {"python": "3.11"}
    runs = [
        write(tmp_path / "a", git="abc", device="cpu", versions=versions),
        write(tmp_path / "b", git="abc", device="cuda", versions=versions),
        write(tmp_path / "c", git="abc", device="cuda", started="2026-11-23T11:25:26+0000"),
    ]
    del runs[0].header["started"], runs[2].header["versions"]
    told = report.provenance(runs)
    assert told["git revision"] == {"abc": 3}
    assert told["device"] == {"cpu": 1, "cuda": 2}
    assert told["python"] == {"3.11": 2}
    assert told["started"] == {"not recorded": 1, "2026-11-25": 1, "2026-11-23": 1}


def test_a_failure_leaves_the_earlier_page_as_it_was(tmp_path: Path) -> None:
    report.write({"a.html": "old", "b.json": "old"}, tmp_path)
    with pytest.raises(UnicodeEncodeError):
        report.write({"a.html": "new", "b.json": "\ud800"}, tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "a.html": "old",
        "b.json": "old",
    }


# The command


def test_without_runs_the_command_says_how_to_make_some(tmp_path: Path) -> None:
    done = command(tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    (sentence,) = done.stderr.splitlines()
    assert "There are no runs in results/runs; make some: python scripts/train.py" in sentence


def test_a_folder_that_cannot_be_written_to_is_refused(home: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = command(home, "--scale", "demo", "--out", str(tmp_path / "file" / "out"))
    assert done.returncode == 1
    (sentence,) = done.stderr.splitlines()
    assert sentence.endswith("choose another with --out.")


def test_runs_from_elsewhere_are_named_in_the_commands(home: Path, tmp_path: Path) -> None:
    root = home / "results" / "runs" / "demo"
    arguments = ("--runs", str(root), "--out", str(tmp_path / "page"))
    done = command(tmp_path, *arguments, drawn=["figure4"])
    assert (done.returncode, done.stderr) == (0, "")
    text = (tmp_path / "page" / "report.html").read_text(encoding="utf-8")
    assert f"python scripts/figures.py figure4 --runs {shlex.quote(str(root))}" in text


# In a browser


def browse(page: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A page in a headless browser."""
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr")
    return subprocess.run(
        [str(BROWSER), *flags, *arguments, page.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@needs_browser
def test_a_browser_has_nothing_to_complain_of(written: Path) -> None:
    done = browse(written / "report.html", "--dump-dom")
    assert "Why does batch normalization help?" in done.stdout
    assert not [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


@needs_browser
def test_the_page_does_not_scroll_sideways(written: Path, tmp_path: Path) -> None:
    closed = (written / "report.html").read_text(encoding="utf-8")
    opened = closed.replace("<details", "<details open")
    # A window cannot be as narrow as a phone, a frame can.
    frames = [
        f'<iframe style="width: {width}px; height: 90000px; border: 0" '
        f'srcdoc="{html.escape(text)}" onload="document.title += ` ${{this.contentWindow.innerWidth'
        '}:${this.contentDocument.scrollingElement.scrollWidth}`"></iframe>'
        for width in (320, 390, 768, 1280)
        for text in (closed, opened)
    ]
    (tmp_path / "frames.html").write_text("".join(frames), encoding="utf-8")
    done = browse(tmp_path / "frames.html", "--dump-dom", "--hide-scrollbars")
    found = re.search(r"<title>(.*?)</title>", done.stdout)
    assert found, done.stderr
    expected = sorted(f"{width}:{width}" for width in (320, 390, 768, 1280) for _ in range(2))
    assert sorted(found[1].split()) == expected
