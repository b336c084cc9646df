"""Published folders: everything follows from the records, and making them changes nothing."""

import gzip
import json
import shutil

import made_up
import pytest
from conftest import ROOT

from bnstudy import publish
from bnstudy.app import publish as app

REFERENCE = ROOT / "results" / "reference"
FOLDERS = sorted(path.parent.name for path in REFERENCE.glob(f"*/{publish.TEMPLATE}"))
TEXT = "# {{ runs.vgg | length }} runs, {{ hours(runs.vgg) }} h\n\n{{ verdicts }}\n"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    arms = (("none", 0, "finished"), ("batch", 0, "diverged"), ("batch", 1, "interrupted"))
    for norm, seed, outcome in arms:
        header = made_up.make_header("vgg", norm, 0.1, seed, "small")
        header["config"]["data"] |= {"root": "/home/someone/images"}
        lines = list(made_up.make_lines("vgg", norm, 0.1, seed, outcome))
        made_up.write_record(root / "vgg" / f"{norm}{seed}", header, lines, outcome)
    return root


def test_records_are_copied_without_the_paths_of_a_machine(runs, tmp_path):
    assert publish.add_records(tmp_path, runs, ["vgg"]) == 2  # the interrupted one is no result
    for path in tmp_path.rglob("run.jsonl.gz"):
        text = gzip.decompress(path.read_bytes()).decode()
        assert "/home" not in text
        original = (runs / "vgg" / path.parent.name / "run.jsonl").read_text()
        assert text.splitlines()[1:] == original.splitlines()[1:]
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.gz")}
    publish.add_records(tmp_path, runs, ["vgg"])
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.gz")} == before


def test_a_folder_follows_from_its_records(runs, tmp_path, monkeypatch):
    publish.add_records(tmp_path, runs, ["vgg"])
    with pytest.raises(FileNotFoundError, match=r"README.jinja is missing"):
        publish.make(tmp_path)
    (tmp_path / publish.TEMPLATE).write_text(TEXT)
    monkeypatch.setattr(publish, "draw", lambda folder, own: [])
    written = publish.make(tmp_path)
    assert {path.name for path in written} == {"README.md", "claims.json", "claims.md", "runs.csv"}
    assert (tmp_path / "README.md").read_text().startswith("# 2 runs, 0.0 h\n")
    rows = (tmp_path / "runs.csv").read_text().splitlines()
    assert len(rows) == 3 and rows[0].startswith("experiment,scale,model,norm,init,lr,seed")
    assert {row.split(",")[8] for row in rows[1:]} == {"finished", "diverged"}
    assert json.loads((tmp_path / "claims.json").read_text())
    shutil.rmtree(tmp_path / publish.RECORDS)
    with pytest.raises(FileNotFoundError, match="holds no records"):
        publish.make(tmp_path)


@pytest.mark.parametrize("name", FOLDERS)
def test_every_published_folder_is_what_its_records_say(name, tmp_path, monkeypatch):
    publish.copy(REFERENCE / name, tmp_path)
    monkeypatch.setattr(publish, "draw", lambda folder, own: [])
    for path in publish.make(tmp_path):
        assert path.read_text() == (REFERENCE / name / path.name).read_text(), path.name


def test_pages_about_several_folders_are_what_the_records_say(tmp_path):
    pages = {template: tmp_path / page.name for template, page in app.PAGES.items()}
    for page in app.PAGES.values():
        text = page.read_text()
        for template in app.PAGES:  # a page with marks is filled between them
            marks = f"<!-- {template.stem} -->\n", f"<!-- end of {template.stem} -->\n"
            if marks[0] in text:
                before, _, rest = text.partition(marks[0])
                text = before + marks[0] + "old\n" + marks[1] + rest.partition(marks[1])[2]
        (tmp_path / page.name).write_text(text)
    publish.render_pages(pages, REFERENCE)
    for page in app.PAGES.values():
        assert (tmp_path / page.name).read_text() == page.read_text(), "run scripts/publish.py"
