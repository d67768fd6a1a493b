"""Sets up the process as a function expects it: sys.path, directory, variables (reference/runtime.md section 2, 11).

Called by bootstrap.py, once, when the setup is known and before any user code is imported. Afterwards no module of the
shim is in sys.modules under a name that a user's module could have.
"""

import os
import sys
import time

_PY2 = sys.version_info[0] == 2
# The directories of the shim and, in a fork of a zygote, of the jail.
_HERE = os.path.dirname(os.path.abspath(__file__))
_OURS = (_HERE, os.path.join(os.path.dirname(_HERE), "jail"))
_KEPT = []
# The names of the shim's modules by directory; read once, in the zygote if there is one.
_MODULES = {}
# The time zone that `time` was last set to, "" at first.
_ZONE = [""]

_ALWAYS = (
    ("accessKeyID", "access_key_id"),
    ("accessKeySecret", "access_key_secret"),
    ("securityToken", "security_token"),
)
_WITH_ROLE = (
    ("ALIBABA_CLOUD_ACCESS_KEY_ID", "access_key_id"),
    ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "access_key_secret"),
    ("ALIBABA_CLOUD_SECURITY_TOKEN", "security_token"),
)


def prepare(setup, site_packages):
    """On return, user code may be imported. `site_packages` has the runtime's packages, or is empty."""
    set_time_zone()
    _set_path(list(setup["sys_path"]), site_packages)
    _forget_the_shim()
    sys.argv[:] = ["bootstrap.py"]
    # Compiled code is stored elsewhere (bytecode.py), and instances must not write into packages.
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    os.environ.setdefault("PYTHON_VERSION", "%d.%d.%d" % sys.version_info[:3])
    os.chdir(setup["code_dir"])
    os.environ["PWD"] = setup["code_root"]


class Credentials(object):
    """Keeps the role's keys in os.environ current.

    Writes only keys that have changed, as user code may have set its own.
    """

    def __init__(self):
        self._last = None

    def refresh(self, keys):
        if keys == self._last:
            return
        self._last = keys
        for name, key in _ALWAYS:
            os.environ[name] = keys[key]
        if keys["access_key_id"]:
            for name, key in _WITH_ROLE:
                os.environ[name] = keys[key]


def preload():
    """Does slow work that is the same for every function; a zygote does it before it forks.

    Python 2 removes setdefaultencoding when site is imported, and reloading sys to restore it resets stdout.
    """
    if _PY2 and sys.getdefaultencoding() != "utf-8":
        if not hasattr(sys, "setdefaultencoding"):
            reload(sys)  # noqa: F821
        sys.setdefaultencoding("utf-8")
    import site

    for directory in _OURS:
        if directory not in _MODULES and os.path.isdir(directory):
            _MODULES[directory] = set(file.partition(".")[0] for file in os.listdir(directory))
    return site


def set_time_zone():
    """Makes `time` follow the variable TZ; skipped if nothing has changed, because it reads a file."""
    zone = os.environ.get("TZ")
    if zone != _ZONE[0] and hasattr(time, "tzset"):
        time.tzset()
        _ZONE[0] = zone


def _set_path(front, site_packages):
    site = preload()
    if not _PY2 and sys.flags.no_site:
        site.setquit()
        site.setcopyright()
        site.sethelper()
    # The interpreter's own third-party packages are not the runtime's; the script's directory is the shim's.
    foreign = ("site-packages", "dist-packages")
    own = [p for p in sys.path if p not in ("",) + _OURS and os.path.basename(p) not in foreign]
    for path in front:
        # A fork may have cached the directory's contents before the code was mounted.
        sys.path_importer_cache.pop(path, None)
    sys.path[:] = [p for p in front if p not in own] + own
    base = os.environ.get("PYTHONUSERBASE")
    extra = [os.path.join(base, "lib", "python%d.%d" % sys.version_info[:2], "site-packages")] if base else []
    for directory in extra:
        if os.path.isdir(directory):
            site.addsitedir(directory)
    if site_packages:
        # Installed so that none of its .pth files, whose code would run at every start, is needed.
        sys.path.append(site_packages)
    # Programs started by the function find the same modules.
    os.environ["PYTHONPATH"] = os.pathsep.join(front + ([site_packages] if site_packages else []))


def _forget_the_shim():
    """User code may have modules of the same names, and multiprocessing should not run our `__main__` again."""
    # Iterate over the names in the directories: there are far more modules, and looking at each costs a fork time.
    for directory, names in _MODULES.items():
        for name in names:
            path = getattr(sys.modules.get(name), "__file__", None)
            if path and os.path.dirname(os.path.abspath(path)) == directory:
                # Python 2 clears a module when the last reference to it is dropped.
                _KEPT.append(sys.modules.pop(name))
    _KEPT.append(sys.modules.get("__main__"))
    sys.modules["__main__"] = type(sys)("__main__")
