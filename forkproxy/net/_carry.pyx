# cython: language_level=3, binding=False
"""``carry`` of the compiled build; ``carry.py`` says what it promises.

The bytes lie in one buffer of the process, as large as the largest piece that was asked for. The interpreter's lock is not given back:
neither call blocks, and a worker has one thread.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdlib cimport realloc


cdef extern from "<sys/socket.h>" nogil:
    enum:
        MSG_NOSIGNAL
    ssize_t receive "recv"(int fd, void *data, size_t size, int flags)
    ssize_t send(int fd, const void *data, size_t size, int flags)


cdef char *_room = NULL
cdef int _size = 0


def carry(int source, int target, int size):
    """See ``carry.py``."""
    global _room, _size
    cdef char *larger
    cdef ssize_t came, sent
    if size > _size:
        larger = <char *> realloc(_room, size)
        if larger is NULL:
            raise MemoryError
        _room, _size = larger, size
    came = receive(source, _room, size, 0)
    if came <= 0:
        if came == 0:
            return 0
        return -1 if errno == EAGAIN or errno == EINTR else -2
    sent = send(target, _room, came, MSG_NOSIGNAL)
    if sent == came:
        return came
    if sent < 0:
        if errno != EAGAIN and errno != EINTR:
            return -3
        sent = 0
    return came, PyBytes_FromStringAndSize(_room + sent, came - sent)
