"""What was measured, as it is measured: every value of every run, by scenario and side."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.procs import Load


@dataclass(frozen=True, slots=True)
class Metric:
    """What a scenario's values are."""

    unit: str
    higher_is_better: bool


@dataclass(slots=True)
class Book:
    metrics: dict[str, Metric] = field(default_factory=dict)
    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    loads: dict[str, dict[str, list[Load]]] = field(default_factory=dict)
    prompt_tokens: dict[tuple[str, int], dict[str, int]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add(self, scenario: str, metric: Metric, side: str, value: float) -> None:
        self.metrics[scenario] = metric
        self.values.setdefault(scenario, {}).setdefault(side, []).append(value)

    def add_load(self, scenario: str, side: str, load: Load) -> None:
        self.loads.setdefault(scenario, {}).setdefault(side, []).append(load)

    def add_prompt_tokens(self, scenario: str, run: int, side: str, tokens: int) -> None:
        """Both sides must have read the same prompts as the same number of tokens."""
        self.prompt_tokens.setdefault((scenario, run), {})[side] = tokens

    def problem(self, text: str) -> None:
        self.problems.append(text)

    def mismatches(self) -> list[str]:
        return [f"{scenario}, run {run + 1}: prompts of different lengths: {sides}"
                for (scenario, run), sides in self.prompt_tokens.items() if len(set(sides.values())) > 1]
