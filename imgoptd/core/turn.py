"""One turn of the engine: the time it happens at and the commands it gives."""

from __future__ import annotations

from dataclasses import dataclass, field

from imgoptd.core.commands import Action, Announce, Command, Record


@dataclass(slots=True)
class Turn:
    now_s: float
    commands: list[Command] = field(default_factory=list)

    def record(self, record: Record) -> None:
        """Make this durable before any action of the turn."""
        self.commands.append(record)

    def act(self, action: Action) -> None:
        self.commands.append(action)

    def announce(self, event: str, message: str, priority: int = 6, **fields: object) -> None:
        """Say it to the operator; fields become IMGOPTD_<NAME> in the journal."""
        pairs = tuple((name.upper(), str(value)) for name, value in fields.items())
        self.act(Announce(event, message, priority, pairs))
