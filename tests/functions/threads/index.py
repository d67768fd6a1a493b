import logging
import threading


def handler(event, context):
    results = []

    def count(number):
        logging.info('thread %d', number)
        results.append(number)

    threads = [threading.Thread(target=count, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(results)


def names(event, context):
    return [thread.name for thread in threading.enumerate()]


def background(event, context):
    """Goes on writing after the result."""
    def chatter():
        while True:
            print('chatter')
    thread = threading.Thread(target=chatter)
    thread.daemon = True
    thread.start()
    return 'done'
