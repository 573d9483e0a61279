"""A campaign in its caller's hands: what ``send()`` gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

from mailqueue.bulk import control

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mailqueue.bulk.report import CampaignStatus, RecipientRow
    from mailqueue.errors import RecipientError
    from mailqueue.mail.message import EmailMessage
    from mailqueue.producer import Receipt

__all__ = ["Campaign"]


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign and what loading it came to. The numbers are of recipients, of this call.

    Its methods do what the functions of their names in ``mailqueue.bulk`` do, and raise as these.
    """

    id: str  # "" for a test send and a dry run
    added: int = 0
    duplicates: int = 0  # of an address that was in already, in this call or before
    skipped: int = 0  # that cannot be used
    mistakes: Sequence[RecipientError] = ()  # why; the first 1,000
    seeds: Sequence[Receipt] = field(default=())  # of the copies for the seed list
    first: EmailMessage | None = None  # of a dry run: what the first recipient would get

    def status(self) -> CampaignStatus:
        """How it stands."""
        return control.status(self.id)

    def pause(self) -> CampaignStatus:
        """Let nothing of it begin from now on."""
        return control.pause(self.id)

    def resume(self) -> CampaignStatus:
        """Go on where it was paused."""
        return control.resume(self.id)

    def cancel(self) -> CampaignStatus:
        """Withdraw it."""
        return control.cancel(self.id)

    def retry(self) -> int:
        """Send it again to those whom it has failed to reach."""
        return control.retry(self.id)

    def export(self) -> Iterator[RecipientRow]:
        """What became of each recipient."""
        return control.export(self.id)

    def export_csv(self, file: IO[str]) -> int:
        """The same as CSV."""
        return control.export_csv(self.id, file)

    def wait(
        self, *, timeout: float | None = None, progress: Callable[[CampaignStatus], object] | None = None
    ) -> CampaignStatus:
        """Wait until it has ended."""
        return control.wait(self.id, timeout=timeout, progress=progress)
