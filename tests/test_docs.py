"""The pages: their links lead somewhere, the commands they name exist, and those of the tutorial run.

`python tests/test_docs.py TREE ENCODER` runs the tutorial on a folder of documents and writes what it printed.
"""

import contextlib
import io
import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
from itertools import pairwise
from pathlib import Path

import pytest

from linkbert import cli
from linkbert.config import OLD_NAMES, Config
from linkbert.files import find_encoder
from linkbert.tasks.settings import FineTuneConfig

ROOT = Path(__file__).parents[1]
PAGES = [path for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")) if path.name != "CHANGELOG.md"]
TUTORIAL = ROOT / "docs" / "tutorial.md"
SETTINGS = {*Config.model_fields, *FineTuneConfig.model_fields, *OLD_NAMES, "recipe", "baseline"}
BLOCK = re.compile(r"^```(console|python|toml)\n(.*?)^```\n(?:\n```text\n.*?^```\n)?", re.MULTILINE | re.DOTALL)
SMALL = "budget=3s batch_size=8 micro_batch_size=8 eval_pairs=64 precision=fp32 compile=off threads=1"


def run_block(kind, text, folder, names, change):
    """Run a block in `folder`, which is the current one; return the block with what it printed."""
    if kind == "toml":
        Path(folder, text.partition("\n")[0].removeprefix("# ")).write_text(text)
        return f"```toml\n{text}```\n"
    if kind == "python":
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile(text, "tutorial", "exec"), names)
        return f"```python\n{text}```\n" + f"\n```text\n{out.getvalue()}```\n" * bool(out.getvalue())
    shown = []
    for line in text.splitlines():
        if line.startswith("$ "):
            shown += [line, *run_command(change(line.removeprefix("$ linkbert ")))]
    return "```console\n" + "\n".join(shown) + "\n```\n"


def run_command(line):
    """Run one command of the command line, perhaps cut by head or tail; return the lines that it printed."""
    line, _, cut = line.partition(" | ")
    with contextlib.redirect_stdout(io.StringIO()) as out:
        status = cli.main(shlex.split(line))
    assert status == 0, line
    lines = [each.rstrip() for each in out.getvalue().strip().splitlines()]
    which, _, count = cut.partition(" -n ")
    return {"head": lines[: int(count or 0)], "tail": lines[-int(count or 0) :]}.get(which, lines)


def run_page(page, folder, change=str):
    """Run every block of a page in a folder, in order; return the page with what was printed."""
    names = {}
    with contextlib.chdir(folder):
        return BLOCK.sub(lambda found: run_block(found[1], found[2], folder, names, change), page)


def labels(line):
    """Return the words at the start of a line that numbers, names and paths may follow."""
    return re.match(r"[ *$]*([A-Za-z][A-Za-z, %-]*[a-z])?", line)[1]


def outputs(page):
    """Return what each command of a page printed, by the command."""
    found, lines = {}, None
    for _, text in re.findall(r"^```(console)\n(.*?)^```\n", page, re.MULTILINE | re.DOTALL):
        for line in text.splitlines():
            if line.startswith("$ "):
                lines = found.setdefault(line, [])
            else:
                lines.append(line)
    return found


def write_notes(folder):
    """Write a small manual with pages of five kinds, each of which names others; of our own writing."""
    rng = random.Random(3)
    names = {kind: [f"{kind}_{n}" for n in range(14)] for kind in ("module", "policy", "variable", "prop_tgt")}
    names["command"] = ["add_library", *(f"command_{n}" for n in range(13))]
    every = [(kind, name) for kind, some in names.items() for name in some]
    for kind, name in every:
        lines = [name, "-" * len(name), ""]
        for other_kind, other in rng.sample([each for each in every if each[1] != name], 5):
            thing = rng.choice(["library", "project", "directory", "target", "compiler", "file"])
            lines += [f"Each {kind} sets a {thing} which :{other_kind}:`{other}` reads. It names it twice.", ""]
        (folder / kind).mkdir(parents=True, exist_ok=True)
        (folder / kind / f"{name}.rst").write_text("\n".join(lines))
    (folder / "index.rst").write_text("Manual\n======\n\nThis manual has a page for everything.\n")


@pytest.mark.slow
def test_every_command_of_the_tutorial_runs_and_prints_what_the_page_shows(tmp_path):
    from transformers import BertConfig, BertForMaskedLM, BertTokenizerFast

    write_notes(tmp_path / "my-notes")
    letters = "abcdefghijklmnopqrstuvwxyz0123456789_.:`"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{each}" for each in letters), "library"]
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertForMaskedLM(BertConfig(vocab_size=len(words), **sizes)).save_pretrained(tmp_path / "encoder")
    BertTokenizerFast(vocab={word: n for n, word in enumerate(words)}).save_pretrained(tmp_path / "encoder")
    page = TUTORIAL.read_text(encoding="utf-8").replace("-300", "-20")

    def smaller(line):
        line = line.replace("max_steps=300", SMALL).replace("eval_pairs=3000", "eval_pairs=64")
        return line + " num_train_epochs=1 threads=1 precision=fp32" * line.startswith("finetune")

    made = outputs(run_page(page, tmp_path, smaller))
    shown = outputs(TUTORIAL.read_text(encoding="utf-8"))
    assert made.keys() == shown.keys()
    for command, lines in shown.items():
        assert lines, f"{command}: run python tests/test_docs.py"
        if any(word in command for word in (" stats ", " check ", " score ", " relate ", " pretrain ", " report ")):
            own = next((at for at, line in enumerate(lines) if line.startswith("what links lead to")), len(lines))
            missing = {labels(line) for line in lines[:own]} - {labels(line) for line in made[command]} - {"skipped"}
            assert not missing, (command, made[command])
    assert (tmp_path / "report.html").stat().st_size > 10_000


def headings_of(page):
    """Return the anchors that GitHub gives the headings of a page."""
    found = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in found}


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_objective_of_the_page_on_extending_trains(tmp_path, monkeypatch, precision):
    import linkbert

    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    code = re.search(r"^    import torch\n(?:    .*\n|\n)+", page, re.MULTILINE)[0]
    name = f"shared_tokens_{precision}"
    masked = """
class OfMasked(SharedTokens):
    def loss(self, encoded, batch):
        twice = torch.cat([encoded.masked, encoded.masked], -1)
        found = encoded.model.objective_head(torch.cat([twice, encoded.first.repeat(1, 2)]))
        return super().loss(encoded, batch) | {"shared_loss": ((found**2).sum(), torch.tensor(1))}

MASKED = OfMasked()
"""
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(code) + masked)
    monkeypatch.syspath_prepend(tmp_path)
    towns = [linkbert.Document(f"{n}", f"Town {n}", f"Town {n} has a mill. It is old. It is small.") for n in range(9)]
    linkbert.build_store(towns, tmp_path / "store", vocabulary="train:200")
    words = "max_steps=2 batch_size=8 sequence_length=32 num_hidden_layers=1 hidden_size=16 intermediate_size=32 "
    words += f"shares=1/2,1/2,0 held_out=0 compile=off threads=1 precision={precision}"
    for each in ("SHARED", "MASKED"):
        run = linkbert.pretrain(tmp_path / "store", tmp_path / each, [*words.split(), f"objective={name}:{each}"])
        assert run.finished


def test_the_examples_of_the_page_on_python_run(tmp_path):
    import linkbert

    first, second, third = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "python.md").read_text(), re.M | re.S)
    words = "max_steps=1 batch_size=8 sequence_length=32 num_hidden_layers=1 hidden_size=16 intermediate_size=32 "
    words += "num_attention_heads=2 held_out=0 compile=off threads=1 precision=fp32"
    with contextlib.chdir(tmp_path), contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(first, "python.md", "exec"), names := {})
        linkbert.pretrain("towns", "run", words)
        exec(compile(second, "python.md", "exec"), names)
        third = third.replace('"eval_pairs": 300', '"held_out": 0.5, "eval_pairs": 8')
        exec(compile(third, "python.md", "exec"), names)
        page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
        code = re.search(r"^    from functools import cached_property\n(?:    .*\n|\n)+", page, re.MULTILINE)[0]
        exec(compile(textwrap.dedent(code), "extending.md", "exec"), names)
        swapped, plain = names["SwappedPairs"]("towns", sequence_length=32, held_out=0), names["pairs"]
        assert [item["documents"].tolist()[::-1] for item in swapped] == [item["documents"].tolist() for item in plain]
    assert names["graph"].to_scipy().toarray().tolist() == [[0, 1], [1, 0]]
    assert names["scores"].pairs == 8
    assert "'resolved', 1)]" in out.getvalue()
    assert names["output"].seq_relationship_logits.shape == (2, 3)
    assert repr(linkbert.PairCollator(names["pairs"])) == (
        "PairCollator(packed=False, documents=False): up to 32 tokens a row"
    )


@pytest.mark.slow
def test_the_examples_of_the_readme_run(tmp_path):
    write_notes(tmp_path / "my-notes")
    small = SMALL + " num_hidden_layers=1 hidden_size=16 num_attention_heads=2 intermediate_size=32 sequence_length=64"
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    code = re.search(r"^    import linkbert\n(?:    .*\n|\n)+", text, re.MULTILINE)[0]
    with contextlib.chdir(tmp_path):
        for line in re.findall(r"^    linkbert ((?:build|pretrain|fill) .*)$", text, re.MULTILINE):
            out = run_command(line.partition("  #")[0].replace("budget=5m", small))
        assert len(re.findall(r"\S+ \d+\.\d%", out[0])) == 5, "words for the mask"
        code = textwrap.dedent(code).replace('{"max_steps": 1000}', f"{f'max_steps=2 {small}'.split()!r}")
        shutil.rmtree("run")
        names = {}
        exec(compile(code, "README.md", "exec"), names)
        assert len(names["pairs"][0]["input_ids"]) <= 128
        assert names["model"].config.hidden_size == 16


def commands_of(text):
    """Find the calls of linkbert in a page, as words; `...` and what is in brackets stand for any words."""
    for line in re.findall(r"(?:^    |^\$ |`|&& )(linkbert [^`\n]*)", text, re.MULTILINE):
        line = re.split(r"  +| \| | && | # ", line.replace("\\|", "|"))[0]
        with contextlib.suppress(ValueError):  # a quotation that goes on
            yield shlex.split(line)[1:]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_a_page_names_exists(page):
    text = page.read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```|^    .*?$|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL)
    for target, _, heading in re.findall(r"\]\(([^)#\s]*)(#([^)]*))?\)", prose):
        if not re.match(r"\w+:", target):
            assert (page.parent / target).exists(), target
            assert not heading or heading in headings_of(page.parent / target if target else page), (target, heading)
    for path in re.findall(r"`((?:docs|benchmarks|recipes|examples|tests)/[\w/.-]+\.\w+)`", text):
        assert (ROOT / path).exists(), path
    if page.parent.name == "log" or page.name == "mistakes.md":
        return  # what once was, and what is wrong
    cli.declare_reader_options(["build"])
    known = cli.typer.main.get_command(cli.app).commands
    for words in commands_of(text):
        if not words or not re.fullmatch("[a-z]+", words[0]):
            continue
        assert words[0] in known, words
        options = {option for each in known[words[0]].params for option in each.opts} | {"--help"}
        for before, word in pairwise(words):
            if before == "--mix":
                continue
            if word.startswith("--"):
                assert word.partition("=")[0] in options, words
            elif words[0] in ("pretrain", "finetune", "evaluate") and re.fullmatch(r"[a-z_]+=\S+", word):
                assert word.partition("=")[0] in SETTINGS, words


def test_the_readme_fits_a_screen_and_has_the_two_commands_that_are_run():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text) < 5_000
    assert "    pip install -c constraints.txt . && linkbert demo\n" in text
    second = "pip install -c constraints.txt -e '.[test]' && pytest"
    assert f"    {second}\n" in text
    assert f"\n{second}\n" in (ROOT / ".ci" / "run").read_text()


def test_every_number_of_the_readme_is_a_figure_with_a_command():
    readme, figures = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/figures.md"))
    measured = readme.partition("## What was measured")[2].partition("## ")[0]
    numbers = {each.rstrip(".,") for each in re.findall(r"[+-]?\d[\d,.]*", measured)}
    missing = {each for each in numbers if each not in figures}
    assert numbers, "numbers"
    assert not missing, missing
    rows = [line for line in figures.splitlines() if line.startswith("| ") and not line.startswith("| what")]
    lacking = [
        line for line in rows if not re.search(r"`(python|pytest|linkbert) [^`]*`|the same \|$|nearest command", line)
    ]
    assert not lacking, lacking
    for script, words in re.findall(r"`python (benchmarks/\w+\.py)([^`]*)`", figures):
        code = (ROOT / script).read_text(encoding="utf-8")
        for option in re.findall(r"--(\w+)", words):
            assert f'"--{option}"' in code or f'"{option}"' in code, (script, option)


def test_the_container_runs_the_readmes_command_on_files_that_are_there():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    install, demo = (ROOT / "README.md").read_text().partition("pip install -c ")[2].partition("\n")[0].split(" && ")
    assert f"RUN pip install -c {install}" in lines
    assert f"CMD {json.dumps(demo.split())}" in lines
    assert lines.index("USER 1000") > lines.index(f"RUN pip install -c {install}")
    copied = [word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]]
    assert all((ROOT / name).exists() for name in copied)
    let_in = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"}
    assert let_in == set(copied)


def test_the_demos_recipe_takes_what_the_demo_fetched():
    from linkbert.demo import ENCODERS, SOURCES

    text = (ROOT / "recipes" / "demo.sh").read_text()
    for wheel in (SOURCES["cmake"], ENCODERS["bert-tiny"]):
        assert f"{wheel.requirement}-{wheel.sha256[:8]}" in text


def test_the_tutorials_encoder_is_copied_from_where_the_demo_leaves_it(tmp_path):
    from linkbert.demo import ENCODERS, SOURCES

    for wheel, name in ((ENCODERS["bert-tiny"], "config.json"), (SOURCES["cmake"], "index.rst")):
        kept = tmp_path / ".cache" / "linkbert" / f"{wheel.requirement}-{wheel.sha256[:8]}" / wheel.path
        kept.mkdir(parents=True)
        (kept / name).write_text("{}")
    lines = re.findall(r"^    (cp -r .*)$", TUTORIAL.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(lines) == 2
    for line in lines:
        subprocess.run(["bash", "-c", line], cwd=tmp_path, env=os.environ | {"HOME": str(tmp_path)}, check=True)
    assert find_encoder(tmp_path / "encoder") == tmp_path / "encoder"
    recipe = (ROOT / "recipes" / "demo.sh").read_text()
    assert f"-{ENCODERS['bert-tiny'].sha256[:8]}/{ENCODERS['bert-tiny'].path.rstrip('/')}}}" in recipe


def make_page(tree, encoder):
    """Run the tutorial as it stands, for a quarter of an hour, and write what it printed."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(tree, Path(folder, "my-notes"))
        shutil.copytree(encoder, Path(folder, "encoder"))
        os.environ.setdefault("COLUMNS", "120")
        TUTORIAL.write_text(run_page(TUTORIAL.read_text(encoding="utf-8"), folder), encoding="utf-8")


if __name__ == "__main__":
    make_page(*map(Path, sys.argv[1:]))
