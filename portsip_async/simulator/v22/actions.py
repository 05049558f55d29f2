"""What the simulated PBX does for each operation of generation v22.

An action gets what the request sent, checked by `schemas`, and returns the content of the reply: a
dict for JSON, None for no body, or a whole `Reply`.
"""

from collections.abc import Mapping

from .account_actions import ACCOUNT_ACTIONS
from .blob_actions import BLOB_ACTIONS
from .call_actions import CALL_ACTIONS
from .context import Action
from .group_actions import GROUP_ACTIONS
from .user_actions import USER_ACTIONS

ACTIONS: Mapping[str, Action] = {
    **ACCOUNT_ACTIONS,
    **USER_ACTIONS,
    **GROUP_ACTIONS,
    **CALL_ACTIONS,
    **BLOB_ACTIONS,
}
