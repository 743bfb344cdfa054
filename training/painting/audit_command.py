"""``python -m training audit``: every completed body against anatomy, and drawn vessels against expert ones."""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from training.errors import TrainingError
from training.painting.audit import Finding, audit, failed
from training.painting.bodies import atlas_beside, audit_body, body_paths, read_atlas, read_body
from training.painting.body_building import complete_hidden
from training.painting.body_library import is_library, open_library
from training.painting.courses import COPIED_DSC, Course, PlacedBody, courses_of_map


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of ``audit``."""
    parser.add_argument(
        "bodies",
        metavar="BODIES",
        type=Path,
        help="a folder of completed bodies (*.npz), or one body; or a library made by `recombine`",
    )
    parser.add_argument(
        "--against",
        metavar="MAP",
        type=Path,
        nargs="+",
        default=[],
        help="expert maps: compare aorta and vena cava of their bodies, completed with these vessels hidden",
    )
    parser.add_argument("--notes", action="store_true", help="show what is out of range but does not fail, too")
    parser.add_argument("--json", action="store_true", help="all findings and courses as JSON instead of a table")


def audit_command(options: argparse.Namespace) -> int:
    """Audit all bodies and print what was found; returns 1 if any body fails."""
    findings = dict(_findings(options.bodies))
    folder = options.bodies if options.bodies.is_dir() else options.bodies.parent
    courses: dict[str, list[Course]] = {}
    for path in options.against:
        courses |= courses_of_map(path, hidden_bodies(folder))
    if options.json:
        print(json.dumps(_as_json(findings, courses), indent=1))
    else:
        print("\n".join([*_findings_table(findings, options.notes), *_courses_table(courses), *_summary(findings)]))
    bad = any(failed(found) for found in findings.values())
    return int(bad or any(course.failed for found in courses.values() for course in found))


def _findings(bodies: Path) -> Iterator[tuple[str, list[Finding]]]:
    """Names and findings of one body, of a folder of completed bodies, or of a library, in which vessels are drawn."""
    if bodies.is_dir() and is_library(bodies):
        for body in open_library(bodies):
            yield body.name, audit(body.tissues, body.owner, body.known)
        return
    files = [bodies] if bodies.is_file() else body_paths(bodies)
    if not files:
        raise TrainingError(f"no bodies in {bodies}; run `python -m training synthesize DATA --to {bodies}` first")
    for path in files:
        yield path.stem, audit_file(path)


def audit_file(path: Path) -> list[Finding]:
    """Audit a saved body as it is painted from: with its vessels drawn, if they are not there yet.

    Raises ``TrainingError`` for a body without any tissue.
    """
    try:
        return audit_body(read_body(path), atlas_beside(path.parent))
    except ValueError as error:
        raise TrainingError(f"{path}: {error}") from error


def hidden_bodies(folder: Path) -> Callable[[Path], list[PlacedBody]]:
    """For ``courses_of_map``: a map's body completed with its own vessels hidden, by the courses beside ``folder``'s
    bodies without that map's own.
    """

    def complete(path: Path) -> list[PlacedBody]:
        body = complete_hidden(path, read_atlas(folder))
        return [PlacedBody(body.name, body.tissues, body.origin_lps)]

    return complete


def _as_json(findings: dict[str, list[Finding]], courses: dict[str, list[Course]]) -> dict[str, object]:
    """JSON has no infinity and no NaN: ``null`` is an open limit, or a distance that could not be measured."""
    return {
        "bodies": {name: [_finite(asdict(finding)) for finding in found] for name, found in findings.items()},
        "courses": {
            name: [{**_finite(asdict(course)), "failed": course.failed} for course in found]
            for name, found in courses.items()
        },
        "failed": [name for name, found in findings.items() if failed(found)],
    }


def _finite(fields: dict[str, object]) -> dict[str, object]:
    def plain(value: object) -> object:
        if isinstance(value, tuple):
            return [plain(part) for part in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {name: plain(value) for name, value in fields.items()}


def _findings_table(findings: dict[str, list[Finding]], notes: bool) -> list[str]:
    shown = [(name, one) for name, found in findings.items() for one in found if notes or one.severity == "fail"]
    width = max((len(name) for name, _ in shown), default=0)
    return [f"{name:{width}}  {one.severity}  {one}" for name, one in shown]


def _courses_table(courses: dict[str, list[Course]]) -> list[str]:
    lines = []
    for name, found in courses.items():
        for course in found:
            verdict = "fail" if course.failed else "pass"
            copied = ": the map's own vessel, complete the body with it hidden" if course.dsc >= COPIED_DSC else ""
            lines.append(
                f"{name}  {verdict}  {course.vessel}: DSC {course.dsc:.2f}, middles {course.median_mm:.1f} mm apart in "
                f"the median and {course.largest_mm:.1f} at most, absent in {course.missing} of {course.slices} slices"
                f"{copied}"
            )
    return lines


def _summary(findings: dict[str, list[Finding]]) -> list[str]:
    """One line a family of sources: how many of its bodies pass, and what fails most often."""
    families: dict[str, list[list[Finding]]] = {}
    for name, found in findings.items():
        families.setdefault(name.split("_")[0], []).append(found)
    lines = []
    for family, bodies in families.items():
        passed = sum(not failed(found) for found in bodies)
        kinds = Counter(f"{one.organ}'s {one.what}" for found in bodies for one in found if one.severity == "fail")
        most = ", ".join(f"{kind} ({count})" for kind, count in kinds.most_common(3))
        lines.append(f"{family}: {passed} of {len(bodies)} bodies pass" + (f"; most often: {most}" if most else ""))
    return lines
