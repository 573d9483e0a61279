"""From a campaign and a recipient to the message: the template rendered, and the header fields that bulk mail must have.

Used by the workers, and by the producer for its dry run and for test sends, so that both see the same.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mailqueue.bulk.listheaders import bulk_headers
from mailqueue.bulk.unsubscribe import Unsubscribe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mailqueue.bulk.sandbox import Origin
    from mailqueue.bulk.spec import CampaignSpec
    from mailqueue.mail.message import EmailMessage

__all__ = ["Letters"]


class Letters:
    """Makes the messages of one campaign.

    Args:
        campaign: Its id.
        spec: What its messages have in common.
        blobs: The octets of its large attachments, by content hash.
        origins: Where the texts of the template were read, for errors.

    Raises:
        TemplateError: The template cannot be compiled.
        WireError: An attachment is lacking.
        ImproperlyConfigured: Recipients are to be able to leave the list, and the settings do not say where.
    """

    def __init__(
        self,
        campaign: str,
        spec: CampaignSpec,
        blobs: Mapping[str, bytes],
        origins: Mapping[str, Origin] = MappingProxyType({}),
    ) -> None:
        self.spec = spec
        self._unsubscribe = Unsubscribe.from_settings() if spec.unsubscribe else None
        self._compiled = spec.template.compile(blobs, origins=origins)
        self._fields = bulk_headers(spec.list, domain=spec.host, campaign=campaign, sender=spec.feedback_id)

    def check(self, address: str, data: Mapping[str, Any]) -> None:
        """Find out whether a recipient can be sent the message, without making it.

        Raises:
            TemplateError: for a variable that is missing, or a value that the template cannot use.
            InvalidMessage, ValueError: for an address, or a line break in a header field.
        """
        self._compiled.check(address, data, self._extra(address))

    def render(self, address: str, data: Mapping[str, Any], *, date: str = "", message_id: str = "") -> EmailMessage:
        """The message for a recipient; raises as ``check()``. Without Date and Message-ID it gets new ones when it is sent."""
        message = self._compiled.render(address, data, self._extra(address))
        fields = {}
        if date:
            fields["Date"] = date
        if message_id:
            fields["Message-ID"] = message_id
        fields |= self._fields
        if self._unsubscribe is not None:
            fields |= self._unsubscribe.headers(self.spec.list, address)
        own = message.extra_headers
        if own:  # what the template says itself wins
            names = {name.lower() for name in own}
            if "list-unsubscribe" in names:  # whether that URL takes one click is not ours to say
                names.add("list-unsubscribe-post")
            fields = {name: value for name, value in fields.items() if name.lower() not in names}
            fields |= own
        message.extra_headers = fields
        return message

    def _extra(self, address: str) -> dict[str, Any]:
        """What a template may use beside the recipient's data."""
        if self._unsubscribe is None:
            return {}
        return {"unsubscribe_url": self._unsubscribe.url(self.spec.list, address)}
