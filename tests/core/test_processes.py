"""What belongs to one process."""

import os
import pickle

from datastack_fs.processes import PerProcess


def test_made_once_and_closed_once():
    closed = []
    clients = PerProcess(object, closed.append)
    first = clients.get()
    assert clients.get() is first
    clients.close()
    clients.close()
    assert closed == [first]
    assert clients.get() is not first


def test_a_forked_child_makes_its_own():
    clients = PerProcess(list)
    mine = clients.get()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writing, b"same" if clients.get() is mine else b"own!")
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == b"own!"
    assert clients.get() is mine


def test_pickles_as_what_makes_it():
    clients = PerProcess(dict)
    clients.get()["socket"] = 1
    assert pickle.loads(pickle.dumps(clients)).get() == {}
