"""Man pages and completions of shells, made from what the program has: the table of options, and the pages of ``reference``.

``python -m forkproxy.manual DIRECTORY`` writes

    forkproxy.1        the command line
    forkproxy.cfg.5    the configuration: every keyword, action, fetch and converter
    forkproxy-cli.7    the commands of the runtime CLI
    forkproxy.bash     completion for bash (/usr/share/bash-completion/completions/forkproxy)
    _forkproxy         completion for zsh (a directory of its ``fpath``)

A man page is text of roff's ``man`` macros (man(7)); the Markdown that it is made from is only what ``reference`` writes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from forkproxy import COMPAT_VERSION, __date__, __version__
from forkproxy.arguments import OPTIONS, Kind, Option, Takes, without_effect
from forkproxy.listing import CLASSES, register_all
from forkproxy.reference import page

#: pages of the reference that forkproxy.cfg(5) holds, in its order
_CONFIGURATION = (
    "global", "proxies", "bind", "server", "actions", "acls", "fetches", "converters", "balance", "checks", "services", "log-format",
    "sections",
)  # fmt: skip

# -- roff ------------------------------------------------------------------------------------------------------------------


def _escape(text: str) -> str:
    """``text`` so that roff prints it as it is: backslashes, dashes that can be typed, quotes."""
    return text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("^", "\\(ha").replace("~", "\\(ti")


def _line(text: str) -> str:
    """One line of running text; a dot at its beginning is no request."""
    return "\\&" + text if text.startswith((".", "'")) else text


def _inline(text: str) -> str:
    """Code in bold; links keep their text only. Both kinds of code marks are taken: ``two`` and `one`."""
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text)
    parts = re.split(r"(``.+?``|`[^`]+`)", text)
    return _line("".join(rf"\fB{_escape(p.strip('`'))}\fP" if i % 2 else _escape(p) for i, p in enumerate(parts)))


def _item(tag: str, text: Iterable[str]) -> list[str]:
    """A paragraph with a tag before it; ``tag`` is written in bold."""
    return [".TP", _line(rf"\fB{_escape(tag)}\fP"), *text]


def _cells(row: str) -> list[str]:
    """The cells of a row of a table."""
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row.strip()[1:-1])]


def from_markdown(text: str) -> list[str]:
    """What ``reference`` wrote as lines of roff: headings of keywords and first cells of tables become tags, code becomes bold."""
    lines: list[str] = []
    fresh = True  # does a paragraph begin here?
    for line in text.splitlines():
        if line.startswith("<!--") or re.match(r"\|[-|]+\|$", line):
            continue
        if not line:
            fresh = True
            continue
        if line.startswith("# "):
            lines.append(f'.SH "{_escape(line[2:].upper())}"')
        elif line.startswith("## ") and "`" not in line:
            lines.append(f'.SS "{_escape(line[3:])}"')
        elif line.startswith("#"):
            lines += _item(line.lstrip("# ").strip("`"), ())
        elif line.startswith("    "):
            lines += [*([".P"] if fresh and not lines[-1].startswith(".S") else []), ".nf", _line(rf"\fB{_escape(line.strip())}\fP"), ".fi"]
        elif line.startswith("|"):
            first, *others = _cells(line)
            if first.startswith("`"):  # else it is the head of the table
                described = [_inline(cell) for cell in others if cell]
                lines += _item(first.strip("`"), described[:1] and [line for cell in described for line in (".br", cell)][1:])
        else:
            lines += [*([".IP"] if fresh and lines and not lines[-1].startswith((".S", r"\fB")) else []), _inline(line)]
        fresh = False
    return lines


def _page(name: str, section: int, what: str, body: Iterable[str]) -> str:
    """A whole page: its head, its name, ``body``."""
    head = [r".\" Made by python -m forkproxy.manual. Change the code, not this page."]
    head.append(f'.TH {name.upper()} {section} {__date__.replace("/", "-")} "forkproxy {__version__}"')
    head += [".SH NAME", f"{_escape(name)} \\- {_escape(what)}"]
    return "\n".join([*head, *body]) + "\n"


# -- pages -----------------------------------------------------------------------------------------------------------------


def _options() -> list[str]:
    lines = []
    ignored = without_effect()
    for option in OPTIONS:
        if option not in ignored:
            sentence = option.doc[0].upper() + option.doc[1:] + "."
            lines += _item(option.typed, [_inline(sentence + (f" {option.more}" if option.more else ""))])
    return lines + _item(" ".join(f"-{option.flag}" for option in ignored), ["Accepted, because HAProxy has them; without effect here."])


_SIGNALS = {
    "SIGTERM, SIGINT": "Everything ends now.",
    "SIGUSR1": "Accept no more, finish what there is, then end; `hard-stop-after` bounds it.",
    "SIGUSR2, SIGHUP": "Read the files again and go on with them; a bad file changes nothing. "
    "With `-d` or `-db` and without `-W` SIGUSR2 is ignored, and SIGHUP logs the states of all servers.",
    "SIGTTOU, SIGTTIN": "Pause: new connections are refused, the addresses stay ours. Resume.",
}
_STATUS = {
    "0": "An orderly end; with `-c` a good file, with `-cc` a condition that is true.",
    "1": "It could not start, or the file is bad; with `-cc` a condition that is false.",
    "2": "With `-c`: nothing in the file listens. With `-cc`: the condition cannot be understood.",
}
_ENVIRONMENT = {
    "NOTIFY_SOCKET": "Where systemd is told of readiness, reloads and the end (sd_notify(3)).",
    "LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES": "Sockets that systemd opened. The configuration takes the first as `bind fd@3`, "
    "or by the name that the unit gave it as `bind fd@${NAME}`.",
    "HAPROXY_VERSION, HAPROXY_BRANCH, HAPROXY_CFGFILES, HAPROXY_LOCALPEER, HAPROXY_MWORKER, HAPROXY_CLI, HAPROXY_MASTER_CLI":
        "Set for the configuration and for programs that are started.",
}  # fmt: skip
_FILES = {
    "/etc/forkproxy/forkproxy.cfg": "The configuration that the service reads.",
    "/etc/default/forkproxy": "Settings of the service: CONFIG, PIDFILE, EXTRAOPTS.",
    "/run/forkproxy/master.sock": "The master's CLI, when started by systemd.",
}
_EXAMPLES = (
    ("Check a file, with notes:", "forkproxy -c -V -f /etc/forkproxy/forkproxy.cfg"),
    ("Run it in the foreground, then reload it:", "forkproxy -W -p /run/forkproxy.pid -f my.cfg", "kill -USR2 $(cat /run/forkproxy.pid)"),
    ("Take over from a running HAProxy without refusing a connection:",
     "forkproxy -W -f my.cfg -x /run/haproxy/admin.sock -sf $(cat /run/haproxy.pid)"),
)  # fmt: skip


def _table(title: str, rows: dict[str, str]) -> list[str]:
    return [f".SH {title}", *(line for tag, text in rows.items() for line in _item(tag, [_inline(text)]))]


def command() -> str:
    """forkproxy(1)."""
    body = [".SH SYNOPSIS", ".SY forkproxy", r"\fB\-f\fP", r"\fIfile\fP|\fIdirectory\fP ...", r"[\fIoption\fP ...]", ".YS"]
    body += [".SH DESCRIPTION", "A load balancer for TCP and HTTP: a master with worker processes, each with one event loop."]
    body += [f"It reads the configuration language of HAProxy {COMPAT_VERSION}, described in", r"\fBforkproxy.cfg\fP(5),"]
    body += ["and has its command line and signals. Without a file it shows its options."]
    body += [".SH OPTIONS", *_options(), *_table("SIGNALS", _SIGNALS), *_table('"EXIT STATUS"', _STATUS)]
    body += [*_table("ENVIRONMENT", _ENVIRONMENT), *_table("FILES", _FILES), ".SH EXAMPLES"]
    for text, *lines in _EXAMPLES:
        body += [*([".P"] if text != _EXAMPLES[0][0] else []), _inline(text), ".P", ".in +4n", ".nf"]
        body += [*(rf"\fB{_escape(line)}\fP" for line in lines), ".fi", ".in"]
    body += ['.SH "SEE ALSO"', r"\fBforkproxy.cfg\fP(5), \fBforkproxy\-cli\fP(7), \fBhaproxy\fP(1)"]
    return _page("forkproxy", 1, "load balancer for TCP and HTTP that reads HAProxy's configuration", body)


def configuration() -> str:
    """forkproxy.cfg(5)."""
    register_all()
    body = [".SH DESCRIPTION", "A file is a list of sections: a section begins with its keyword, and the lines that follow belong to it."]
    body += ["Words are separated by blanks; quotes, backslashes, comments (#) and variables (${NAME}) are those of HAProxy."]
    body += ["This page says what forkproxy has; what it means in depth is in HAProxy's configuration manual."]
    for name in _CONFIGURATION:
        body += from_markdown(page(name))
    body += ['.SH "SEE ALSO"', r"\fBforkproxy\fP(1), \fBforkproxy\-cli\fP(7)"]
    return _page("forkproxy.cfg", 5, "configuration of forkproxy", body)


def runtime() -> str:
    """forkproxy-cli(7)."""
    register_all()
    body = [".SH DESCRIPTION", _inline("What can be asked and changed while forkproxy runs, for example"), ".P", ".in +4n", ".nf"]
    body += [rf"\fB{_escape('echo show stat | socat - UNIX-CONNECT:/run/forkproxy/admin.sock')}\fP", ".fi", ".in"]
    body += [*from_markdown(page("cli")), '.SH "SEE ALSO"', r"\fBforkproxy\fP(1), \fBforkproxy.cfg\fP(5), \fBsocat\fP(1)"]
    return _page("forkproxy-cli", 7, "commands of the runtime CLI of forkproxy", body)


# -- completion ------------------------------------------------------------------------------------------------------------

#: a shell command that lists the masters that run
_MASTERS = "pgrep -f '^forkproxy: master|^haproxy '"


def _flags(kind: Kind) -> list[str]:
    """Options whose next word is of this kind, with their dashes."""
    return [f"-{option.flag}" for option in OPTIONS if option.kind is kind and option.takes is not Takes.REST]


def bash() -> str:
    """Completion for bash (bash(1), "Programmable Completion"); it needs nothing but bash."""
    classes = " ".join(f"-dK{name}" for name in ("all", *CLASSES))
    words = " ".join(f"-{option.flag}" for option in OPTIONS if option not in without_effect())
    valued = [option for option in OPTIONS if option.takes in (Takes.VALUE, Takes.WORD)]
    free = [f"-{option.flag}" for option in valued if option.kind in (Kind.FREE, Kind.NUMBER)]
    return f"""\
# Completion of forkproxy for bash. Made by python -m forkproxy.manual.

_forkproxy() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}} i
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        [[ ${{COMP_WORDS[i]}} == -- ]] && before=-f
    done
    # any number of processes may follow -sf and -st
    for ((i = COMP_CWORD - 1; i > 0; i--)); do
        [[ ${{COMP_WORDS[i]}} =~ ^[0-9]+$ ]] || break
    done
    [[ $word != -* && ${{COMP_WORDS[i]}} == -s[ft] ]] && before=${{COMP_WORDS[i]}}
    case $before in
        {"|".join(_flags(Kind.FILE))}) mapfile -t COMPREPLY < <(compgen -f -- "$word"); compopt -o filenames 2>/dev/null; return ;;
        {"|".join(_flags(Kind.DIRECTORY))}) mapfile -t COMPREPLY < <(compgen -d -- "$word"); compopt -o filenames 2>/dev/null; return ;;
        {"|".join(_flags(Kind.PID))}) mapfile -t COMPREPLY < <(compgen -W "$({_MASTERS})" -- "$word"); [[ $word == -* ]] || return ;;
        {"|".join(free)}) return ;;
    esac
    case $word in
        -dK*) mapfile -t COMPREPLY < <(compgen -W "{classes}" -- "$word") ;;
        *) mapfile -t COMPREPLY < <(compgen -W "{words} --" -- "$word") ;;
    esac
}}
complete -F _forkproxy forkproxy
"""


def _zsh_option(option: Option) -> str:
    """One argument of ``_arguments``: exclusions, name, text, what follows."""
    doc = re.sub(r"([\[\]:\\])", r"\\\1", option.doc).replace("'", "'\\''")
    many = "*" if option.multiple or option.takes is Takes.PIDS else ""
    actions = {Kind.FILE: "_files", Kind.DIRECTORY: "_files -/", Kind.PID: "_forkproxy_masters"}
    glue = {Takes.VALUE: "+", Takes.REST: "-"}.get(option.takes, "")
    value = ""
    if option.takes in (Takes.VALUE, Takes.WORD, Takes.REST):
        action = f"({' '.join(('all', *CLASSES))})" if option.kind is Kind.KEYWORDS else actions.get(option.kind, "")
        value = f"{'::' if option.takes is Takes.REST else ':'}{option.value.strip('<>[]').split('>')[0].replace(':', '')}:{action}"
    elif option.takes is Takes.PIDS:
        value = f":pid:{actions[Kind.PID]}"
    return f"    '{many}-{option.flag}{glue}[{doc}]{value}'"


def zsh() -> str:
    """Completion for zsh (zshcompsys(1), ``_arguments``)."""
    options = " \\\n".join(_zsh_option(option) for option in OPTIONS if option not in without_effect())
    return f"""\
#compdef forkproxy
# Completion of forkproxy for zsh. Made by python -m forkproxy.manual.

_forkproxy_masters() {{
    compadd -- $({_MASTERS})
}}

_arguments -S \\
{options} \\
    '*:file:_files'
"""


PARTS: dict[str, Callable[[], str]] = {
    "forkproxy.1": command,
    "forkproxy.cfg.5": configuration,
    "forkproxy-cli.7": runtime,
    "forkproxy.bash": bash,
    "_forkproxy": zsh,
}


def main(argv: list[str]) -> int:
    """``python -m forkproxy.manual DIRECTORY``."""
    if len(argv) != 1:
        print("usage: python -m forkproxy.manual DIRECTORY", file=sys.stderr)
        return 1
    directory = Path(argv[0])
    directory.mkdir(parents=True, exist_ok=True)
    for name, make in PARTS.items():
        (directory / name).write_text(make(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
