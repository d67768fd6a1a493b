"""The steps from a forked copy of the zygote to a jailed instance, in their fixed order.

Entered by zygote.py in the child, which is process 1 of a new pid namespace and still has every privilege. No user code
runs before the last step. docs/jail.md has the same steps in the same words, which a test compares.

Up to the tenth step an instance has no function: the host keeps a few such instances ready (prewarmed sandboxes).
"""

import binascii
import fcntl
import json
import os
import random
import resource
import signal
import sys
import traceback

import image
import root
import linux
import network
import volumes

EXIT_JAIL_FAILED = 125
OOM_SCORE = "500"
ORDER_BYTES = 64 * 1024
_ISOLATED = b"isolated"
_WALLED_IN = b"walled in"
# The number of the shim's socket, which a function may look for: the same everywhere.
_SOCKET_FD = 3
# The host's own names, placed there by sandbox/jail/plan.py.
_HOSTS = "/var/sesame/hosts"
_HERE = os.path.dirname(os.path.abspath(__file__))
_INODES_PER_MB = 64
# The machine's boot parameters: names of its disks, and whatever its operator has passed.
_BOOT_PARAMETERS = ("/proc/cmdline", "/proc/bootconfig")
# Files that configure the whole machine. They belong to the host's root, and so does an instance of a Sesame that runs
# as root without the privileges for a better jail.
_OF_THE_KERNEL = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs")
_FLAGS = linux.MS_NOSUID | linux.MS_NODEV


class _Prepared(object):
    """Data that every instance needs; read once by the zygote."""

    seccomp = None
    uncounted = None
    hosts = b""
    hidden = ()
    of_the_kernel = ()


def prepare():
    """Called in the zygote: empties the capability bounding set, which children inherit, and reads the filters."""
    linux.drop_bounding_set()
    # OpenSSL reads its configuration on first use, which takes two milliseconds.
    _reseed()
    _Prepared.seccomp = _read_filter(linux.machine())
    _Prepared.uncounted = _read_filter(linux.machine() + "-uncounted")
    with open(_HOSTS, "rb") as file:
        _Prepared.hosts = file.read()
    _Prepared.hidden = [path for path in _BOOT_PARAMETERS if os.path.exists(path)]
    _Prepared.of_the_kernel = [path for path in _OF_THE_KERNEL if os.path.exists(path)]


def _read_filter(name):
    with open(os.path.join(_HERE, "seccomp", name + ".bpf"), "rb") as file:
        return linux.seccomp_program(file.read())


def enter(request, fds, inherited, run_init, shim):
    """Does not return. `inherited` are the zygote's control socket and the reading end of its lifeline.

    `run_init` is init.run, `shim` the module bootstrap or monitor.
    """
    try:
        _enter(request, fds, inherited, run_init, shim)
    except BaseException:
        os.write(fds[request["output"]], traceback.format_exc().encode("utf-8"))
    finally:
        os._exit(EXIT_JAIL_FAILED)


def _enter(request, fds, inherited, run_init, shim):
    without = request["without"]
    control, lifeline = inherited

    # SAFETY: 1. Is born in new mount, pid, ipc, uts and network namespaces as process 1, and in its version 2 cgroup.
    os.setsid()

    # SAFETY: 2. Joins its version 1 cgroups through descriptors that the host opened, before it allocates anything.
    for index in request["tasks"]:
        os.write(fds[index], b"0")

    # SAFETY: 3. Dies with the zygote: asks for it, then sees whether it is too late.
    die_with(lifeline)

    # SAFETY: 4. Hides the host's tree of cgroups, and offers itself first when the machine runs out of memory.
    if "cgroup namespace" not in without:
        linux.unshare(linux.CLONE_NEWCGROUP)
    linux.write_control("/proc/self/oom_score_adj", OOM_SCORE)

    # SAFETY: 5. Hands the sockets of its network to the host; keeps two of the host's, output, /tmp and the lifeline.
    if request["network"] is not None:
        network.set_up(request["network"], fds, bounded=_is_uncounted(request))
        os.close(fds[request["network"]["socket"]])
    for index in request["tasks"] + ([request["cgroup"]] if request["cgroup"] >= 0 else []):
        os.close(fds[index])
    if "descriptors" not in without:
        os.close(control)

    # SAFETY: 6. Mounts its own /tmp and /run, and a /proc of its own processes, without the host's boot parameters.
    if request["disk"] >= 0:
        linux.move_mount(fds[request["disk"]], "/tmp")
        os.close(fds[request["disk"]])
    else:
        _mount_memory("/tmp", request["disk_mb"], 0)
    linux.mount("tmpfs", "/run", "tmpfs", _FLAGS | linux.MS_NOEXEC, "mode=755,size=1m,nr_inodes=64")
    if "proc" not in without:
        # In a user namespace it stays writable, because the change of user goes through it.
        read_only = 0 if request["user_namespace"] else linux.MS_RDONLY
        linux.mount("proc", "/proc", "proc", _FLAGS | linux.MS_NOEXEC | read_only)
        for path in _Prepared.of_the_kernel if request["user_namespace"] else ():
            linux.mount(path, path, None, linux.MS_BIND)
            linux.mount(None, path, None, linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY | linux.MS_NOEXEC | _FLAGS)
        if "boot parameters" not in without:
            for path in _Prepared.hidden:
                linux.mount("/dev/null", path, None, linux.MS_BIND)

    # SAFETY: 7. Sets the resource limits.
    set_limits(request["limits"])

    # SAFETY: 8. Takes a scope, within which the function's process will take its own, and forks that process; what stays is process 1.
    if "scope" not in without:
        linux.landlock_scope()
    reading, writing = linux.packet_pair()
    function = os.fork()
    if function:
        os.close(reading)
        os.close(fds[request["socket"]])
        _guard(request, fds, lifeline, writing)
        run_init(function, fds[request["command"]])
    for fd in (writing, lifeline, fds[request["command"]]):
        os.close(fd)
    _wall_in(request)
    host, out, reading = fds[request["socket"]], _elsewhere(fds[request["output"]]), _elsewhere(reading)
    if host != _SOCKET_FD:
        os.dup2(host, _SOCKET_FD)
        os.close(host)
    connection = shim.attach(_SOCKET_FD, out)
    from_init = linux.Packets(reading, ORDER_BYTES)
    from_init.send(_WALLED_IN)
    order, given = from_init.receive()
    if order:
        _serve(json.loads(order.decode("utf-8")), given, _Isolation(from_init, reading), connection, shim)


def _elsewhere(fd):
    """The descriptor, or a duplicate if its number is the one that the shim's socket gets."""
    return os.dup(fd) if fd == _SOCKET_FD else fd


def _wall_in(request):
    # SAFETY: 9. The function's process gives up its user, capabilities, new privileges, scopes and system calls.
    give_up_privileges(request)
    linux.prctl(linux.PR_SET_DUMPABLE, 1)

    # SAFETY: 10. It reseeds what the copies of one zygote share, and prepares what is the same for every function.
    _reseed()


def _guard(request, fds, lifeline, writing):
    """Process 1 keeps its privileges and waits for the host's order, which names a function."""
    without = request["without"]
    message, given = linux.Packets(fds[request["command"]], ORDER_BYTES).receive()
    if not message:
        os._exit(0)
    order = json.loads(message.decode("utf-8"))
    to_function = linux.Packets(writing, len(_WALLED_IN))

    # SAFETY: 11. Process 1 passes the order on; the function's process takes the environment, and waits before step 14.
    to_function.send(message, [given[index] for index in order["compiled"]])

    replaces_root = order["volumes"] or order["image"] is not None
    if replaces_root:
        # Replacing the root would make the kernel treat the function's process as chrooted for a moment, in which it
        # could not create the user namespace of step 9.
        _wait_for_walls(to_function)

    # SAFETY: 12. Process 1 mounts code and layers read-only, volumes and /dev/shm, takes a host name, and drops the host's tree, or for an image the zygote's root.
    if order["image"] is not None:
        # The image's root replaces everything that the zygote's contains.
        _mount_image(order, given)
    else:
        _mount(order, given)
        if order["volumes"]:
            volumes.attach(order["volumes"], given)
        if request["host_is_visible"] and "root" not in without:
            linux.umount(root.HOST_ROOT, linux.MNT_DETACH)
        _name_the_host(order["hostname"])
    if "uts" not in without:
        linux.sethostname(order["hostname"])

    # SAFETY: 13. Process 1 gives up the same, asks again to die with the zygote, which that cleared, and is not traced.
    give_up_privileges(request, scoped=True)
    die_with(lifeline)
    linux.prctl(linux.PR_SET_DUMPABLE, 1 if "dumpable" in without else 0)
    os.close(lifeline)
    os.close(fds[request["output"]])
    if not replaces_root:
        # Unread data would reset the connection when it is closed.
        _wait_for_walls(to_function)
    to_function.send(_ISOLATED)
    os.close(writing)


def _wait_for_walls(function):
    """Returns once the function's process has completed step 9. Ends process 1 if that process has failed."""
    if function.receive()[0] != _WALLED_IN:
        os._exit(EXIT_JAIL_FAILED)


class _Isolation(object):
    """Lets the function's process wait while process 1 completes the instance's isolation."""

    def __init__(self, from_init, fd):
        self._from_init = from_init
        self._fd = fd

    def wait(self):
        """Returns once process 1 has given up its privileges. Ends the process if process 1 has failed."""
        message, _fds = self._from_init.receive()
        os.close(self._fd)
        if message != _ISOLATED:
            os._exit(EXIT_JAIL_FAILED)


def _serve(order, compiled, isolation, connection, shim):
    os.environ.clear()
    os.environ.update(_native(order["environment"]))
    # SAFETY: 14. Once process 1 is done, the function's process enters the code's directory and serves.
    if order["start_anew"]:
        isolation.wait()
        _start_anew(connection.fileno(), order["site_packages"], compiled)
    shim.serve(connection, order["site_packages"], compiled, isolation.wait)


def _start_anew(socket_fd, site_packages, compiled):
    """Restarts the interpreter, for variables that it only reads at the start; nothing given up is regained."""
    for fd in [socket_fd] + compiled:
        fcntl.fcntl(fd, fcntl.F_SETFD, 0)
    main = os.path.join(os.path.dirname(_HERE), "python", "main.py")
    arguments = [str(fd) for fd in [socket_fd, 1]] + [str(site_packages)] + [str(fd) for fd in compiled]
    os.execve(sys.executable, [sys.executable, "-S", "-s", "-u", "-W", "ignore", main] + arguments, os.environ)


def give_up_privileges(request, scoped=False):
    """Gives up, in this order: the user, groups and capabilities; new privileges for any program that is run; abstract
    sockets and signals outside of its own processes, if the kernel supports scopes; system calls, by filters.

    `scoped` means that this process already has its scope. Process 1 may signal the function's processes, whose scope
    is nested in its own, but not the other way round.
    """
    without = request["without"]
    if "user" not in without:
        _become(request["uid"], request["user_namespace"])
    if request["processes"]:
        # Only now: the kernel limits the processes of each user namespace, and of each enclosing one by the limit in
        # force when it was created. If set earlier, all instances would share one limit.
        set_limits({"RLIMIT_NPROC": request["processes"]})
    if "no new privileges" not in without:
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    if not scoped and "scope" not in without:
        linux.landlock_scope()
    if _is_uncounted(request):
        linux.load_seccomp(_Prepared.uncounted)
    if "seccomp" not in without:
        linux.load_seccomp(_Prepared.seccomp)


def _is_uncounted(request):
    """Whether kernel memory on behalf of the instance must be refused, because no cgroup counts it."""
    return not request["memory_is_counted"] and "memory" not in request["without"]


def die_with(lifeline):
    """Makes the kernel kill this process when its parent dies, until the user changes.

    The parent holds the other end of the pipe `lifeline`, which tells whether it has already died.
    """
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    if linux.readable([lifeline], wait=False)[0]:
        os._exit(EXIT_JAIL_FAILED)


def _mount(order, fds, top=""):
    """Mounts code, layers and /dev/shm: from descriptors if the host could prepare them, else from the host's tree.

    `top` is the root to mount them in, if not this one.
    """
    for target, index in order["mounts"]:
        linux.move_mount(fds[index], top + target)
        os.close(fds[index])
    for target, sources in order["binds"]:
        if len(sources) == 1:
            root.bind(root.HOST_ROOT + sources[0], top + target, root.READ_ONLY)
        else:
            lower = ":".join(linux.escaped(root.HOST_ROOT + source) for source in sources)
            linux.mount("layers", top + target, "overlay", root.READ_ONLY, "lowerdir=" + lower)
    _mount_memory(top + "/dev/shm", order["shm_mb"], linux.MS_NOEXEC)


def _mount_image(order, fds):
    """Like `_mount`, in the root of a container image, which replaces the zygote's."""
    targets = [target for target, _source in order["mounts"] + order["binds"]]
    targets += [volume[0] for volume in order["volumes"]]
    real_paths = image.assemble(order["image"], fds, targets, _names("/etc", order["hostname"]))
    for kind in ("mounts", "binds", "volumes"):
        order[kind] = [[real_paths[each[0]]] + list(each[1:]) for each in order[kind]]
    _mount(order, fds, image.NEW)
    for volume in order["volumes"]:
        volumes.put(volume, fds, image.NEW)
    # The host's tree disappears with the former root.
    root.enter(image.NEW)


def _names(folder, hostname):
    """Files that resolve the instance's own name and localhost, whatever the host's /etc/hosts contains."""
    name = hostname.encode("ascii")
    own = b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t" + name + b"\n"
    return (folder + "/hosts", own + _Prepared.hosts), (folder + "/hostname", name + b"\n")


def _name_the_host(hostname):
    for path, data in _names("/run", hostname):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        _write_all(fd, data)
        os.close(fd)
    # In a user namespace the files belong to the function's own user, so make them read-only.
    linux.mount(None, "/run", None, linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY | linux.MS_NOEXEC | _FLAGS)


def _mount_memory(target, size_mb, more_flags):
    """Mounts a tmpfs with as many inodes per megabyte as the image of /tmp, because each takes kernel memory."""
    options = "mode=1777,size=%dm,nr_inodes=%d" % (size_mb, size_mb * _INODES_PER_MB)
    linux.mount("tmpfs", target, "tmpfs", _FLAGS | more_flags, options)


def _become(uid, user_namespace):
    if user_namespace:
        root.become_user_of_a_user_namespace(uid)
        # The new namespace starts with a full set of capabilities.
        linux.drop_bounding_set()
    else:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    linux.clear_capabilities()


def _reseed():
    # Seed from the kernel, as without an argument; but Python 2 would read 2,500 bytes, which takes two milliseconds.
    random.seed(int(binascii.hexlify(os.urandom(32)), 16))
    ssl = sys.modules.get("_ssl")
    if ssl is not None:
        ssl.RAND_add(os.urandom(32), 32.0)


def set_limits(limits):
    """Lowers limits. A limit that is already lower is kept, because raising it may be forbidden even to root."""
    for name, value in limits.items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(kind, (value, value))


def _native(mapping):
    if sys.version_info[0] > 2:
        return mapping
    return {name.encode("utf-8"): value.encode("utf-8") for name, value in mapping.items()}


def _write_all(fd, data):
    while data:
        data = data[os.write(fd, data) :]
