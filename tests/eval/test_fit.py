"""Fitting a collection's fusion, from labelled queries to the file beside it."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from querywright import InputError, Querywright
from querywright.eval.fit import fit_collection, spec
from querywright.eval.measures import per_query
from querywright.eval.specs import load_dataset
from querywright.retrieval.collection import Collection
from querywright.retrieval.encoders import Encoder
from querywright.retrieval.fitting import FILE, Fusion, load_fusion
from querywright.retrieval.fusion import Method
from querywright.service import cli
from querywright.service.demo import build, folder

ANIMALS = ("frog", "toad", "newt", "crow", "hawk", "wren", "carp", "pike", "seal", "bear")


@pytest.fixture
def labelled(write_dataset: Callable[..., Path], tmp_path: Path) -> Path:
    """Return a data set in which each animal has a page of its own, and one that only names it often."""
    corpus = [{"_id": animal, "text": f"about the {animal} and its life"} for animal in ANIMALS]
    corpus += [{"_id": f"{animal} list", "text": f"{animal} {animal} {animal} price list"} for animal in ANIMALS]
    queries = [{"_id": f"q{place}", "text": f"{animal} life"} for place, animal in enumerate(ANIMALS)]
    qrels = [(f"q{place}", animal, 1) for place, animal in enumerate(ANIMALS)]
    return write_dataset(tmp_path / "animals", corpus, queries, qrels)


@pytest.fixture
def home(labelled: Path, tmp_path: Path) -> Path:
    with Querywright(home=tmp_path / "home") as querywright:
        querywright.index([labelled], "animals")
    return tmp_path / "home"


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Callable[..., tuple[int, str, str]]:
    """Return what runs a command line in this process: exit code, output, errors."""

    def command(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["querywright", *map(str, words)])
        code = 0
        try:
            cli.main()
        except SystemExit as done:
            code = int(done.code or 0)
        out, err = capfdbinary.readouterr()
        return code, out.decode(), err.decode()

    return command


def test_the_command_prints_a_table_and_keeps_the_fusion(run, labelled: Path, home: Path) -> None:
    code, out, err = run("fit", "animals", "--queries", labelled, "--home", home, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["queries"] == len(ANIMALS)
    assert set(found["means"]) == {"lexical", "dense", "hybrid as set", "hybrid fitted (cross-validated)"}
    kept = Fusion(Method(found["kept"]["method"]), found["kept"]["lexical_weight"])
    # What is no better than the settings is not written, so that they go on being heeded.
    assert kept == Fusion()
    assert load_fusion(home / "animals") is None
    assert any("10 queries are few" in warning for warning in found["warnings"])
    code, table, _ = run("fit", "animals", "--queries", labelled, "--home", home)
    assert code == 0
    assert f"| lexical |  |  | {found['means']['lexical']:.4f} |" in table
    assert f"Kept: {kept.method}, lexical weight {kept.lexical_weight:g}" in table


def test_what_is_better_is_kept_with_what_it_was_learnt_from(run, tmp_path: Path, monkeypatch) -> None:
    with Querywright(home=tmp_path) as querywright:
        build(querywright)
    monkeypatch.setenv(
        "QUERYWRIGHT_LEXICAL_WEIGHT", "0.001"
    )  # vectors alone, nearly: they miss the demo's codes and dates
    code, out, _ = run("fit", "demo", "--queries", folder(), "--home", tmp_path, "--json")
    assert code == 0
    found = json.loads(out)
    assert load_fusion(tmp_path / "demo") == Fusion(Method(found["kept"]["method"]), found["kept"]["lexical_weight"])
    assert found["means"]["hybrid fitted (cross-validated)"] > found["means"]["hybrid as set"]
    assert json.loads((tmp_path / "demo" / FILE).read_bytes())["about"]["means"] == found["means"]


def test_queries_from_a_log_and_from_files(run, labelled: Path, home: Path, tmp_path: Path) -> None:
    clicks = [{"query": f"{animal} life", "clicked": [animal]} for animal in ANIMALS]
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps(row) + "\n" for row in clicks), encoding="utf-8")
    options = ("--home", home, "--json")
    from_log = json.loads(run("fit", "animals", "--queries", log, *options)[1])
    files = ("--queries", labelled / "queries.jsonl", "--qrels", labelled / "qrels.tsv")
    from_files = json.loads(run("fit", "animals", *files, *options)[1])
    assert from_log["means"]["lexical"] == from_files["means"]["lexical"]
    assert from_log["means"]["hybrid as set"] == from_files["means"]["hybrid as set"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("none", "--queries", "{d}"), "there is none of that name"),
        (("animals", "--queries", "{d}/none.jsonl"), "none.jsonl"),
        (("animals", "--queries", "{d}", "--measure", "best"), "measure 'best'"),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    run, labelled: Path, home: Path, words: tuple[str, ...], message: str
) -> None:
    code, _, err = run("fit", *(word.format(d=labelled) for word in words), "--home", home)
    assert code == 2
    assert message in err
    assert load_fusion(home / "animals") is None


@pytest.fixture
def collection(word_encoder: Encoder, labelled: Path, tmp_path: Path):
    with Querywright(home=tmp_path / "words", encoder="none") as querywright:
        querywright.index([labelled], "animals")
        documents = querywright.documents("animals")
    with Collection(tmp_path / "w", word_encoder) as opened:
        opened.upsert(documents)
        yield opened


def loaded(labelled: Path):
    return load_dataset(f"files:queries={labelled}/queries.jsonl,qrels={labelled}/qrels.tsv,corpus={labelled}")


def test_the_means_are_those_of_the_searches(collection: Collection, labelled: Path) -> None:
    dataset = loaded(labelled)
    found = fit_collection(dataset, collection, Fusion(Method.MIN_MAX, 0.5))
    for leg in ("lexical", "dense"):
        hits = {one.id: collection.search(one.query.query, 10, leg) for one in dataset.queries}
        run = {query_id: {hit.doc_id: -float(hit.rank) for hit in some} for query_id, some in hits.items()}
        values = per_query(dataset.qrels, run, ["nDCG@10"])["nDCG@10"]
        assert found.means[leg] == pytest.approx(sum(values.values()) / len(values))


def test_hybrid_that_does_not_help_is_warned_of(collection: Collection, labelled: Path) -> None:
    found = fit_collection(loaded(labelled), collection, Fusion())
    best = max(found.means["lexical"], found.means["dense"])
    assert (found.gain.delta <= 0) == any("hybrid is not better than" in warning for warning in found.warnings)
    assert found.gain.delta == pytest.approx(
        max(found.means["hybrid as set"], found.means["hybrid fitted (cross-validated)"]) - best, abs=1e-9
    )


def test_a_collection_without_a_second_leg_is_refused(labelled: Path, tmp_path: Path) -> None:
    with Collection(tmp_path / "lexical") as opened:
        opened.upsert([])
        with pytest.raises(InputError, match="both legs read"):
            fit_collection(loaded(labelled), opened, Fusion())


def test_a_folder_is_read_as_beir_has_it(labelled: Path) -> None:
    named = spec(labelled, None, "animals")
    assert named == f"files:queries={labelled}/queries.jsonl,qrels={labelled}/qrels.tsv,collection=animals"
    assert spec(labelled / "log.jsonl", None, "animals") == f"logs:queries={labelled}/log.jsonl,collection=animals"
