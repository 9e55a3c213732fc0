"""kill -9 at random moments under load, again and again; then everything is counted."""

from tests.torture.rounds import Torture, Verdict

__all__ = ["Torture", "Verdict"]
