"""The API server's own record of what the operator asked of it."""

from __future__ import annotations

from pathlib import Path

from bench.operator.writes import POLICY, Counts, audited, without_leases


class Audit:
    """In a folder of its own, which it makes."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._log = folder / "audit.log"
        policy = folder / "policy.json"
        policy.write_text(POLICY)
        self.flags = [f"--audit-policy-file={policy}", f"--audit-log-path={self._log}", "--audit-log-maxsize=2000"]

    def counts(self) -> tuple[Counts, Counts, Counts]:
        """Writes that were obeyed, writes that were not, and what was only read."""
        # Its last line may not be whole yet.
        lines = self._log.read_text().splitlines(keepends=True) if self._log.exists() else []
        return audited(line for line in lines if line.endswith("\n"))

    def writes(self) -> int:
        """All but the Lease's."""
        return without_leases(self.counts()[0]).total()
