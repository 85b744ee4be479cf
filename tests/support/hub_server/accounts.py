"""Who asks: accounts by their token."""

from __future__ import annotations

from dataclasses import dataclass

TOKEN = "hf_test_token_of_me"
READ_TOKEN = "hf_test_token_of_me_to_read"
OTHER_TOKEN = "hf_test_token_of_you"


@dataclass
class Account:
    name: str
    orgs: tuple[str, ...] = ()
    role: str = "write"  # of the token; "read" may change nothing

    def owns(self, namespace: str) -> bool:
        return namespace == self.name or namespace in self.orgs


def default_accounts() -> dict[str, Account]:
    return {
        TOKEN: Account("me", ("timm-pushpull", "lab")),
        READ_TOKEN: Account("me", ("timm-pushpull", "lab"), "read"),
        OTHER_TOKEN: Account("you"),
    }
