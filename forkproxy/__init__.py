"""forkproxy: an edge balancer made of pre-forked processes that speaks HAProxy's configuration language.

Knows nothing but its own version and the version of the language that it speaks.
"""

#: This program's own version; pyproject.toml reads it here, debian/changelog is compared with it by a test.
__version__ = "0.1.0"
#: Release date in the form that ``-v`` prints.
__date__ = "2026/11/21"
#: The HAProxy release whose configuration language, command line and statistics this program follows;
#: ``-vq``, ``.if version_atleast()`` and ``show info`` answer with it because scripts compare it.
COMPAT_VERSION = "3.4.0"
