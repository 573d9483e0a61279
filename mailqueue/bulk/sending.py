"""The way in for bulk mail: a template and recipients become a campaign, which the workers send.

All of it is tried before anything is sent: the template, the options, and every recipient with the template.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from operator import length_hint
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from mailqueue import conf
from mailqueue.bulk import recipients as reading
from mailqueue.bulk import templatefile
from mailqueue.bulk.address import digest
from mailqueue.bulk.campaign import Campaign
from mailqueue.bulk.letters import Letters
from mailqueue.bulk.loading import Loaded, Loader, patiently
from mailqueue.bulk.spec import encode_spec, made_id
from mailqueue.bulk.template import Template, pack_attachments
from mailqueue.bulk.templatefile import TemplateFile
from mailqueue.bulk.terms import Terms
from mailqueue.bulk.ways import choose
from mailqueue.errors import CampaignConflict, CampaignNotFound, IllegalTransition, LedgerUnavailable, RecipientError
from mailqueue.lanes import DEFAULT_LANE
from mailqueue.ledger.campaigns import CampaignState, width_for
from mailqueue.producer import get_producer
from mailqueue.route import route_to

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from mailqueue.bulk.recipients import Recipient, Source
    from mailqueue.bulk.sandbox import Origin
    from mailqueue.bulk.terms import Seed
    from mailqueue.ledger.base import Ledger
    from mailqueue.ledger.campaigns import Creation
    from mailqueue.producer import Receipt

__all__ = ["send"]

_SHORTEST_ROW: Final = 12  # octets of a file for each recipient, at least
_SYNC: Final = 10.0  # s that the disk of the store is waited for, with MAILQUEUE_DURABILITY=always


def send(
    template: Template | TemplateFile | str | Path,
    recipients: Source,
    *,
    campaign: str | None = None,
    list: str = "",  # noqa: A002 - the field's name
    using: str | Mapping[str, float] | None = None,
    lane: str = "bulk",
    start_at: datetime | None = None,
    expires_at: datetime | timedelta | None = None,
    quiet: str | None = None,
    on_error: Literal["stop", "skip"] = "stop",
    seeds: Sequence[Seed] = (),
    seeds_only: bool = False,
    dry_run: bool = False,
    on_finish: str = "",
    unsubscribe: bool | None = None,
    feedback_id: str = "",
    on_unknown: Literal["resend", "hold"] | None = None,
    attachments: Sequence[Any] = (),
    progress: Callable[[Loaded], object] | None = None,
) -> Campaign:
    """Send each of ``recipients`` a message of their own, made of ``template`` and their data.

    When this returns, the campaign and all of its recipients are durably stored, and the workers send it. Nothing is
    sent before every recipient was tried with the template. Recipients are read as they come and never held as a whole;
    a file or a list is read twice, so that with a mistake in it nothing is stored at all.

    Called again with the same ``campaign``, template and options, it goes on where a call was interrupted: who is in is
    not added again. Of a campaign that is complete, nothing more is read.

    Args:
        template: A ``Template``, or the path of a template file (docs/bulk-files.md). What the file says in its table
            ``[campaign]`` holds where the argument here is left at its default.
        recipients: The path of a CSV or JSON lines file, a database cursor, or any iterable of addresses, of pairs of
            address and data, or of mappings that have the address as ``email``.
        campaign: An id, up to 40 of ``a-z 0-9 . _ -``; made if left out.
        list: The name of the list that this goes to: for List-Id, for unsubscribing, and for the suppression list.
        using: An alias of MAILERS, or several with their weights: then each recipient's relay is drawn by weight, always
            the same for the same recipient, and while one is in trouble or over its quota another takes over.
        lane: The lane of its messages.
        start_at: Not to be started before; aware.
        expires_at: Nothing is sent from then on; an aware datetime, or a timedelta from the start.
        quiet: Hours in which nothing is sent, with their time zone: ``22:00-07:00 Europe/Paris``.
        on_error: What to do about recipients that cannot be used: "stop", or "skip" those.
        seeds: Who gets a copy first, at once, in the default lane; with the data of the first recipient.
        seeds_only: A test send: the seeds get theirs, and that is all. Only one recipient is read.
        dry_run: Everything is tried, and nothing is stored or sent. What comes back has the ``first`` message.
        on_finish: The dotted path of a function that a worker calls with the ``CampaignStatus``, once, when it is finished.
        unsubscribe: Whether messages have the fields by which their recipient leaves the list, and templates an
            ``unsubscribe_url`` (docs/consent.md). Default: if ``list`` is given, or MAILQUEUE_UNSUBSCRIBE_URL is set.
        feedback_id: The sender in Feedback-ID fields, 5 to 15 letters, digits and ``. _ -``; without it there is no such field.
        on_unknown: What to do if an answer of a relay is lost: "hold", the default, or "resend".
        attachments: As ``EmailMessage(attachments=...)`` takes them, for everybody: stored and encoded once.
        progress: Called with how far trying and then loading has come, after each 200 recipients or fewer.

    Raises:
        TemplateError: for the template, with field and line.
        RecipientError: for recipients, with row and column; all mistakes are in ``errors``. Nothing was sent.
        CampaignConflict: There is another campaign under this id.
        IllegalTransition: The campaign of this id was cancelled.
        InvalidMessage: for an option.
        ImproperlyConfigured: Recipients are to be able to leave the list, and the settings do not say where.
        MailerDoesNotExist, InvalidMailer: for ``using``.
        LedgerUnavailable: The store was away for too long. To call it again with the same ``campaign`` goes on.
    """
    terms = Terms(
        campaign=campaign,
        list=list,
        using=using,
        lane=lane,
        start_at=start_at,
        expires_at=expires_at,
        quiet=quiet,
        on_error=on_error,
        seeds=seeds,
        on_finish=on_finish,
        unsubscribe=unsubscribe,
        feedback_id=feedback_id,
        on_unknown=on_unknown,
    )
    if isinstance(template, Template):
        plan = _Plan(terms, template, {}, {}, attachments)
    else:
        file = template if isinstance(template, TemplateFile) else templatefile.load(template)
        plan = _Plan(terms.over(file.options), file.template, file.blobs, file.origins, attachments)
    if seeds_only:
        return Campaign("", seeds=plan.send_seeds(next(reading.read(recipients), None), again=True))
    if dry_run:
        return plan.try_out(recipients, progress)
    return plan.carry_out(recipients, progress)


class _Plan:
    """A campaign that is to be."""

    def __init__(
        self,
        terms: Terms,
        template: Template,
        blobs: Mapping[str, bytes],
        origins: Mapping[str, Origin],
        attachments: Sequence[Any],
    ) -> None:
        if attachments:
            parts, more = pack_attachments(attachments)
            template = msgspec.structs.replace(template, attachments=(*template.attachments, *parts))
            blobs = {**blobs, **more}
        self._terms = terms
        self._when = terms.schedule()
        self._spec = terms.spec(template)
        self._blobs = blobs
        self.id = terms.campaign or made_id()
        self._letters = Letters(self.id, self._spec, blobs, origins)

        self._skip = terms.on_error == "skip"

    def try_out(self, source: Source, progress: Callable[[Loaded], object] | None) -> Campaign:
        """Try all of it and store nothing; raises as ``send()``."""
        trial = self._try(source, progress)
        loaded, first = trial.loaded, trial.first
        message = None if first is None else self._letters.render(first.address, first.data)
        return Campaign(
            "", loaded.read - loaded.skipped, skipped=loaded.skipped, mistakes=tuple(loaded.mistakes), first=message
        )

    def carry_out(self, source: Source, progress: Callable[[Loaded], object] | None) -> Campaign:
        """Try, store and start it; raises as ``send()``."""
        ledger = get_producer().ledger
        if self._terms.campaign is not None and self._is_complete(ledger):
            return Campaign(self.id)
        tried = None if self._skip or not _can_be_read_twice(source) else self._try(source, progress).loaded
        self._check_seeds()
        made = self._create(ledger, width_for(_expected(source) if tried is None else tried.read))
        if made.state is not CampaignState.LOADING:  # by another call, meanwhile
            return Campaign(self.id)
        present = 0 if made.new else ledger.campaigns.get(self.id).chunks
        loader = self._loader(ledger, source, progress, present=present)
        try:
            loader.load(reading.read(source, on_error=loader.mistaken), tried=tried is not None)
        except RecipientError:
            with suppress(LedgerUnavailable, IllegalTransition):  # what is loading sends nothing in any case
                ledger.campaigns.cancel(self.id)
            raise
        receipts = self.send_seeds(loader.first)
        patiently(ledger.campaigns.start, self.id)
        if conf.get("MAILQUEUE_DURABILITY") == "always":
            patiently(ledger.durable, _SYNC)
        loaded = loader.loaded
        return Campaign(self.id, loaded.added, loaded.duplicates, loaded.skipped, tuple(loaded.mistakes), receipts)

    def _check_seeds(self) -> None:
        """Try the seeds that have data of their own: a mistake in one is found before anything is stored."""
        for seed in self._terms.seeds:
            if isinstance(seed, tuple):
                self._letters.check(*seed)

    def _try(self, source: Source, progress: Callable[[Loaded], object] | None) -> Loader:
        trial = self._loader(get_producer().ledger, source, progress)
        trial.dry_run(reading.read(source, on_error=trial.mistaken))
        return trial

    def _loader(
        self, ledger: Ledger, source: Source, progress: Callable[[Loaded], object] | None, *, present: int = 0
    ) -> Loader:
        return Loader(
            ledger.campaigns,
            self.id,
            self._letters.check,
            present=present,
            skip=self._skip,
            progress=progress,
            file=reading.file_of(source),
        )

    def _is_complete(self, ledger: Ledger) -> bool:
        """Whether an earlier call has loaded all of it. Raises what a later step would, before anything is read."""
        try:
            known = patiently(ledger.campaigns.get, self.id)
        except CampaignNotFound:
            return False
        if known.spec != encode_spec(self._spec):
            raise CampaignConflict(self.id)
        self._refuse_cancelled(known.state)
        return known.state is not CampaignState.LOADING

    def _refuse_cancelled(self, state: CampaignState) -> None:
        if state is CampaignState.CANCELLED:
            raise IllegalTransition(f"campaign {self.id!r} was cancelled: use a new id for a new one")

    def _create(self, ledger: Ledger, width: int) -> Creation:
        now = getattr(ledger, "now", time.time)()
        options = {
            "lane": self._terms.lane,
            "blobs": self._spec.blobs(),
            "start_at": self._when.send_at,
            "expires_at": self._when.expiry(now),
            "width": width,
        }
        content = encode_spec(self._spec)
        answer = patiently(ledger.campaigns.create, self.id, content, **options)
        if answer.lacking:
            patiently(ledger.put_blobs, {key: self._blobs[key] for key in answer.lacking})
            answer = patiently(ledger.campaigns.create, self.id, content, **options)
            if answer.lacking:
                raise LedgerUnavailable("the ledger's store does not keep large parts: is it evicting keys?")
        self._refuse_cancelled(answer.state)
        return answer

    def send_seeds(self, first: Recipient | None, *, again: bool = False) -> list[Receipt]:
        """Enqueue copies for a seed list, once for each campaign, or ``again`` and again.

        Raises:
            RecipientError: There is nobody whose data they could have.
            TemplateError, InvalidMessage: for a seed.
        """
        receipts = []
        for seed in self._terms.seeds:
            address, data = seed if isinstance(seed, tuple) else (seed, None)
            if data is None:
                if first is None:
                    raise RecipientError("there is no recipient whose data the seeds could be sent")
                data = first.data
            key = digest(address)
            receipts.append(
                get_producer().enqueue(
                    self._letters.render(address, data),
                    route_to(choose(self._spec.relays, key), lane=DEFAULT_LANE),
                    key=None if again else f"{self.id}/seed/{key}",
                )
            )
        return receipts


# -- what recipients may be


def _can_be_read_twice(source: Any) -> bool:
    if isinstance(source, str | PathLike):
        path = Path(source)
        return source != "-" and not (path.is_fifo() or path.is_char_device())  # as <(psql ...) of a shell is
    return isinstance(source, Sequence | Mapping)


def _expected(source: Any) -> int:
    """How many recipients there may be, by what is known before they are read; 0: nobody knows."""
    if isinstance(source, str | PathLike):
        with suppress(OSError):
            return Path(source).stat().st_size // _SHORTEST_ROW
    return length_hint(source)
