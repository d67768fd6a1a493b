"""Tries every call that a jail needs, in a process that ends at once; prints the first one that fails, or nothing.

Executed by sandbox/jail/isolation.py under Sesame's own interpreter: `python probe.py root|user DIRECTORY NETWORKS`,
where NETWORKS is JSON: pairs of a word and an input for `network.set_up`, tried one after the other in one network.
If only networks or a mounted bucket fail, it prints the word and the reason for each of them, and exits with 0.
Leaves no trace: everything it creates is in its own namespaces.
"""

import json
import os
import signal
import sys

import root
import linux
import network

_NAMESPACES = linux.CLONE_NEWNS | linux.CLONE_NEWPID | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS


def main(kind, directory, networks):
    try:
        program = _filter()
        if kind == "user":
            root.become_root_of_a_user_namespace()
        linux.unshare(linux.CLONE_NEWNS)
        linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
        linux.mount("tmpfs", directory, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755,size=1m")
        _try_buckets(directory + "/bucket")
        try:
            pid, _pidfd = linux.clone(_NAMESPACES | linux.CLONE_NEWNET)
        except OSError as error:
            _say(error, "%s: " % networks[0][0])
            pid, _pidfd = linux.clone(_NAMESPACES)
        else:
            if pid == 0:
                _try_networks(networks)
        if pid == 0:
            _inside(kind, directory, program)
        if os.waitpid(pid, 0)[1] != 0:
            os._exit(1)
    except (OSError, KeyError) as error:
        _say(error)
        os._exit(1)
    # Skip the interpreter's finalization, which is not prepared for a child created by clone.
    os._exit(0)


def _inside(kind, directory, program):
    try:
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        os.mkdir(directory + "/proc")
        linux.mount("proc", directory + "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
        linux.sethostname("probe")
        if kind == "user":
            root.become_user_of_a_user_namespace(10000)
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
        linux.load_seccomp(program)
    except OSError as error:
        _say(error)
        os._exit(1)
    os._exit(0)


def _try_buckets(place):
    try:
        os.mkdir(place)
        device = os.open("/dev/fuse", os.O_RDWR)
        options = "fd=%d,rootmode=40000,user_id=%d,group_id=%d" % (device, os.getuid(), os.getgid())
        linux.mount("bucket", place, "fuse", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_RDONLY, options)
    except OSError as error:
        _say(error, "no_buckets: ")


def _try_networks(networks):
    for word, wanted in networks:
        ours, theirs = linux.packet_pair()
        try:
            network.set_up(wanted, [theirs], bounded=True)
        except (IOError, OSError) as error:
            _say(error, "%s: " % word)
        os.close(ours)
        os.close(theirs)


def _filter():
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "seccomp", linux.machine() + ".bpf")
    with open(path, "rb") as file:
        return linux.seccomp_program(file.read())


def _say(error, what=""):
    os.write(1, ("%s%s\n" % (what, error)).encode("utf-8"))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
