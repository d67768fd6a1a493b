import os
import subprocess
import time


def handler(event, context):
    """Leaves behind: a child, a grandchild of another session, and one without its parent's environment."""
    mark = event.decode('utf-8')
    code = 'exec -a %s sleep 1000' % mark
    subprocess.Popen(['bash', '-c', code])
    subprocess.Popen(['setsid', 'bash', '-c', code])
    subprocess.Popen('setsid bash -c "%s" & exit' % code, shell=True).wait()
    subprocess.Popen(['env', '-i', '/bin/bash', '-c', code])
    subprocess.Popen('env -i setsid /bin/bash -c "%s" & exit' % code, shell=True).wait()
    time.sleep(0.2)
    return 'left'


def stuck(event, context):
    handler(event, context)
    time.sleep(1000)


def bomb(event, context):
    """Forks without end, in the instance's own process group."""
    for _ in range(200):
        if os.fork() == 0:
            while True:
                time.sleep(1)
    return 'many'
