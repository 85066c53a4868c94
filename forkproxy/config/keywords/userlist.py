"""The ``userlist`` section (manual 3, "Userlists"): groups, and users with a password hash or a plain password."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forkproxy.config.args import Rest, Word
from forkproxy.config.line import Line
from forkproxy.registry import keyword

if TYPE_CHECKING:
    from forkproxy.rules.userlist import Userlist


class UserList:
    """The section while it is read; :meth:`finish` makes what rules look users up in."""

    __slots__ = ("groups", "line", "name", "users")

    def __init__(self, name: str, line: Line) -> None:
        self.name = name
        self.line = line
        #: group → the line and the users it names
        self.groups: dict[str, tuple[Line, list[str]]] = {}
        #: user → (line, password, is it a hash, groups)
        self.users: dict[str, tuple[Line, bytes, bool, list[str]]] = {}

    def finish(self) -> Userlist:
        """The list that rules look users up in; names that do not exist become alerts."""
        from forkproxy.rules.userlist import Userlist

        made = Userlist(self.name)
        for name, (line, password, hashed, groups) in self.users.items():
            for group in groups:
                if group not in self.groups:
                    line.alert(f"userlist '{self.name}': no such group '{group}' specified in user '{name}'.")
            try:
                made.add(_bytes(name), password, not hashed, [_bytes(g) for g in groups])
            except ValueError as exc:
                line.alert(str(exc))
        for group, (line, users) in self.groups.items():
            for user in users:
                if user not in self.users:
                    line.alert(f"userlist '{self.name}': no such user '{user}' specified in group '{group}'.")
            made.add_group(_bytes(group), [_bytes(u) for u in users])
        return made


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


@keyword("userlist", "group", args=(Word("<name>"), Rest()), synopsis="<name> [users <user>[,<user>]*]")
def group(draft: UserList, line: Line, name: str, start: int) -> None:
    """Declare a group, and optionally the users in it."""
    if name in draft.groups:
        line.warn(f"ignoring duplicated group '{name}' in userlist '{draft.name}'.", 1)
        return
    users: list[str] = []
    if start < len(line.words):
        if line.words[start] != "users" or len(line.words) != start + 2:
            line.fail("'group' only supports 'users' option.", start)
        users = [u for u in line.words[start + 1].split(",") if u]
    draft.groups[name] = (line, users)


@keyword(
    "userlist",
    "user",
    args=(Word("<name>"), Rest()),
    synopsis="<name> [password|insecure-password <password>] [groups <group>[,<group>]*]",
)
def user(draft: UserList, line: Line, name: str, start: int) -> None:
    """Declare a user with a crypt(3) hash or a plain password, and the groups he is in."""
    if name in draft.users:
        line.warn(f"ignoring duplicated user '{name}' in userlist '{draft.name}'.", 1)
        return
    password, hashed, groups = b"", False, []
    at = start
    while at < len(line.words):
        option = line.words[at]
        if option not in ("password", "insecure-password", "groups"):
            line.fail("'user' only supports 'password', 'insecure-password' and 'groups' options.", at)
        if at + 1 >= len(line.words):
            line.fail(f"'{option}' expects a value.", at)
        value = line.words[at + 1]
        if option == "groups":
            groups = [g for g in value.split(",") if g]
        else:
            password, hashed = _bytes(value), option == "password"
        at += 2
    if not password:
        line.note(f"user '{name}' in userlist '{draft.name}' has no password: nobody can log in with it.", 1)
    draft.users[name] = (line, password, hashed, groups)
