# SPDX-License-Identifier: GPL-2.0-or-later
"""Our errors <-> error replies. It knows nothing of connections."""

from __future__ import annotations

import logging

from wgsd_nm.bus import names
from wgsd_nm.bus.marshal import Malformed
from wgsd_nm.bus.message import Message
from wgsd_nm.core.errors import (
    AccessDenied,
    BusError,
    CallFailed,
    CallTimedOut,
    InteractionRequired,
    InvalidArguments,
    ServiceUnavailable,
    WgsdError,
)

_log = logging.getLogger(__name__)


def heard(reply: Message) -> BusError:
    """What an error reply to a call of ours means. Raises Malformed."""
    body = reply.body() if reply.signature.startswith("s") else [""]
    name, text = reply.error_name, body[0] or reply.error_name
    match name:
        case names.ERROR_NO_REPLY | names.ERROR_TIMEOUT | names.ERROR_TIMED_OUT:
            return CallTimedOut(text)
        case names.ERROR_SERVICE_UNKNOWN | names.ERROR_NAME_HAS_NO_OWNER:
            return ServiceUnavailable(text)
        case names.ERROR_ACCESS_DENIED:
            return AccessDenied(text)
        case names.ERROR_INTERACTION_REQUIRED:
            return InteractionRequired(text)
        case names.ERROR_INVALID_ARGS:
            return InvalidArguments(text)
        case _ if reply.sender == names.DBUS and name.startswith(names.ACTIVATION_ERRORS):
            return ServiceUnavailable(text)
        case _:
            return CallFailed(name, text)


def told(error: Exception, member: str) -> tuple[str, str]:
    """Error name and text for who called `member`; of an error that is not ours only the log learns more."""
    match error:
        case WgsdError():
            name, text = names.error_name(error), str(error)
        case Malformed():
            name, text = names.ERROR_INVALID_ARGS, str(error)
        case _:
            _log.error("%s failed", member, exc_info=error)
            name, text = names.ERROR_FAILED, "internal error"
    return name, text.encode(errors="replace").decode().replace("\0", "")
