"""The ledger: one row a case, in a SQLite file that several coordinators share and a person can query.

A coordinator takes cases by leases. It renews them as long as it lives; a lease that has run out is anybody's. Only who
holds a case's lease can end it, so each case is ended once, whatever comes back late. SQLite's write-ahead log needs
memory that is shared by all who open the file: the ledger lies on a disk of the coordinators' own machine.
"""

from __future__ import annotations

import os
import secrets
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from cluster.errors import ClusterError

LEDGER_NAME: Final = "ledger.sqlite"
"""Of a ledger that lies in the folder for outputs."""

LEASE_S: Final = 30.0
"""A coordinator that has not been heard of for so long is taken for dead."""

_BUSY_S: Final = 60.0
_SCHEMA_VERSION: Final = 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS cases(
    name TEXT PRIMARY KEY,
    state TEXT NOT NULL CHECK(state IN ('waiting', 'running', 'done', 'failed')),
    attempts INTEGER NOT NULL DEFAULT 0,
    completions INTEGER NOT NULL DEFAULT 0,
    worker TEXT,
    seconds REAL,
    bytes_read INTEGER,
    bytes_written INTEGER,
    model TEXT,
    output_sha256 TEXT,
    output_bytes INTEGER,
    error TEXT,
    owner TEXT,
    lease_until REAL,
    ended REAL
);
CREATE INDEX IF NOT EXISTS cases_by_state ON cases(state, name);
CREATE TABLE IF NOT EXISTS runs(
    owner TEXT PRIMARY KEY,
    model TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started REAL NOT NULL,
    alive_until REAL NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt on a case ended: ``error`` is None where it is done.

    ``seconds`` are the worker's, ``output_sha256`` and ``output_bytes`` are of the label map.
    """

    worker: str
    seconds: float = 0.0
    bytes_read: int = 0
    bytes_written: int = 0
    output_sha256: str | None = None
    output_bytes: int | None = None
    error: str | None = None


@dataclass(slots=True)
class Ledger:
    """One coordinator's view of the file ``path``, for ``model``, the hash of the models that it labels with.

    ``clock`` gives seconds since 1970.
    """

    path: Path
    model: str
    clock: Callable[[], float] = time.time
    lease_s: float = LEASE_S
    owner: str = field(default_factory=lambda: secrets.token_hex(6))
    _rows: sqlite3.Connection = field(init=False)

    def __post_init__(self) -> None:
        """Raises ``ClusterError`` for a file that is no ledger, and if a run with other models is at work in it."""
        self._rows = _opened(self.path)
        with self._writing() as rows:
            now = self.clock()
            other = rows.execute(
                "SELECT host, pid FROM runs WHERE model <> ? AND alive_until >= ?", (self.model, now)
            ).fetchone()
            if other is not None:
                raise ClusterError(
                    f"a run with other models is at work in {self.path} (process {other[1]} on {other[0]}); wait until "
                    f"it ends, or up to {self.lease_s:g} s if it was killed, or name another ledger"
                )
            run = (self.owner, self.model, socket.gethostname(), os.getpid(), now, now + self.lease_s)
            rows.execute("INSERT INTO runs VALUES(?, ?, ?, ?, ?, ?)", run)

    def unknown(self, names: Sequence[str]) -> list[str]:
        """Those of ``names`` that no row tells of."""
        known = self._rows.execute
        return [name for name in names if known("SELECT 1 FROM cases WHERE name = ?", (name,)).fetchone() is None]

    def prepare(self, names: Sequence[str], there: Mapping[str, int], again: bool = False) -> list[str]:
        """Enter the cases ``names``; returns those that need no work.

        ``there`` has the size in bytes of each label map that is there, by case. A case is to be done where it is new,
        failed before, was made with another model, or where its label map is missing or of another size than the one
        that was made. A label map that no row tells of is kept, as ``predict`` does. ``again`` does all of them anew.
        ``completions`` counts on: of a case that was never to be done again it is 1.
        """
        with self._writing() as rows:
            rows.execute("CREATE TEMP TABLE IF NOT EXISTS asked(name TEXT PRIMARY KEY, bytes INTEGER)")
            rows.execute("DELETE FROM asked")
            rows.executemany("INSERT INTO asked VALUES(?, ?)", ((name, there.get(name)) for name in names))
            rows.execute(
                "INSERT OR IGNORE INTO cases(name, state, output_bytes) "
                "SELECT name, CASE WHEN bytes IS NULL THEN 'waiting' ELSE 'done' END, bytes FROM asked"
            )
            rows.execute(
                "UPDATE cases SET state = 'waiting', attempts = 0, error = NULL FROM asked "
                "WHERE cases.name = asked.name AND (state = 'failed' OR (state = 'done' AND "
                "(? OR (model IS NOT NULL AND model <> ?) OR asked.bytes IS NOT cases.output_bytes)))",
                (again, self.model),
            )
            done = rows.execute(
                "SELECT name FROM cases JOIN asked USING(name) WHERE state = 'done' ORDER BY name"
            ).fetchall()
        return [name for (name,) in done]

    def claim(self, most: int) -> list[str]:
        """Lease up to ``most`` cases that nobody works on, by name, and count an attempt on each."""
        with self._writing() as rows:
            now = self.clock()
            # the second half finds what dead coordinators held: a handful of rows. What this one holds is under way,
            # also where it stalled so long that its own leases ran out.
            found = rows.execute(
                "SELECT * FROM (SELECT name FROM cases WHERE state = 'waiting' "
                "AND EXISTS (SELECT 1 FROM asked WHERE asked.name = cases.name) ORDER BY name LIMIT :most) "
                "UNION ALL SELECT * FROM (SELECT name FROM cases WHERE state = 'running' AND lease_until < :now "
                "AND owner <> :owner "
                "AND EXISTS (SELECT 1 FROM asked WHERE asked.name = cases.name) ORDER BY name LIMIT :most) LIMIT :most",
                {"most": most, "now": now, "owner": self.owner},
            ).fetchall()
            rows.executemany(
                "UPDATE cases SET state = 'running', owner = ?, lease_until = ?, attempts = attempts + 1 "
                "WHERE name = ?",
                ((self.owner, now + self.lease_s, name) for (name,) in found),
            )
        return [name for (name,) in found]

    def renew(self) -> None:
        """Keep all leases of this coordinator for another while."""
        with self._writing() as rows:
            until = self.clock() + self.lease_s
            rows.execute("UPDATE runs SET alive_until = ? WHERE owner = ?", (until, self.owner))
            rows.execute("UPDATE cases SET lease_until = ? WHERE owner = ? AND state = 'running'", (until, self.owner))

    def attempt(self, name: str) -> None:
        """Count one more attempt on a case that is leased here: it was given to another worker."""
        with self._writing() as rows:
            rows.execute(
                "UPDATE cases SET attempts = attempts + 1 WHERE name = ? AND owner = ? AND state = 'running'",
                (name, self.owner),
            )

    def end(self, name: str, ending: Ending) -> bool:
        """Enter how a case ended; False if it is not leased here any more, and then nothing is changed."""
        state = "done" if ending.error is None else "failed"
        with self._writing() as rows:
            changed = rows.execute(
                "UPDATE cases SET state = ?, completions = completions + ?, worker = ?, seconds = ?, bytes_read = ?, "
                "bytes_written = ?, model = ?, output_sha256 = ?, output_bytes = ?, error = ?, ended = ?, "
                "owner = NULL, lease_until = NULL WHERE name = ? AND owner = ? AND state = 'running'",
                (
                    *(state, ending.error is None, ending.worker, ending.seconds, ending.bytes_read),
                    *(ending.bytes_written, self.model, ending.output_sha256, ending.output_bytes, ending.error),
                    *(self.clock(), name, self.owner),
                ),
            ).rowcount
        return changed == 1

    def unfinished(self) -> int:
        """How many of the cases of ``prepare`` are neither done nor failed, here and at other coordinators."""
        row = self._rows.execute(
            "SELECT count(*) FROM cases JOIN asked USING(name) WHERE state IN ('waiting', 'running')"
        ).fetchone()
        return int(row[0])

    def ended_elsewhere(self, ours: Sequence[str]) -> list[tuple[str, str | None]]:
        """The cases that another coordinator has ended since ``prepare``: name and error of each that is not ``ours``.

        ``ours`` are the names that this coordinator has ended, and those that needed no work.
        """
        known = set(ours)
        rows = self._rows.execute(
            "SELECT name, error FROM cases JOIN asked USING(name) WHERE state IN ('done', 'failed') ORDER BY name"
        )
        return [(name, error) for name, error in rows if name not in known]

    def close(self) -> None:
        """Give up all leases that are held, and end this run's entry."""
        with self._writing() as rows:
            rows.execute(
                "UPDATE cases SET state = 'waiting', owner = NULL, lease_until = NULL "
                "WHERE owner = ? AND state = 'running'",
                (self.owner,),
            )
            rows.execute("DELETE FROM runs WHERE owner = ?", (self.owner,))
        self._rows.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that no other coordinator writes beside."""
        try:
            self._rows.execute("BEGIN IMMEDIATE")
            try:
                yield self._rows
            except BaseException:
                self._rows.execute("ROLLBACK")
                raise
            self._rows.execute("COMMIT")
        except sqlite3.Error as error:
            raise ClusterError(f"cannot write the ledger {self.path}: {error}; is there room on its disk?") from error


@contextmanager
def read_only(path: Path) -> Iterator[sqlite3.Connection]:
    """A ledger to ask, also while coordinators work in it.

    Raises ``ClusterError``, also for a question in the block that fails.
    """
    if not path.is_file():
        raise ClusterError(f"there is no ledger {path}; name the file that `predict` was given with --ledger")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_BUSY_S)) as rows:
            yield rows
    except sqlite3.Error as error:
        raise ClusterError(f"cannot read the ledger {path}: {error}") from error


def _opened(path: Path) -> sqlite3.Connection:
    try:
        rows = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
        # in one transaction: of two that begin at once, neither sees the tables of the other without their version
        rows.execute("BEGIN IMMEDIATE")
        version = rows.execute("PRAGMA user_version").fetchone()[0]
        tables = rows.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if version != _SCHEMA_VERSION and (version or tables):
            raise ClusterError(f"{path} is there and no ledger of version {_SCHEMA_VERSION}; name another --ledger")
        for statement in filter(str.strip, _SCHEMA.split(";")):
            rows.execute(statement)
        rows.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        rows.execute("COMMIT")
        # killed at any moment, a coordinator loses nothing; a machine without power may lose what ended last
        _keep_a_log(rows)
        rows.execute("PRAGMA synchronous = NORMAL")
    except sqlite3.Error as error:
        raise ClusterError(f"cannot open the ledger {path}: {error}; name another --ledger") from error
    return rows


def _keep_a_log(rows: sqlite3.Connection) -> None:
    """Turn on the write-ahead log. Where others open the file just now, SQLite refuses at once and does not wait."""
    until = time.monotonic() + _BUSY_S
    while True:
        try:
            rows.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return
