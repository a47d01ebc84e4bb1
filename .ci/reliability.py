"""Makes docs/reliability.md from what the campaign measured.

  reliability.py note FOLDER NAME SEED SCALE STATUS SECONDS   how a part ended
  reliability.py write FOLDER docs/reliability.json docs/reliability.md
  reliability.py show docs/reliability.json                   the document, to be compared

The JSON file keeps the last line of each part. No figure is in the document that is not in
such a line; a part without one is "not run".
"""

import json
import pathlib
import subprocess
import sys
import time

NOT_RUN = "not run"


def lines(path):
    """The JSON objects of a file, one a line."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def note(folder, name, seed, scale, status, seconds):
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    files = {"crash-binary": ["crash-simulated", "crash-process"]}.get(name, [name])
    result = {
        "part": name,
        "seed": int(seed),
        "scale": float(scale),
        "passed": status == "0",
        "seconds": int(seconds),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "commit": commit,
        "lines": [line for file in files for line in lines(folder / f"{file}.json")],
    }
    if name == "fuzz":
        result["lines"] = lines(folder / "fuzz.jsonl")
    if name == "faults":
        found = sorted((folder / "faults").glob("*.json*"))
        result["lines"] = [line for file in found for line in lines(file)]
    if name == "figures":
        result["lines"] = figures(folder / "figures.txt")
    (folder / f"part-{name}.json").write_text(json.dumps(result) + "\n")


def figures(path):
    """The rows of `cargo bench --bench figures`: what, value, goal."""
    rows = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        head, goal, tail = line.partition("   goal ")
        if goal:
            what, _, value = head.rstrip().partition("  ")
            rows.append({"what": what.strip(), "value": value.strip(), "goal": tail.strip()})
    return rows


def total(parts, names, keys):
    """The sum of some counts over lines of figures; None where none was measured."""
    found = []
    for part in parts.values():
        for line in part["lines"]:
            if line.get("name") in names:
                found += [line[key] for key in keys if key in line]
    return sum(found) if found else None


def said(value):
    return NOT_RUN if value is None else f"{value:,}"


def seeds(parts, names):
    found = {
        str(line["seed"])
        for part in parts.values()
        for line in part["lines"]
        if line.get("name") in names and "seed" in line
    }
    return ", ".join(sorted(found)) or "-"


def result(parts, names, what):
    """What was broken, as a sentence; `what` are pairs of words and keys."""
    told = []
    for words, keys in what:
        count = total(parts, names, keys)
        if count is not None:
            told.append(f"{count:,} {words}")
    return ", ".join(told) or NOT_RUN


ALL = ["crash", "crash-simulated", "crash-process", "crash-docker"]

PROMISES = [
    (
        "1. One candidate at most, with our labels",
        "killed at any moment, then recovered or resumed; candidates are counted at every instant "
        "(the daemon's events, /proc) and at the end",
        ["crash", "crash-process", "crash-docker"],
        [("leaked candidates", ["leaked_candidates"])],
    ),
    (
        "2. Every finished repeat survives",
        "each entry whose append returned is in the journal after every kill, torn write, lost "
        "power and full disk; journals cut at any length",
        ALL,
        [("lost repeats", ["lost_repeats"])],
    ),
    (
        "3. Production runs again, the same container, proven",
        "production, and the debt that is noted of it, are looked at after every kill and at the end; "
        "some runs' folders are lost, and `recover` has to do with the debt",
        ["crash", "crash-docker"],
        [("times production down", ["production_down"])],
    ),
    (
        "4. Finished work is never measured again; the same next action",
        "order of trials, kept repeats and final rows compared with an undisturbed sweep's",
        ALL,
        [("wrong rows", ["wrong_rows"]), ("repeats or launches made again", ["repeated_work"]), ("commands refused or failed", ["refused"])],
    ),
    (
        "5. What failed by itself is not launched twice",
        "a configuration that does not fit is in every sweep that is killed; one that fails "
        "for a while is measured",
        ["crash"],
        [("launches made again", ["repeated_work"])],
    ),
]


def faults(parts):
    """Each fault that a test causes, what the launches were filed under, and the exit code."""
    found = parts.get("faults", {}).get("lines", [])
    if not found:
        return ["Not run."]
    # Tests run side by side: their lines come in any order.
    found = sorted(found, key=lambda it: (it["fault"].startswith("docker: "), it["fault"]))
    rows = []
    for it in found:
        classes = ", ".join(f"`{name}`" for name in it.get("classes", [])) or "-"
        # `None` where the test does not look.
        launches, code = ("-" if it.get(key) is None else it[key] for key in ("launches", "code"))
        result = "as expected" if it["ok"] else "NOT as expected"
        rows.append([it["fault"].replace("_", " "), classes, launches, code, result])
    well = sum(bool(it["ok"]) for it in found)
    return [f"{len(found)} faults, {well} with the result that is expected.", ""] + table(
        ["fault", "class of the failure", "launches", "exit code", "result"], rows
    )


def fuzzing(parts):
    """Each reader of text from outside, and all together."""
    found = parts.get("fuzz", {}).get("lines", [])
    if not found:
        return ["Not run."]
    rows = [
        [
            it["target"],
            f"{it['cases']:,}",
            f"{it['findings']:,}",
            f"{it['seconds']:.0f} s",
            f"{it['longest_seconds'] * 1000:.1f} ms",
            f"{it['peak_bytes'] / 2**20:.1f} MiB",
        ]
        for it in found
    ]
    return [f"Seed {found[0]['seed']}. The time is that of all processes together.", ""] + table(
        ["target", "cases", "findings", "time", "longest case", "most memory"], rows
    )


def by_strategy(line):
    """Its sweeps by strategy."""
    found = line.get("strategies")
    if found is None:
        return "not counted in the last run, which had `grid` alone"
    return ", ".join(f"{count:,} {name}" for name, count in sorted(found.items()))


def table(head, rows):
    text = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return text + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]


def document(parts):
    text = [
        "# Reliability",
        "",
        "What was done to break the five promises, and what came of it. `.ci/campaign` writes this file;",
        "its lines of figures are in `reliability.json`. What was not run is said to be so.",
        "",
        "```sh",
        "bash .ci/campaign [SEED] [SCALE] [NAME...]   # SCALE 1 is what is reported here",
        "```",
        "",
        "## The promises",
        "",
    ]
    rows = []
    for promise, how, names, what in PROMISES:
        count = total(parts, names, ["crashes"])
        counted = NOT_RUN if count is None else f"{count:,} kills"
        rows.append([promise, how, counted, seeds(parts, names), result(parts, names, what)])
    text += table(["promise", "how tested", "count", "seed", "last result"], rows)
    text += [
        "",
        "## Crashes",
        "",
        "- `crash`: a world on disk, whose candidates and production are files that survive a SIGKILL. The",
        "  process is killed around every write, sync, rename and removal of the journal, the debts, the locks",
        "  and the other files, every engine call and every production call; writes are torn, or their rest is",
        "  NUL bytes, as a loss of power leaves it; the disk is full at each point, once or from there on; the",
        "  run's folder is lost after the kill at every third point. Then schedules of two to four kills, of",
        "  `recover` and `resume` too. Measurements and time are virtual, so the final rows are compared exactly. While",
        "  production is down a debt that can be read must say so; at the end none may be left. The world",
        "  removes a dead session's candidates before it continues, as the commands do; whether these do is shown",
        "  by the next two.",
        "  Sweeps by `adaptive` and by `model` are among them: each strategy that is built anew from any part of a",
        "  journal must ask for what the sweep then began. Trials have times by their number there, since a",
        "  sweep that was killed takes longer, and a machine that drifts meanwhile may rightly change a choice.",
        "- `crash-simulated`, `crash-process`: the built program, killed at random moments; a third of the nights",
        "  have `adaptive`, in a grid whose launches it chooses alike whatever is measured.",
        "- `crash-docker`: the same with containers, and a production that is stopped and started. More than half",
        "  of the kills are at calls of the engine, by a proxy before the daemon's socket: before the daemon hears",
        "  of a create, start, stop or removal, or once it is done and the answer is lost.",
        "",
        "Not tested: power lost under a file system that reorders writes; a host that freezes.",
        "",
    ]
    rows = []
    for name in ALL:
        line = next((it for part in parts.values() for it in part["lines"] if it.get("name") == name), None)
        if line is None:
            rows.append([f"`{name}`"] + [NOT_RUN] + ["-"] * 6)
            continue
        rows.append(
            [
                f"`{name}`",
                f"{line['crashes']:,}",
                line.get("full_disks", "-"),
                line.get("worlds", "-"),
                line.get("rows_compared", "-"),
                line.get("lost_repeats", "-"),
                line.get("leaked_candidates", "-"),
                line.get("wrong_rows", "-"),
            ]
        )
    text += table(
        ["part", "kills", "full disks", "sweeps", "rows compared", "lost repeats", "leaked", "wrong rows"], rows
    )
    crash = next((it for part in parts.values() for it in part["lines"] if it.get("name") == "crash"), None)
    if crash:
        text += [
            "",
            f"In `crash`, {crash['cut_journals']:,} journals of complete sweeps were cut at a length drawn at random and",
            f"resumed: {crash['refused_cuts']:,} were refused with the journal's name, the others came to the same rows.",
            f"{crash.get('lost_folders', 0):,} folders were lost after a kill. Sweeps by their strategy: {by_strategy(crash)}.",
            "Kills by the point at which they came:",
            "",
        ]
        text += table(["point", "kills"], sorted(crash["points"].items()))
    text += ["", "## Faults", ""] + faults(parts)
    text += ["", "## Fuzzing", ""] + fuzzing(parts)
    text += ["", "## Soak", ""]
    soak = parts.get("soak", {}).get("lines", [])
    if soak:
        it = soak[0]
        text += [f"{it['launches']} launches in a row on Docker, in {it['seconds']:.0f} s, seed {it['seed']}. From launch {it['from_launch']} to the end:", ""]
        rows = [["memory of the sweep's process, MB", it["memory_mb"], f"grew by {it['memory_growth_mb']} (goal: under 5)"]]
        rows += [[what, it[what][1], f"{it[what][0]} before"] for what in ["descriptors", "threads", "containers", "networks", "volumes"]]
        text += table(["what", "at the end", "change"], rows)
    else:
        text += ["Not run."]
    text += ["", "## Figures", ""]
    rows = [[it["what"], it["goal"], it["value"]] for it in parts.get("figures", {}).get("lines", [])]
    kills = total(parts, ALL, ["crashes"])
    goals = [
        ("lost repeats", ["lost_repeats"]),
        ("leaked candidates", ["leaked_candidates"]),
        ("wrong rows", ["wrong_rows"]),
    ]
    for words, keys in goals:
        count = total(parts, ALL, keys)
        value = NOT_RUN if count is None else f"{count:,} in {kills:,} kills"
        rows.append([words, "0 in 1,100", value])
    if not parts.get("figures"):
        rows.append(["`cargo bench --bench figures`", "-", NOT_RUN])
    text += table(["figure", "goal", "measured"], rows)
    text += ["", "## When", ""]
    names = ["worlds", "crash", "crash-binary", "crash-docker", "slurm", "soak", "fuzz"]
    names += ["properties", "faults", "figures"]
    rows = []
    for name in names:
        part = parts.get(name)
        rows.append(
            [
                name,
                part["date"],
                f"`{part['commit']}`",
                part["seed"],
                f"{part['scale']:g}",
                f"{part['seconds']} s",
                "passed" if part["passed"] else "FAILED",
            ]
            if part
            else [name, NOT_RUN, "-", "-", "-", "-", "-"]
        )
    text += table(["part", "date", "commit", "seed", "scale", "took", "result"], rows)
    return "\n".join(text) + "\n"


def main(arguments):
    match arguments:
        case ["note", folder, name, seed, scale, status, seconds]:
            note(pathlib.Path(folder), name, seed, scale, status, seconds)
        case ["write", folder, data, target]:
            data = pathlib.Path(data)
            parts = json.loads(data.read_text()) if data.is_file() else {}
            for file in sorted(pathlib.Path(folder).glob("part-*.json")):
                part = json.loads(file.read_text())
                parts[part["part"]] = part
            data.write_text(json.dumps(parts, indent=1, sort_keys=True) + "\n")
            pathlib.Path(target).write_text(document(parts))
        case ["show", data]:
            data = pathlib.Path(data)
            sys.stdout.write(document(json.loads(data.read_text()) if data.is_file() else {}))
        case _:
            sys.exit(__doc__)


main(sys.argv[1:])
