# cython: language_level=3, binding=False
"""``carry`` of the compiled build; ``carry.py`` says what it promises.

What is received lies in one buffer of the process first, as large as the largest piece that was asked for. The interpreter's lock is not
given back: no call blocks, and a worker has one thread.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_SetFromErrno
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdlib cimport realloc
from libc.string cimport memset

from forkproxy.net.connection import Connection


cdef extern from "<sys/socket.h>" nogil:
    enum:
        MSG_NOSIGNAL
    ssize_t c_recv "recv"(int fd, void *data, size_t size, int flags)
    ssize_t c_send "send"(int fd, const void *data, size_t size, int flags)
    struct iovec:
        void *iov_base
        size_t iov_len
    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
    struct mmsghdr:
        msghdr msg_hdr
    int sendmmsg(int fd, mmsghdr *messages, unsigned int count, int flags)

cdef enum:
    AT_ONCE = 64


cdef char *_room = NULL
cdef int _size = 0


cdef char *room(int size) except NULL:
    """A place for so many bytes."""
    global _room, _size
    cdef char *larger
    if size <= 0:
        raise ValueError("nothing is asked for")
    if size > _size:
        larger = <char *> realloc(_room, size)
        if larger is NULL:
            raise MemoryError
        _room, _size = larger, size
    return _room


def via(sock):
    """See ``carry.py``: None where the descriptor is enough."""
    return None if type(sock) is Connection else sock


def receive(via, int fd, int size):
    """See ``carry.py``."""
    cdef char *place
    cdef ssize_t came
    if via is not None:
        return via.recv(size)
    place = room(size)
    while True:
        came = c_recv(fd, place, size, 0)
        if came >= 0:
            return PyBytes_FromStringAndSize(place, came)
        if errno != EINTR:
            PyErr_SetFromErrno(OSError)


def send(via, int fd, data):
    """See ``carry.py``."""
    cdef Py_buffer piece
    cdef ssize_t sent
    if via is not None:
        return via.send(data)
    PyObject_GetBuffer(data, &piece, PyBUF_SIMPLE)
    try:
        while True:
            sent = c_send(fd, piece.buf, piece.len, MSG_NOSIGNAL)
            if sent >= 0:
                return sent
            if errno != EINTR:
                PyErr_SetFromErrno(OSError)
    finally:
        PyBuffer_Release(&piece)


def send_each(sock, int fd, list data, Py_ssize_t start):
    """See ``carry.py``: not more than AT_ONCE of them."""
    cdef mmsghdr messages[AT_ONCE]
    cdef iovec pieces[AT_ONCE]
    cdef Py_ssize_t i, count = min(len(data) - start, AT_ONCE)
    cdef int sent
    if count <= 0:
        return 0
    memset(messages, 0, sizeof(messages))
    for i in range(count):
        piece = data[start + i]
        if type(piece) is not bytes:
            raise TypeError("a datagram is bytes")
        pieces[i].iov_base = PyBytes_AS_STRING(piece)
        pieces[i].iov_len = PyBytes_GET_SIZE(piece)
        messages[i].msg_hdr.msg_iov = &pieces[i]
        messages[i].msg_hdr.msg_iovlen = 1
    while True:
        sent = sendmmsg(fd, messages, count, MSG_NOSIGNAL)
        if sent >= 0:
            return sent
        if errno != EINTR:
            PyErr_SetFromErrno(OSError)


def carry(int source, int target, int size):
    """See ``carry.py``."""
    cdef char *place = room(size)
    cdef ssize_t came, sent
    came = c_recv(source, place, size, 0)
    if came <= 0:
        if came == 0:
            return 0
        return -1 if errno == EAGAIN or errno == EINTR else -2
    sent = c_send(target, place, came, MSG_NOSIGNAL)
    if sent == came:
        return came
    if sent < 0:
        if errno != EAGAIN and errno != EINTR:
            return -3
        sent = 0
    return came, PyBytes_FromStringAndSize(place + sent, came - sent)
