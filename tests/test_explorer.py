"""The explorer: its numbers are those of the records, and how a browser shows them."""

import json
import math
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import made_up
import numpy as np
import pytest
from browser import Browser, needs_browser

from bnstudy import claims, explorer, results
from bnstudy.app import explore
from bnstudy.figures import style
from bnstudy.measures import activations, landscape, spectrum, train
from bnstudy.measures import internal_covariate_shift as shifts
from bnstudy.results import Run

EXPERIMENTS = ("vgg", "deep_linear", "curvature_deep_linear")
HOSTILE = "<img src=x onerror=alert(1)>"
READY = "document.documentElement.dataset.ready"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made-up runs: some diverged, some interrupted in the middle of a line."""
    folder = tmp_path_factory.mktemp("runs")
    made_up.write_runs(folder, experiments=["vgg"])
    made_up.write_runs(folder, seeds=(0,), experiments=EXPERIMENTS[1:])
    return folder


@pytest.fixture(scope="module")
def runs(root: Path) -> list[Run]:
    return explorer.find_runs(root, [])


@pytest.fixture(scope="module")
def page(root: Path) -> Path:
    """The page of the made-up runs."""
    assert explore.main(["--runs", str(root), "--out", str(root / "page")]) == 0
    return root / "page" / "explorer.html"


def blocks(page: Path) -> list[explorer.Block]:
    """The table of contents of a page and the blocks of its networks."""
    found = re.findall(r'class="data">(.*?)</script>', page.read_text(encoding="utf-8"))
    return [explorer.unpack(text) for text in found]


def rows(column) -> list:
    return [column["all"]] * column["count"] if isinstance(column, dict) else column


def same(shown, measured) -> bool:
    """Whether numbers are those of the record in four digits, what is not finite included."""
    shown, measured = np.array(rows(shown), dtype=float), np.asarray(measured, dtype=float)
    return shown.shape == measured.shape and np.allclose(
        shown, measured, rtol=5.1e-4, atol=0, equal_nan=True
    )


# The numbers


def test_a_number_has_four_digits_whatever_its_size():
    generator = np.random.default_rng(0)
    for value in generator.normal(size=300) * 10.0 ** generator.uniform(-30, 30, 300):
        shown = explorer.number(value)
        assert math.isclose(shown, value, rel_tol=5e-4)
        assert len(re.sub(r"e.*|[-.]", "", str(shown)).strip("0")) <= 4
    for value in (math.nan, math.inf, -math.inf):
        assert float(explorer.number(value)) == value or math.isnan(value)
        json.dumps(explorer.number(value), allow_nan=False)


def test_every_number_on_the_page_is_that_of_the_record(page, runs):
    contents, *networks = blocks(page)
    by_name = {f"{run.experiment}/{run.directory.name}": run for run in runs}
    seen = 0
    for network, block in zip(contents["networks"], networks, strict=True):
        assert network["stride"] == 1
        for facts, shown in zip(network["runs"], block["runs"], strict=True):
            run = by_name[facts["name"]]
            assert (facts["norm"], facts["seed"], facts["outcome"]) == (
                run.norm,
                run.seed,
                run.outcome,
            )
            assert math.isclose(facts["lr"], run.lr) and facts["last"] == train.trained_steps(run)
            check_walk(run, shown["walk"])
            for part, kind in (("cosine", shifts.COSINE), ("l2", shifts.L2), ("norm", shifts.NORM)):
                for i, layer in enumerate(shown["shift"]["layers"]):
                    column = [row[i] for row in rows(shown["shift"][part])]
                    assert same(column, run[f"{kind}/{layer}"][1])
            for layer, histogram in shown["activations"].items():
                check_histogram(run, layer, histogram)
            assert same(shown["training"]["loss"][1], run["train/loss"][1])
            seen += 1
    assert seen == 18 + 4 and seen < len(runs)  # a run of two experiments is there once


def check_walk(run: Run, shown: explorer.Block) -> None:
    steps = run.steps(landscape.LOSS)
    assert shown["steps"] == steps.tolist()
    main = shown["lines"][0]
    for part, key in (("eta", landscape.STEP_SIZE), ("loss", landscape.LOSS)):
        assert same(main[part], run[key][1])
    assert same(main["change"], run[landscape.CHANGE][1])
    assert same(shown["gradient"], run[landscape.GRADIENT][1])
    trained = dict(zip(*(values.tolist() for values in run["train/loss"]), strict=True))
    assert same(shown["start"], [trained[step] for step in steps.tolist()])


def check_histogram(run: Run, layer: str, shown: explorer.Block) -> None:
    steps, counts, ranges = activations.histograms(run, layer)
    assert shown["steps"] == steps.tolist()
    grid = np.linspace(*shown["range"], explorer.CELLS + 1)
    for share, count, bounds in zip(shown["shares"], counts, ranges, strict=True):
        pooled = activations.rebin(count, bounds, grid) / count.sum()
        # The ends of the range are in four digits, so that a spike may fall on the other side.
        assert np.abs(np.cumsum(share) / 1000 - np.cumsum(pooled)).max() < 0.26
        assert sum(share) <= 1000 + explorer.CELLS


def test_sharpness_and_spectrum_are_those_of_their_measures(runs, tmp_path):
    linear = next(run for run in runs if run.experiment == "curvature_deep_linear")
    shown = explorer.series(linear)["sharpness"]
    assert same(shown["top"][1], linear["sharpness/batch_eigenvalues"][1][:, 0])
    assert same(shown["along"][1], linear["batch_sharpness/batch_curvature"][1].mean(axis=1))
    assert same(shown["edge"][1], np.full(len(shown["edge"][0]), 2 / linear.lr))
    cell = made_up.cells("spectra")[0]
    line = {"step": 0, "train/loss": 1.0} | made_up.spectrum("none", np.random.default_rng(0))
    made_up.write_record(tmp_path, made_up.cell_header("spectra", cell, 0), [line])
    run = results.load_run(tmp_path)
    nodes, weights = (run[f"spectrum/batch_{part}"][1][0] for part in ("nodes", "weights"))
    xs, density, _ = spectrum.smoothed_density(nodes, weights)
    spectra = explorer.series(run)["spectrum"]
    assert same(spectra["values"][0], density[:: explorer.SPARSE])
    assert spectra["ranges"][0][0] == explorer.number(xs[0])


def test_a_large_network_keeps_every_kth_probed_step_the_first_and_the_last(runs, monkeypatch):
    own = [run for run in runs if run.experiment == "vgg"]
    stride, whole = explorer.fitting_block(own)
    assert stride == 1
    monkeypatch.setattr(explorer, "LARGEST", len(whole) // 2)
    stride, text = explorer.fitting_block(own)
    assert stride > 1 and len(text) <= len(whole) // 2
    steps = explorer.unpack(text)["runs"][0]["walk"]["steps"]
    all_steps = own[0].steps(landscape.LOSS).tolist()
    assert (steps[0], steps[-1]) == (all_steps[0], all_steps[-1]) and steps[1] == all_steps[stride]


# Which runs


def test_runs_that_may_be_compared_are_one_network(runs):
    vgg, linear = explorer.networks(runs)
    assert {run.experiment for run in vgg} == {"vgg"} and len(vgg) == 18
    # Of a training that two experiments have the record with more in it is shown.
    assert {run.experiment for run in linear} == {"curvature_deep_linear"} and len(linear) == 4
    assert explorer.titles([vgg, linear]) == [vgg[0].label, linear[0].label]


def own_record(
    folder: Path, norm: str = "group", lr: float = 0.01, changes: made_up.Line | None = None
) -> Run:
    """A record of one's own: any folder, norm and lr; no data but along the gradient."""
    header = made_up.make_header("vgg", norm, lr, seed=7)
    header |= {"experiment": folder.parent.name, "scale": "own"}
    header["config"] |= changes or {}
    lines = [
        {"step": 10 * i, "train/loss": 2.0 - 0.3 * i}
        | {
            "landscape/step_size": [0.5 * lr, lr, 2 * lr],
            "landscape/loss": [1.9 - 0.3 * i, 1.8 - 0.3 * i, 2.5],
            "landscape/gradient_change": [0.1, 0.2, 0.3],
            "landscape/gradient_norm": 1.0 + i,
        }
        for i in range(3)
    ]
    made_up.write_record(folder, header, lines)
    return results.load_run(folder)


def test_two_settings_of_a_norm_and_two_networks_of_one_label_are_told_apart(tmp_path):
    narrow, wide = (
        own_record(tmp_path / "mine" / str(groups), changes={"norm": {"groups": groups}})
        for groups in (2, 8)
    )
    assert explorer.arm_names([narrow, wide]) == ["group groups=2", "group groups=8"]
    other = own_record(tmp_path / "mine" / "other", changes={"init": {"scheme": "kaiming"}})
    told = explorer.titles([[narrow], [other]])
    assert told[0].startswith(narrow.label) and told[0] != told[1]


def test_runs_without_a_probe_are_left_out_and_counted(tmp_path, runs):
    header = made_up.make_header("vgg", "batch", 0.1, seed=9)
    made_up.write_record(tmp_path, header, [{"step": 0, "train/loss": 1.0}])
    bare = results.load_run(tmp_path)
    text = explorer.make([*runs[:2], bare], {})
    (contents, *_) = re.findall(r'class="data">(.*?)</script>', text)
    assert explorer.unpack(contents)["left_out"] == 1
    with pytest.raises(ValueError, match="No run has a record that the explorer shows"):
        explorer.make([bare], {})


def test_the_claims_that_panels_name_are_claims():
    named = {name for names in explorer.DECIDED.values() for name in names}
    assert named <= {claim.name for claim in claims.CLAIMS}


# The file


def test_the_page_is_one_file_that_runs_nothing_but_its_own_script(page, root, runs):
    text = page.read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', text)
    assert policy and policy[1].startswith("default-src 'none'")
    assert re.search(r"script-src 'sha256-[\w+/]{43}='", policy[1])
    assert not re.search(r"\b(src|href)=\"(?!data:)", text.replace("${contents.report}", ""))
    looks = explore.looks(runs)
    assert explorer.make(runs, looks) == explorer.make(runs, looks) == text
    assert looks["batch"] == style.arm("batch")


def test_hostile_names_stay_text(tmp_path):
    run = own_record(tmp_path / HOSTILE.replace("/", "") / "run", norm=HOSTILE)
    text = explorer.make([run], {})
    assert HOSTILE not in text and HOSTILE.replace("/", "") not in text


def test_the_command_says_in_a_sentence_what_is_missing(tmp_path, root, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert explore.main([]) == 1
    assert "There are no runs in results/runs; make some" in capsys.readouterr().err
    assert explore.main(["--runs", "nowhere"]) == 1
    assert "There is no folder nowhere" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert explore.main(["--runs", "empty"]) == 1
    assert "There are no runs in empty" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert explore.main(["--runs", str(root / "vgg"), "--out", "file/page"]) == 1
    assert "cannot be written to" in capsys.readouterr().err


def test_the_command_writes_beside_the_report_and_leaves_broken_records_out(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    runs = tmp_path / "results" / "runs" / "demo"
    made_up.write_runs(runs, seeds=(0,), experiments=["vgg"])
    broken = runs / "vgg" / "broken"
    broken.mkdir()
    (broken / "run.jsonl").write_text("no record\n")
    assert explore.main([]) == 0
    said = capsys.readouterr()
    assert said.out.strip() == "results/reports/demo/explorer.html"
    assert said.err.startswith("left out: ") and "broken" in said.err
    (contents, *_) = blocks(Path(said.out.strip()))
    assert contents["report"] == "report.html"
    assert {name for own in contents["networks"] for name in own["decided"]["walk"]} <= set(
        contents["claims"]
    )


# In a browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests."""
    opened = Browser(tmp_path_factory.mktemp("profile"))
    opened.size(1280, 900)
    yield opened
    opened.close()


@pytest.fixture
def shown(browser: Browser, page: Path) -> Iterator[Browser]:
    """The page at a known place; it asks for nothing and has nothing to complain of."""
    browser.size(1280, 900)
    browser.open(page, "#network=vgg&lr=0.1&seed=0&vs=batch&step=20", READY)
    yield browser
    assert not browser.complaints
    assert {url for url in browser.requests if not url.startswith("data:")} <= {
        "about:blank",
        page.as_uri(),
    }


def said(browser: Browser, selector: str) -> str:
    return browser.run(f"document.querySelector({json.dumps(selector)})?.textContent ?? ''")


def move(browser: Browser, place: int) -> float:
    """Move the slider, and wait for the picture: milliseconds of a processor."""
    before = browser.busy()
    browser.run(
        f"""(() => {{ const slider = document.querySelector('#slider'); slider.value = {place};
        slider.dispatchEvent(new Event('input')); document.body.offsetHeight; }})()"""
    )
    browser.run("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
    return 1000 * (browser.busy() - before)


def press_button(browser: Browser, word: str) -> None:
    browser.run(
        "[...document.querySelectorAll('button')]"
        f".find(button => button.textContent === {json.dumps(word)}).click()"
    )


def in_digits(value: float, count: int = 3) -> str:
    """A number as the page writes it."""
    if not math.isfinite(value):
        return "–" if math.isnan(value) else "not finite"
    if value and not 1e-3 <= abs(value) < 1e5:
        mantissa, exponent = f"{value:.{count - 1}e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}".replace("-", "−")
    return f"{float(f'{value:.{count}g}'):.10g}".replace("-", "−")


def run_of(runs: list[Run], norm: str, lr: float = 0.1, seed: int = 0) -> Run:
    return next(r for r in runs if (r.experiment, r.norm, r.lr, r.seed) == ("vgg", norm, lr, seed))


@needs_browser
def test_the_walk_has_the_numbers_of_the_record(shown, runs):
    pair = [run_of(runs, "none"), run_of(runs, "batch")]
    for place in (0, 4, 11):
        move(shown, place)
        table = shown.run(
            "[...document.querySelectorAll('#walk tbody tr')]"
            ".map(row => [...row.cells].map(cell => cell.textContent))"
        )
        for i, (eta, *cells) in enumerate(table):
            assert float(eta) == made_up.MULTIPLES["vgg"][i]
            wanted = []
            for run in pair:
                start = run["train/loss"][1][5 * place]
                slope = run[landscape.GRADIENT][1][place] ** 2
                promised = 1 - run[landscape.STEP_SIZE][1][place, i] * slope / start
                wanted += [promised, run[landscape.LOSS][1][place, i] / start]
            found = [float(cell.replace("−", "-")) for cell in cells]
            assert np.allclose(found, wanted, rtol=2e-3, atol=2e-3)
    assert said(shown, "#says").startswith("Step 55. Standard is promised ")


@needs_browser
def test_what_panels_say_are_the_measures(shown, runs):
    place = 3
    move(shown, place)
    step = 5 * place
    for norm in ("none", "batch"):
        run = run_of(runs, norm)
        name = style.arm(norm).name
        _, low, high = landscape.edges(run, landscape.LOSS)
        beta = landscape.effective_beta(run)[1][place]
        words = f"{name} loss {in_digits(low[place])} to {in_digits(high[place])}, gradient change "
        assert words in said(shown, "#along .readout")
        assert f"effective β {in_digits(beta)} (" in said(shown, "#along .readout")
        own = landscape.own_change(run)[1][place]
        assert f"{name} {in_digits(own)}" in said(shown, "#line .readout")
        layer = re.search(rf"Step {step}, (layer\d+): ", said(shown, "#shift .readout"))
        assert layer
        shift = shifts.relative_shift(run, layer[1])[1][place]
        assert f"relative {in_digits(shift)}" in said(shown, "#shift .readout")
        tested = dict(zip(*run[train.TEST_ACCURACY], strict=True))
        assert f"test {in_digits(100 * tested[10])} % (of step 10)" in said(
            shown, "#training .readout"
        )


@needs_browser
def test_sharpness_is_shown_against_its_edge(shown, page, runs):
    shown.open(page, "#network=curvature_deep_linear&lr=1e-6&seed=0&vs=batch&step=40", READY)
    names = ("curvature_deep_linear", "batch", 1e-6, 0)
    run = next(r for r in runs if (r.experiment, r.norm, r.lr, r.seed) == names)
    top = in_digits(run["sharpness/batch_eigenvalues"][1][8, 0])
    words = said(shown, "#sharpness .readout")
    assert f"BatchNorm largest eigenvalue {top}, along the gradients " in words
    assert words.endswith("edge 2e6") and "edge of stability" in said(shown, "#sharpness svg")
    # The curvature along the gradient is a parabola beside the tangent.
    assert shown.run("document.querySelectorAll('#walk path.parabola').length") == 2


PICTURES = """Object.fromEntries(
    [...document.querySelectorAll('.panel')].map(panel => [panel.id, panel.innerHTML]))"""


@needs_browser
def test_every_panel_follows_the_slider_within_50_milliseconds(shown):
    panels = ("walk", "line", "along", "shift", "activations", "training")
    before, times = shown.run(PICTURES), []
    for place in (0, 3, 6, 9, 11, 5, 2):
        times.append(move(shown, place))
        after = shown.run(PICTURES)
        assert all(after[panel] != before[panel] for panel in panels)
        before = after
    assert statistics.median(times) < 50


@needs_browser
def test_the_address_restores_what_was_seen(shown, page):
    shown.run("document.querySelectorAll('#shift .switch button')[1].click()")
    move(shown, 7)
    shown.wait("location.hash.includes('step=35')")
    address, words = shown.run("location.hash"), said(shown, "#says")
    assert "shift=relative" in address and "lr=0.1" in address and "vs=batch" in address
    shown.open(page, address, READY)
    assert said(shown, "#says") == words
    assert said(shown, '#shift .switch [aria-pressed="true"]') == "‖G − G′‖ / ‖G‖"
    # Nonsense in the address is passed over.
    shown.open(page, "#network=none&lr=x&seed=99&vs=what&step=1e9&layer=no&tour=77", READY)
    assert said(shown, "#says").startswith("Step ") and not said(shown, "#wrong")


@needs_browser
def test_keys_move_the_step_and_play(shown):
    shown.press("ArrowRight")
    assert said(shown, "#steps").startswith("step 25 of 60")
    shown.press("Home")
    assert said(shown, "#steps").startswith("step 0 ")
    shown.press(" ")
    shown.wait("!document.querySelector('#steps').textContent.startsWith('step 0 ')")
    shown.press(" ")
    assert said(shown, "#play") == "▶ Play"
    shown.press("t")
    shown.wait("!document.querySelector('#tour').hidden")
    shown.press("Escape")
    assert shown.run("document.querySelector('#tour').hidden")


@needs_browser
def test_where_a_run_ends_the_page_says_how(shown, page):
    shown.open(page, "#network=vgg&lr=0.5&seed=1&vs=batch&step=55", READY)
    assert "Standard has diverged at step 30" in said(shown, "#says")
    assert shown.run("document.querySelectorAll('#along path.cross.A').length") >= 2
    assert "diverged" in said(shown, "#along svg")
    shown.open(page, "#network=vgg&lr=0.1&seed=2&vs=batch&step=55", READY)
    assert "BatchNorm has been interrupted at step 29" in said(shown, "#says")
    assert "interrupted" in said(shown, "#along svg")


@needs_browser
def test_the_tour_tells_what_the_records_show(shown, runs):
    press_button(shown, "Guided tour")
    titles = []
    for number in range(1, 7):
        assert f"stop {number} of 6" in said(shown, "#tour")
        titles.append(said(shown, "#tour strong"))
        if number == 1:
            by_norm = {
                norm: [landscape.own_change(run_of(runs, norm, seed=s))[1][0] for s in (0, 1, 2)]
                for norm in ("none", "batch")
            }
            text = said(shown, "#tour p")
            told = re.search(r"by (\S+) of its own length with Batch.*by (\S+) with", text)
            assert told
            for word, norm in zip(told.groups(), ("batch", "none"), strict=True):
                assert math.isclose(float(word), np.median(by_norm[norm]), rel_tol=6e-3)
            assert "median of 3 seeds" in text and "3 seeds suggest and decide nothing" in text
        if number < 6:
            press_button(shown, "Next")
    assert len(set(titles)) == 6
    # In these made-up runs BatchNorm is smooth from the start, and the shift is larger with it.
    assert titles[0] == "Step 0: BatchNorm is the smoother one from the start"
    assert titles[4] == "Internal covariate shift is not smaller with BatchNorm"


def drop(browser: Browser, name: str, text: str) -> None:
    """Drop a file on the page."""
    browser.run(
        f"""(() => {{ const data = new DataTransfer();
        data.items.add(new File([{json.dumps(text)}], {json.dumps(name)}));
        const how = {{dataTransfer: data, cancelable: true, bubbles: true}};
        dispatchEvent(new DragEvent('drop', how)); }})()"""
    )


NUMBER = r"(−?\d+(?:\.\d+)?(?:e−?\d+)?)"
NUMBERS = """Object.fromEntries([...document.querySelectorAll('.panel')].map(panel => [panel.id,
    [panel.querySelector('.readout').textContent,
    [...panel.querySelectorAll('td')].map(cell => cell.textContent).join(' ')]]))"""


@needs_browser
def test_a_dropped_record_is_drawn_as_the_page_draws_it(shown, page, root, runs):
    run = run_of(runs, "batch", seed=2)  # interrupted, its last line torn
    name = f"vgg/{run.directory.name}"
    shown.open(page, f"#a={name}&step=15&layer=layer9", READY)
    ours = shown.run(NUMBERS)
    drop(shown, "run.jsonl", (run.directory / "run.jsonl").read_text(encoding="utf-8"))
    shown.wait("location.hash.includes('a=run.jsonl')")
    shown.run("location.hash = '#a=run.jsonl&step=15&layer=layer9'")
    shown.wait("document.querySelector('#steps').textContent.startsWith('step 15')")
    theirs = shown.run(NUMBERS)
    assert set(theirs) == set(ours)
    for panel, texts in theirs.items():
        for one, other in zip(texts, ours[panel], strict=True):
            words, wanted = (re.split(NUMBER, text) for text in (one, other))
            assert words[::2] == wanted[::2]
            values = [[float(w.replace("−", "-")) for w in all[1::2]] for all in (words, wanted)]
            assert np.allclose(*values, rtol=6e-3, atol=2e-3)
    assert "BatchNorm" in said(shown, "#arms") and "interrupted" in said(shown, "#arms")


@needs_browser
def test_a_record_without_losses_of_training_is_drawn_by_its_losses_along_the_gradient(
    shown, tmp_path
):
    record = own_record(tmp_path / "own").directory / "run.jsonl"
    bare = re.sub(r'"train/loss": ?[\d.]+, ?', "", record.read_text(encoding="utf-8"))
    drop(shown, "bare.jsonl", bare)
    shown.wait("location.hash.includes('a=bare.jsonl')")
    assert "GroupNorm reaches a loss of 2.5 after 2 times" in said(shown, "#says")
    assert not shown.run("document.querySelectorAll('#walk path.promise').length")


@needs_browser
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("step,loss\n0,1\n", "its first line is no header of a run"),
        ('{"header": {}}\n', "its first line is no header of a run"),
        ('HEADER\nbroken\n{"step": 1}\n', "line 2 is broken"),
        ('HEADER\n{"step": 0, "train/loss": 1.0}\n', "it has no record of landscape"),
    ],
)
def test_a_wrong_file_gets_one_sentence(shown, text, why):
    header = json.dumps({"header": made_up.make_header("vgg", "batch", 0.1, 0)})
    drop(shown, "notes.csv", text.replace("HEADER", header))
    shown.wait("!document.querySelector('#wrong').hidden")
    assert said(shown, "#wrong").startswith("notes.csv cannot be drawn: ")
    assert why in said(shown, "#wrong")
    assert said(shown, "#says").startswith("Step 20.")


@needs_browser
def test_the_page_fits_every_width_and_darkness(shown):
    press_button(shown, "Guided tour")
    for width in (320, 390, 768, 1440):
        for dark in (False, True):
            shown.size(width, 844, dark)
            shown.wait(f"document.documentElement.scrollWidth === {width}")
            ground = shown.run("getComputedStyle(document.body).backgroundColor")
            assert ground == ("rgb(21, 24, 27)" if dark else "rgb(253, 253, 252)")
        pictures = "[...document.querySelectorAll('.panel svg')]"
        shown.wait(f"{pictures}.every(svg => svg.viewBox.baseVal.width <= {width})")


@needs_browser
def test_lines_stand_out_from_the_ground(shown):
    for dark, ground in ((False, (255, 255, 255)), (True, (28, 32, 36))):
        shown.size(1280, 900, dark)
        for side in "ab":
            line = f"getComputedStyle(document.documentElement).getPropertyValue('--{side}')"
            shown.wait(f"{line}.startsWith('rgb')")
            colour = [int(v) for v in re.findall(r"\d+", shown.run(line))]
            light, dim = sorted((luminance(colour), luminance(ground)), reverse=True)
            assert (light + 0.05) / (dim + 0.05) >= 3


def luminance(colour) -> float:
    """Relative luminance by WCAG 2."""
    shares = np.array(colour) / 255
    linear = np.where(shares <= 0.03928, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@needs_browser
def test_records_of_ones_own_are_drawn_with_the_panels_that_they_have(browser, tmp_path):
    own_record(tmp_path / "study" / HOSTILE.replace("/", "") / "deep", lr=0.01)
    own_record(tmp_path / "study" / "plain", norm="none", lr=0.01)
    out = tmp_path / "page"
    assert explore.main(["--runs", str(tmp_path / "study"), "--out", str(out)]) == 0
    browser.size(1280, 900)
    browser.open(out / "explorer.html", "", READY)
    assert said(browser, "#arms").count("lr 0.01, seed 7") == 2
    assert "GroupNorm" in said(browser, "#arms")
    panels = browser.run("[...document.querySelectorAll('.panel')].map(p => p.id)")
    assert panels == ["walk", "training", "line", "along"]
    assert not browser.complaints
