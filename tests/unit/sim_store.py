"""A store that is a dictionary."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from imgoptd.core import commands as c
from imgoptd.core.model import (
    FileRecord,
    FileRef,
    Intent,
    JobState,
    Kept,
    Output,
    Receipt,
)


@dataclass(slots=True)
class SimStore:
    files: dict[FileRef, FileRecord] = field(default_factory=dict)
    intents: dict[FileRef, Intent] = field(default_factory=dict)
    receipts: list[Receipt] = field(default_factory=list)
    kept: dict[bytes, Kept] = field(default_factory=dict)
    outputs: dict[tuple[FileRef, bytes], Output] = field(default_factory=dict)
    baselines: set[bytes] = field(default_factory=set)
    begun: dict[bytes, int] = field(default_factory=dict)
    learned: list[c.SaveLearned] = field(default_factory=list)
    steps: defaultdict[FileRef, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))

    def commit(self, records: list[c.Record]) -> None:
        for record in records:
            match record:
                case c.SaveFile(file):
                    assert file.state is not JobState.SETTLING, "a settling file is not stored"
                    self.files[file.ref] = file
                case c.AppendStep(ref, step, text):
                    self.steps[ref].append((step, text))
                case c.SaveIntent(intent):
                    self.intents[intent.ref] = intent
                case c.DropIntent(ref):
                    self.intents.pop(ref, None)
                case c.SaveReceipt(receipt):
                    self.receipts.append(receipt)
                case c.SaveKept(kept):
                    self.kept[kept.at.name] = kept
                case c.DropKept(kept):
                    del self.kept[kept.at.name]
                case c.SaveOutput(output):
                    self.outputs[output.ref, output.root] = output
                case c.SaveLearned():
                    self.learned.append(record)
                case c.BaselineBegun(root, wall_ns):
                    self.begun.setdefault(root, wall_ns)
                case c.BaselineTaken(root):
                    self.baselines.add(root)
